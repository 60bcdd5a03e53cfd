//! The chain and the catalogue against a real store: who may change them, what waits, what a restart keeps.

#![expect(clippy::disallowed_methods, reason = "the chain is a folder of files")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::api::ProposalKind;
use campanile_common::authority::{
    Authority, CatalogueDocument, Document, Operator, OperatorKey, Role, ServiceRule, ServiceVerb, Signature,
    SignedAuthority, SignedCatalogue,
};
use campanile_common::fleet::{AUTHORITY_DIR, FleetFile, authority_file};
use campanile_common::id::{AggregatorId, FleetId};
use campanile_common::time::Timestamp;
use campanile_common::wire::codec;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::audit::{Audit, AuditQuery};
use crate::event::Events;
use crate::os::clock::Clock;
use crate::state::{Keys, SqliteStore, Store};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const FLEET: FleetId = FleetId::from_bytes([9; 16]);

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn operator(name: &str, seed: u8) -> Operator {
    Operator { name: name.to_owned(), key: key(seed).public(), roles: Role::ALL.into_iter().collect() }
}

/// The state folder of a fleet whose first authority names ada (1).
fn fleet() -> (TempDir, FleetFile) {
    let folder = tempfile::tempdir().unwrap();
    let (issued, expires) = (NOW - Duration::from_secs(60), NOW + Duration::from_secs(365 * 86_400));
    let mut first = Document::first(FLEET, "test".to_owned(), operator("ada", 1), issued, expires);
    first.recovery = vec![key(9).public()];
    let signed = first.sign(&[&key(1)]).unwrap();
    let chain = folder.path().join(AUTHORITY_DIR);
    std::fs::create_dir(&chain).unwrap();
    let bytes = codec::encode("SignedAuthority", &signed).unwrap();
    std::fs::write(chain.join(authority_file(1)), bytes).unwrap();
    let file = FleetFile {
        format: 1,
        fleet_id: FLEET,
        fleet_name: "test".to_owned(),
        aggregator_id: AggregatorId::from_bytes([8; 8]),
        authority: signed.digest(),
    };
    (folder, file)
}

struct Opened {
    authorities: Authorities,
    catalogues: Catalogues,
    audit: Audit,
    events: Events,
}

async fn open_at(folder: &Path, fleet: &FleetFile, now: Timestamp) -> Opened {
    let store: Store = Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap());
    let keys = Keys::new(FLEET);
    let clock = Clock::from_fn(move || now);
    let audit = Audit::open(Arc::clone(&store), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
    let events = Events::default();
    let stored = || (Arc::clone(&store), keys.clone());
    let authorities =
        Authorities::open(folder, fleet, stored(), audit.clone(), events.clone(), clock.clone())
            .await
            .unwrap();
    let authority = authorities.subscribe();
    let catalogues =
        Catalogues::open(stored(), audit.clone(), events.clone(), clock, authority).await.unwrap();
    Opened { authorities, catalogues, audit, events }
}

async fn open(folder: &Path, fleet: &FleetFile) -> Opened {
    open_at(folder, fleet, NOW).await
}

/// The version after the one in force, changed, with these signatures.
fn next(current: &Authority, keys: &[u8], change: impl Fn(&mut Document)) -> SignedAuthority {
    let mut document = current.document().successor(current.digest(), NOW);
    change(&mut document);
    let keys: Vec<OperatorKey> = keys.iter().map(|seed| key(*seed)).collect();
    document.sign(&keys.iter().collect::<Vec<_>>()).unwrap()
}

/// Puts bob (2) beside ada; changes of the authority and catalogues take both from then on.
async fn with_two(opened: &Opened) {
    let two = next(&opened.authorities.current(), &[1], |document| {
        document.operators.push(operator("bob", 2));
        document.thresholds.insert(Role::Authority, 2);
        document.thresholds.insert(Role::Catalogue, 2);
    });
    let submitted = opened.authorities.propose("person:ada", two).await.unwrap();
    assert!(submitted.in_force);
    assert_eq!((submitted.id.as_str(), &submitted.signed_by[..]), ("authority-2", &["ada".to_owned()][..]));
}

fn catalogue(version: u64, keys: &[u8]) -> SignedCatalogue {
    let rule = ServiceRule { unit: "nginx.service".to_owned(), verbs: [ServiceVerb::Reload].into() };
    let document = CatalogueDocument {
        format: CatalogueDocument::FORMAT,
        fleet: FLEET,
        version,
        authority_version: 1,
        issued: NOW,
        expires: NOW + Duration::from_secs(30 * 86_400),
        commands: [].into(),
        services: vec![rule],
    };
    let keys: Vec<OperatorKey> = keys.iter().map(|seed| key(*seed)).collect();
    document.sign(&keys.iter().collect::<Vec<_>>()).unwrap()
}

