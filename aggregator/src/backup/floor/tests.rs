//! Decisions about the floor, by invented operators at invented times.

use std::sync::Arc;

use campanile_common::authority::{Document, Operator, OperatorKey, PublicKey};
use campanile_common::backup::Retention;
use campanile_common::id::FleetId;
use campanile_common::unit::ByteCount;
use zeroize::Zeroizing;

use super::super::{BackupSettings, BackupStore, Limits, VerifySettings};
use super::*;
use crate::audit::Audit;
use crate::event::Events;
use crate::os::clock::Clock;
use crate::state::{Keys, SqliteStore, Store};

const FLEET: FleetId = FleetId::from_bytes([1; 16]);
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn operator(name: &str, key: PublicKey) -> Operator {
    Operator { name: name.to_owned(), key, roles: Role::ALL.into() }
}

/// These operators; two of them for tier 3.
fn authority(seeds: &[u8]) -> Arc<Authority> {
    let first = operator("ada", key(seeds[0]).public());
    let expires = NOW + Duration::from_secs(400 * 86_400);
    let mut document = Document::first(FLEET, "acme".to_owned(), first, NOW - MONTH, expires);
    for seed in &seeds[1..] {
        document.operators.push(operator(&format!("operator-{seed}"), key(*seed).public()));
    }
    document.thresholds.insert(Role::Critical, 2);
    let signed = document.sign(&[&key(seeds[0])]).unwrap();
    let pin = signed.digest();
    Arc::new(signed.verify_pinned(pin).unwrap())
}

fn document(number: u64, from_days: u32, days: u32) -> FloorDocument {
    FloorDocument {
        format: FloorDocument::FORMAT,
        fleet: FLEET,
        number,
        authority_version: 1,
        from_days,
        days,
        issued: NOW,
        expires: NOW + Duration::from_secs(86_400),
    }
}

fn signed(document: &FloorDocument, seeds: &[u8]) -> SignedFloor {
    let mut signed = SignedFloor { bytes: document.to_bytes().unwrap(), signatures: Vec::new() };
    seeds.iter().for_each(|seed| signed.add_signature(&key(*seed)));
    signed
}

fn record() -> FloorRecord {
    FloorRecord::first(30, NOW)
}

fn take(record: &mut FloorRecord, document: &FloorDocument, seeds: &[u8]) -> Result<Taken, FloorError> {
    record.take(signed(document, seeds), &authority(&[1, 2, 3]), "ada", NOW)
}

#[test]
fn the_settings_raise_the_floor_at_once_and_never_lower_it() {
    let mut known = record();
    assert!(!known.raise(14, NOW) && known.days == 30);
    assert!(known.raise(60, NOW + MONTH));
    assert_eq!((known.days, known.since), (60, NOW + MONTH));
}

#[test]
fn one_signature_of_two_waits_and_lowers_nothing() {
    let mut known = record();
    assert_eq!(take(&mut known, &document(1, 30, 14), &[1]).unwrap(), Taken::Waits);
    assert_eq!(known.pass(MONTH * 12, &authority(&[1, 2, 3]), NOW), None);
    assert_eq!((known.days, known.pending.is_none()), (30, true));
    // The same operator again is no second one.
    assert_eq!(take(&mut known, &document(1, 30, 14), &[1]).unwrap(), Taken::Waits);
    assert_eq!(take(&mut known, &document(1, 30, 14), &[2]).unwrap(), Taken::Pends);
    assert_eq!((known.days, known.waiting.is_none()), (30, true));
}

#[test]
fn a_lower_floor_counts_only_after_the_old_one_has_passed() {
    let (mut known, judges) = (record(), authority(&[1, 2, 3]));
    assert_eq!(take(&mut known, &document(1, 30, 14), &[1, 2]).unwrap(), Taken::Pends);
    let almost = MONTH - Duration::from_secs(1);
    assert_eq!(known.pass(almost, &judges, NOW + almost), None);
    assert_eq!(known.days, 30);
    // Whatever the clock on the wall shows.
    assert_eq!(known.pass(Duration::ZERO, &judges, NOW + MONTH * 100), None);
    let ripe = known.pass(Duration::from_secs(1), &judges, NOW + MONTH);
    assert_eq!((ripe, known.days), (Some(Ripe::InForce(30, 14)), 14));
    assert!(matches!(take(&mut known, &document(1, 14, 7), &[1, 2]), Err(FloorError::Stale(_))), "used up");
}

#[test]
fn a_higher_floor_counts_at_once_and_ends_what_waits() {
    let mut known = record();
    take(&mut known, &document(1, 30, 14), &[1, 2]).unwrap();
    assert_eq!(take(&mut known, &document(2, 30, 90), &[1, 3]).unwrap(), Taken::InForce);
    assert_eq!((known.days, known.pending.is_none(), known.next_number()), (90, true, 3));
}

#[test]
fn who_left_the_authority_meanwhile_signed_for_nothing() {
    let mut known = record();
    take(&mut known, &document(1, 30, 14), &[1, 3]).unwrap();
    let ripe = known.pass(MONTH, &authority(&[1, 2]), NOW + MONTH);
    assert_eq!((ripe, known.days), (Some(Ripe::Lapsed(14)), 30));
    assert_eq!(known.next_number(), 2);
}

#[test]
fn what_was_withdrawn_cannot_be_handed_in_again() {
    let mut known = record();
    assert!(matches!(known.withdraw(), Err(FloorError::NotFound(_))));
    for seeds in [&[1][..], &[1, 2]] {
        let number = known.next_number();
        take(&mut known, &document(number, 30, 14), seeds).unwrap();
        assert_eq!(known.withdraw().unwrap(), 14);
        assert!(matches!(take(&mut known, &document(number, 30, 14), &[1, 2]), Err(FloorError::Stale(_))));
    }
    assert_eq!((known.days, known.waiting, known.pending), (30, None, None));
}