fn signature(signed: &SignedAuthority, seed: u8) -> Signature {
    let mut alone = SignedAuthority { bytes: signed.bytes.clone(), signatures: Vec::new() };
    alone.add_signature(&key(seed));
    alone.signatures.remove(0)
}

async fn actions(audit: &Audit) -> Vec<(String, String)> {
    let entries = audit.list(AuditQuery { limit: 100, ..AuditQuery::default() }).await.unwrap();
    entries.into_iter().map(|entry| (entry.action, entry.target)).collect()
}

#[tokio::test]
async fn a_signed_next_version_is_in_force_at_once_and_after_a_restart() {
    let (folder, file) = fleet();
    let opened = open(folder.path(), &file).await;
    let mut watch = opened.authorities.subscribe();
    let first = opened.authorities.current();
    with_two(&opened).await;
    assert_eq!(watch.borrow_and_update().document().version, 2);
    assert_eq!(opened.authorities.after(1).len(), 1);
    assert_eq!(opened.authorities.from_digest(first.digest()).unwrap().len(), 2);
    assert_eq!(actions(&opened.audit).await, [("authority.change".to_owned(), "authority/2".to_owned())]);
    assert!(folder.path().join(AUTHORITY_DIR).join(authority_file(2)).exists());
    drop(opened);
    assert_eq!(open(folder.path(), &file).await.authorities.current().document().version, 2);
}

#[tokio::test]
async fn a_file_that_a_crash_left_out_is_written_from_the_store() {
    let (folder, file) = fleet();
    let opened = open(folder.path(), &file).await;
    with_two(&opened).await;
    let digest = opened.authorities.current().digest();
    drop(opened);
    let path = folder.path().join(AUTHORITY_DIR).join(authority_file(2));
    let written = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let opened = open(folder.path(), &file).await;
    assert_eq!(opened.authorities.current().digest(), digest);
    assert_eq!(std::fs::read(&path).unwrap(), written);
}

#[tokio::test]
async fn a_version_with_too_few_signatures_waits_over_a_restart_until_the_rest_comes() {
    let (folder, file) = fleet();
    let opened = open(folder.path(), &file).await;
    with_two(&opened).await;
    let three = next(&opened.authorities.current(), &[1], |d| d.operators.push(operator("cyd", 3)));
    let submitted = opened.authorities.propose("person:ada", three.clone()).await.unwrap();
    assert_eq!((submitted.in_force, submitted.signatures_needed), (false, 2));
    assert_eq!(opened.authorities.current().document().version, 2);
    drop(opened);

    let opened = open(folder.path(), &file).await;
    let proposals = opened.authorities.proposals().await.unwrap();
    assert_eq!(proposals.len(), 1);
    assert_eq!((proposals[0].id.as_str(), proposals[0].kind), ("authority-3", ProposalKind::Authority));
    assert_eq!(proposals[0].signed_by, ["ada"]);
    assert_eq!(proposals[0].summary, "authority version 3 adds cyd");
    // Neither the same operator again, nor one who only comes with the version, nor a forged signature counts.
    let again = opened.authorities.add_signature("person:ada", "authority-3", signature(&three, 1)).await;
    assert!(!again.unwrap().in_force);
    let newcomer = opened.authorities.add_signature("person:cyd", "authority-3", signature(&three, 3)).await;
    assert!(matches!(newcomer, Err(SubmitError::Signatures(_))));
    let forged = Signature { key: key(2).public().id(), ..signature(&three, 3) };
    let forged = opened.authorities.add_signature("person:cyd", "authority-3", forged).await;
    assert!(matches!(forged, Err(SubmitError::Signatures(_))));
    assert_eq!(opened.authorities.proposals().await.unwrap()[0].signed_by, ["ada"]);

    let done =
        opened.authorities.add_signature("person:bob", "authority-3", signature(&three, 2)).await.unwrap();
    assert!(done.in_force);
    assert_eq!(done.signed_by, ["ada", "bob"]);
    assert_eq!(opened.authorities.current().document().operators.len(), 3);
    assert!(opened.authorities.proposals().await.unwrap().is_empty());
    let gone = opened.authorities.add_signature("person:bob", "authority-3", signature(&three, 2)).await;
    assert!(matches!(gone, Err(SubmitError::NotFound(_))));
    assert_eq!(actions(&opened.audit).await.last().unwrap().0, "authority.change");
}

#[tokio::test]
async fn what_no_operator_signed_or_does_not_follow_is_refused() {
    let (folder, file) = fleet();
    let opened = open(folder.path(), &file).await;
    let current = opened.authorities.current();
    let propose = |signed| opened.authorities.propose("person:eve", signed);
    let foreign = next(&current, &[7], |d| d.operators.push(operator("eve", 7)));
    assert!(matches!(propose(foreign).await, Err(SubmitError::Signatures(_))));
    let none = next(&current, &[], |_| {});
    assert!(matches!(propose(none).await, Err(SubmitError::Signatures(_))));
    let skipping = next(&current, &[1], |d| d.version = 3);
    assert!(matches!(propose(skipping).await, Err(SubmitError::Stale(_))));
    let forked = next(&current, &[1], |d| d.previous = Some(campanile_common::authority::sha256(&[b"x"])));
    assert!(matches!(propose(forked).await, Err(SubmitError::Stale(_))));
    let elsewhere = next(&current, &[1], |d| d.fleet = FleetId::from_bytes([3; 16]));
    assert!(matches!(propose(elsewhere).await, Err(SubmitError::Invalid(_))));
    let expired = next(&current, &[1], |d| {
        d.issued = NOW - Duration::from_secs(20);
        d.expires = NOW - Duration::from_secs(10);
    });
    assert!(matches!(propose(expired).await, Err(SubmitError::Invalid(_))));
    let damaged = SignedAuthority { bytes: vec![2, 7, 7], signatures: current.signed().signatures.clone() };
    assert!(matches!(propose(damaged).await, Err(SubmitError::Invalid(_))));
    assert_eq!(opened.authorities.current().digest(), current.digest());
    assert!(actions(&opened.audit).await.is_empty());
    // The one in force again is no news and no error.
    assert!(propose(current.signed().clone()).await.unwrap().in_force);
}

#[tokio::test]
async fn a_recovery_key_replaces_the_operators_and_overtakes_what_waits() {
    let (folder, file) = fleet();
    let opened = open(folder.path(), &file).await;
    with_two(&opened).await;
    let current = opened.authorities.current();
    let waiting = next(&current, &[1], |d| d.operators.push(operator("cyd", 3)));
    assert!(!opened.authorities.propose("person:ada", waiting).await.unwrap().in_force);
    let recovered = |keys: &[u8]| {
        next(&current, keys, |document| {
            document.operators = vec![operator("dan", 4)];
            document.thresholds = Role::ALL.into_iter().map(|role| (role, 1)).collect();
            document.recovery = Vec::new();
        })
    };
    // The new operators must mean it, too.
    assert!(opened.authorities.propose("local", recovered(&[9])).await.is_err());
    assert!(opened.authorities.propose("local", recovered(&[9, 4])).await.unwrap().in_force);
    assert_eq!(opened.authorities.current().document().operators[0].name, "dan");
    assert!(opened.authorities.proposals().await.unwrap().is_empty());
}

#[tokio::test]
async fn another_version_of_the_same_number_does_not_push_one_that_waits_aside() {
    let (folder, file) = fleet();
    let opened = open(folder.path(), &file).await;
    with_two(&opened).await;
    let current = opened.authorities.current();
    let by_ada = next(&current, &[1], |d| d.operators.push(operator("cyd", 3)));
    let by_bob = next(&current, &[2], |d| d.operators.push(operator("eve", 7)));
    assert!(!opened.authorities.propose("person:ada", by_ada).await.unwrap().in_force);
    let refused = opened.authorities.propose("person:bob", by_bob).await;
    assert!(matches!(refused, Err(SubmitError::Conflict(_))));
    // Whoever signed the first may take it back with another.
    let second = next(&current, &[1], |d| d.operators.push(operator("dan", 4)));
    assert!(!opened.authorities.propose("person:ada", second).await.unwrap().in_force);
    let proposals = opened.authorities.proposals().await.unwrap();
    assert_eq!((proposals.len(), proposals[0].summary.as_str()), (1, "authority version 3 adds dan"));
    // After a week it is nobody's any more.
    drop(opened);
    let later = open_at(folder.path(), &file, NOW + Duration::from_secs(7 * 86_400)).await;
    assert!(later.authorities.proposals().await.unwrap().is_empty());
    let third = next(&later.authorities.current(), &[2], |d| d.operators.push(operator("eve", 7)));
    assert!(!later.authorities.propose("person:bob", third).await.unwrap().in_force);
}