#[test]
fn strangers_other_fleets_and_decisions_of_another_moment_are_refused() {
    let mut known = record();
    assert!(matches!(take(&mut known, &document(1, 30, 14), &[9]), Err(FloorError::Signatures(_))));
    assert!(matches!(take(&mut known, &document(1, 30, 14), &[]), Err(FloorError::Signatures(_))));
    assert!(matches!(take(&mut known, &document(1, 60, 14), &[1, 2]), Err(FloorError::Stale(_))));
    assert!(matches!(take(&mut known, &document(2, 30, 14), &[1, 2]), Err(FloorError::Stale(_))));
    let foreign = FloorDocument { fleet: FleetId::from_bytes([9; 16]), ..document(1, 30, 14) };
    assert!(matches!(take(&mut known, &foreign, &[1, 2]), Err(FloorError::Invalid(_))));
    let hour = Duration::from_secs(3600);
    let over = FloorDocument { issued: NOW - hour * 2, expires: NOW - hour, ..document(1, 30, 14) };
    assert!(matches!(take(&mut known, &over, &[1, 2]), Err(FloorError::Stale(_))));
    assert_eq!(take(&mut known, &document(1, 30, 14), &[1]).unwrap(), Taken::Waits);
    assert!(matches!(take(&mut known, &document(1, 30, 7), &[1, 2]), Err(FloorError::Conflict(_))));
    assert_eq!(known, FloorRecord { waiting: known.waiting.clone(), ..record() });
}

#[test]
fn a_signature_that_is_not_valid_counts_for_nothing() {
    let mut known = record();
    let mut forged = signed(&document(1, 30, 14), &[1, 2]);
    forged.signatures[1].bytes[3] ^= 1;
    let taken = known.take(forged, &authority(&[1, 2, 3]), "ada", NOW).unwrap();
    assert_eq!(taken, Taken::Waits);
    assert_eq!(known.waiting.unwrap().signed().signatures.len(), 1);
}

/// A store whose settings say this floor.
async fn opened(folder: &std::path::Path, floor_days: u32) -> BackupStore {
    let state: Store = Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap());
    let keys = Keys::new(FLEET);
    let clock = Clock::from_fn(|| NOW);
    let audit = Audit::open(Arc::clone(&state), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
    let settings = BackupSettings {
        dir: folder.join("backup"),
        limits: Limits { free_floor: ByteCount(0), quota: ByteCount(1 << 30), objects_per_hour: 1000 },
        retention: Retention { floor_days, ..Retention::default() },
        verify: VerifySettings::default(),
        replica: None,
    };
    BackupStore::open(settings, (state, keys), clock, Events::default(), audit).await.unwrap()
}

#[tokio::test]
async fn a_restart_in_between_loses_no_time_that_was_told_and_lower_settings_count_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let judges = authority(&[1, 2, 3]);
    let store = opened(folder.path(), 30).await;
    let submitted = store.decide_floor("ada", signed(&document(1, 30, 14), &[1]), &judges).await.unwrap();
    assert!(!submitted.in_force && submitted.signed_by == ["ada"], "{submitted:?}");
    let proposal = store.floor_proposal(&judges).unwrap();
    assert_eq!((proposal.id.as_str(), proposal.signatures_needed), ("floor-1", 2));
    drop(store);
    let store = opened(folder.path(), 14).await;
    assert_eq!((store.retention().floor_days, store.floor(&judges).settings_days), (30, 14));
    let second = signed(&document(1, 30, 14), &[2]).signatures.remove(0);
    assert!(store.sign_floor("bob", "floor-2", second.clone(), &judges).await.is_err());
    let submitted = store.sign_floor("bob", "floor-1", second, &judges).await.unwrap();
    assert!(submitted.in_force && submitted.signed_by == ["ada", "operator-2"], "{submitted:?}");
    store.pass_floor(MONTH * 2 / 3, &judges).await;
    drop(store);
    let store = opened(folder.path(), 14).await;
    let standing = store.floor(&judges);
    assert_eq!((standing.days, standing.waiting, standing.next_number), (30, None, 2));
    assert_eq!(standing.pending.unwrap().counts_at, NOW + MONTH / 3);
    store.pass_floor(MONTH / 3 - Duration::from_secs(1), &judges).await;
    assert_eq!(store.retention().floor_days, 30);
    store.pass_floor(Duration::from_secs(1), &judges).await;
    assert_eq!((store.retention().floor_days, store.floor(&judges).pending), (14, None));
    drop(store);
    assert_eq!(opened(folder.path(), 14).await.retention().floor_days, 14);
    assert_eq!(opened(folder.path(), 30).await.retention().floor_days, 30, "the settings raise it again");
}

#[tokio::test]
async fn what_waits_is_withdrawn_by_whoever_may_and_the_floor_stays() {
    let folder = tempfile::tempdir().unwrap();
    let judges = authority(&[1, 2]);
    let store = opened(folder.path(), 30).await;
    assert!(matches!(store.withdraw_floor("ada").await, Err(FloorError::NotFound(_))));
    store.decide_floor("ada", signed(&document(1, 30, 14), &[1, 2]), &judges).await.unwrap();
    store.withdraw_floor("bob").await.unwrap();
    store.pass_floor(MONTH * 3, &judges).await;
    let standing = store.floor(&judges);
    assert_eq!((standing.days, standing.pending, standing.next_number), (30, None, 2));
}