#[tokio::test]
async fn a_catalogue_needs_its_signatures_and_never_goes_back() {
    let (folder, file) = fleet();
    let opened = open(folder.path(), &file).await;
    assert_eq!(opened.catalogues.to_api().version, 0);
    let mut watch = opened.catalogues.subscribe_signed();
    assert!(opened.catalogues.propose("person:ada", catalogue(4, &[1])).await.unwrap().in_force);
    assert_eq!(watch.borrow_and_update().as_ref().unwrap().read().unwrap().version, 4);
    for version in [3, 4] {
        let mut older = catalogue(version, &[1]);
        older.signatures[0] = older.signatures[0].clone();
        let submitted = opened.catalogues.propose("person:ada", older).await;
        match version {
            3 => assert!(matches!(submitted, Err(SubmitError::Stale(_)))),
            _ => assert!(submitted.unwrap().in_force, "the one in force again"),
        }
    }
    let forged = opened.catalogues.propose("person:eve", catalogue(5, &[7])).await;
    assert!(matches!(forged, Err(SubmitError::Signatures(_))));
    drop(opened);
    let opened = open(folder.path(), &file).await;
    assert_eq!(opened.catalogues.current().unwrap().document().version, 4);
}

#[tokio::test]
async fn a_catalogue_waits_for_the_second_operator() {
    let (folder, file) = fleet();
    let opened = open(folder.path(), &file).await;
    with_two(&opened).await;
    let signed = catalogue(1, &[1]);
    let submitted = opened.catalogues.propose("person:ada", signed.clone()).await.unwrap();
    assert_eq!((submitted.in_force, submitted.id.as_str()), (false, "catalogue-1"));
    assert!(opened.catalogues.current().is_none());
    drop(opened);
    let opened = open(folder.path(), &file).await;
    assert_eq!(opened.catalogues.proposals().await.unwrap()[0].signed_by, ["ada"]);
    let mut by_bob = SignedCatalogue { bytes: signed.bytes, signatures: Vec::new() };
    by_bob.add_signature(&key(2));
    let own = by_bob.signatures.remove(0);
    let done = opened.catalogues.add_signature("person:bob", "catalogue-1", own).await.unwrap();
    assert_eq!((done.in_force, &done.signed_by[..]), (true, &["ada".to_owned(), "bob".to_owned()][..]));
    assert!(opened.catalogues.proposals().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_catalogue_loses_its_force_when_its_signer_leaves_and_its_number_is_not_given_again() {
    let (folder, file) = fleet();
    let opened = open(folder.path(), &file).await;
    opened.catalogues.propose("person:ada", catalogue(2, &[1])).await.unwrap();
    let mut events = opened.events.subscribe(None).receiver;
    let without_ada = next(&opened.authorities.current(), &[1], |d| d.operators = vec![operator("bob", 2)]);
    assert!(opened.authorities.propose("person:ada", without_ada).await.unwrap().in_force);
    // Even before anybody verified it anew.
    assert!(opened.catalogues.current().is_none());
    assert!(opened.catalogues.verify_anew());
    let api = opened.catalogues.to_api();
    assert_eq!((api.version, api.signed), (2, None));
    let kinds: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind).collect();
    assert_eq!(kinds, ["authority.changed", "catalogue.changed"]);
    let again = opened.catalogues.propose("person:bob", catalogue(2, &[2])).await;
    assert!(matches!(again, Err(SubmitError::Stale(_))));
    assert!(opened.catalogues.propose("person:bob", catalogue(3, &[2])).await.unwrap().in_force);
    drop(opened);
    let opened = open(folder.path(), &file).await;
    assert_eq!(opened.catalogues.current().unwrap().document().version, 3);
}

#[test]
fn only_signatures_that_count_are_kept_each_once() {
    let signatures: Vec<_> =
        (0..5_u8).map(|seed| Signature { key: key(seed % 3).public().id(), bytes: vec![seed; 64] }).collect();
    let kept = waiting::keep_counting(&signatures, |signature| signature.bytes[0] != 0).unwrap();
    assert_eq!(kept.iter().map(|signature| signature.bytes[0]).collect::<Vec<_>>(), [1, 2, 3]);
    let flood = vec![signatures[0].clone(); 1000];
    assert!(matches!(waiting::keep_counting(&flood, |_| true), Err(SubmitError::Invalid(_))));
}
