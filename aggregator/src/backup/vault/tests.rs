//! A node's folder: puts, cuts, deletions and what comes back, on a real disk.

mod year;

use std::fs;
use std::time::Duration;

use campanile_common::authority::sha256;
use campanile_common::backup::{Retention, StoredKind, StoredObject};
use campanile_common::id::Digest;
use campanile_common::unit::ByteCount;
use campanile_common::wire::v1::store::StayReason;

use super::super::limits::Limits;
use super::super::record::{Flaw, Settlement};
use super::super::retention::{Proposal, Rules};
use super::super::verify::Step;
use super::*;

const NODE: NodeId = NodeId::from_bytes([1; 8]);
const DAY_MS: u64 = 86_400_000;

fn day(number: u64) -> Timestamp {
    Timestamp::from_millis((20_000 + number) * DAY_MS)
}

fn limits() -> Limits {
    Limits { quota: ByteCount(1 << 40), free_floor: ByteCount(0), objects_per_hour: 1000 }
}

fn rules() -> Rules {
    Rules::usual(Retention { keep_last: 3, weekly: 4, ..Retention::default() })
}

fn open(folder: &Path, now: Timestamp) -> Arc<Vault> {
    Vault::load(folder, NODE, now).unwrap().0
}

fn named(kind: StoredKind, bytes: &[u8]) -> StoredObject {
    StoredObject::new(kind, sha256(&[bytes]))
}

fn begin(
    vault: &Arc<Vault>,
    object: StoredObject,
    size: usize,
    packs: Option<usize>,
    now: Timestamp,
) -> Result<Begun, (Failure, Option<Note>)> {
    let appending = packs.map(|packs| Appending {
        packs: u64::try_from(packs).unwrap(),
        policy: Some("etc".parse().unwrap()),
    });
    vault.begin(object, u64::try_from(size).unwrap(), appending, &limits(), now)
}

fn take(begun: Begun, pieces: &[&[u8]], now: Timestamp) -> Result<Timestamp, (Failure, Option<Note>)> {
    match begun {
        Begun::Exists(at) => Ok(at),
        Begun::Open(mut incoming) => {
            for piece in pieces {
                incoming.write(piece).map_err(|failure| (failure, None))?;
            }
            Ok(incoming.finish(now)?.at)
        }
    }
}

fn put_as(
    vault: &Arc<Vault>,
    object: StoredObject,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Timestamp, Failure> {
    let done = begin(vault, object, bytes.len(), None, now).and_then(|begun| take(begun, &[bytes], now));
    done.map_err(|(failure, _)| failure)
}

fn put(vault: &Arc<Vault>, kind: StoredKind, bytes: &[u8], now: Timestamp) -> StoredObject {
    let object = named(kind, bytes);
    put_as(vault, object, bytes, now).unwrap();
    object
}

fn append(
    vault: &Arc<Vault>,
    bytes: &[u8],
    packs: &[StoredObject],
    now: Timestamp,
) -> Result<Digest, Failure> {
    let object = named(StoredKind::Snapshot, bytes);
    let mut names: Vec<Digest> = packs.iter().map(|pack| pack.id).collect();
    names.sort_unstable();
    let names: Vec<u8> = names.iter().flat_map(|name| *name.as_bytes()).collect();
    let done = begin(vault, object, bytes.len(), Some(packs.len()), now)
        .and_then(|begun| take(begun, &[&names, bytes], now));
    done.map(|_| object.id).map_err(|(failure, _)| failure)
}

fn read(vault: &Vault, object: StoredObject) -> Result<Vec<u8>, Failure> {
    let mut reading = vault.open_object(object, None)?;
    let mut bytes = Vec::new();
    while reading.left() > 0 {
        bytes.extend(reading.piece()?);
    }
    Ok(bytes)
}

fn ids(objects: &[StoredObject]) -> Vec<Digest> {
    let mut ids: Vec<Digest> = objects.iter().map(|object| object.id).collect();
    ids.sort_unstable();
    ids
}

fn left_over(folder: &Path) -> usize {
    fs::read_dir(folder.join(NODE.to_string()).join("new")).unwrap().count()
}

#[test]
fn an_object_is_stored_once_in_restics_place_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let pack = put(&vault, StoredKind::Pack, b"some blobs", day(0));
    assert_eq!(put_as(&vault, pack, b"some blobs", day(5)), Ok(day(0)), "the first receipt counts");
    assert_eq!(read(&vault, pack).unwrap(), b"some blobs");
    let place = folder.path().join(NODE.to_string()).join(layout_of(pack));
    assert_eq!(fs::read(place).unwrap(), b"some blobs");
    let mut part = vault.open_object(pack, Some((5, 7))).unwrap();
    assert_eq!(part.piece().unwrap(), b"bl");
    assert_eq!(vault.open_object(pack, Some((5, 11))).unwrap_err().code, StoreFailure::Short);
    assert_eq!(vault.open_object(pack, Some((7, 5))).unwrap_err().code, StoreFailure::Short);
    let other = named(StoredKind::Pack, b"other");
    assert_eq!(vault.open_object(other, None).unwrap_err().code, StoreFailure::Missing);
    assert_eq!(vault.page(StoredKind::Pack, None), [(pack.id, 10)]);
}

fn layout_of(object: StoredObject) -> PathBuf {
    super::super::layout::place(object)
}

#[test]
fn bytes_under_a_foreign_name_are_refused_and_raise_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let object = named(StoredKind::Pack, b"what it claims");
    let (failure, alarm) =
        begin(&vault, object, 4, None, day(0)).and_then(|begun| take(begun, &[b"else"], day(0))).unwrap_err();
    assert_eq!(failure.code, StoreFailure::Mismatch);
    assert!(matches!(alarm, Some(Note::Held { .. })));
    let again = begin(&vault, object, 4, None, day(0)).and_then(|begun| take(begun, &[b"else"], day(0)));
    assert_eq!(again.unwrap_err().1, None, "one alarm is enough");
    assert_eq!(vault.open_object(object, None).unwrap_err().code, StoreFailure::Missing);
    assert_eq!(left_over(folder.path()), 0);
}

#[test]
fn an_upload_that_is_cut_or_too_long_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let object = named(StoredKind::Pack, b"0123456789");
    for pieces in [&[&b"01234"[..]][..], &[&b"0123456789"[..], b"x"], &[]] {
        let begun = begin(&vault, object, 10, None, day(0)).unwrap();
        let (failure, _) = take(begun, pieces, day(0)).unwrap_err();
        assert_eq!(failure.code, StoreFailure::Malformed);
    }
    drop(begin(&vault, object, 10, None, day(0)).unwrap());
    assert_eq!((left_over(folder.path()), vault.in_flight()), (0, 0));
    assert!(vault.page(StoredKind::Pack, None).is_empty());
}

#[test]
fn config_and_keys_are_put_once_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    put_as(&vault, StoredObject::CONFIG, b"the first", day(0)).unwrap();
    assert_eq!(put_as(&vault, StoredObject::CONFIG, b"another", day(1)), Ok(day(0)));
    assert_eq!(read(&vault, StoredObject::CONFIG).unwrap(), b"the first");
    let stray = StoredObject::new(StoredKind::Config, Digest::from_bytes([1; 32]));
    assert_eq!(put_as(&vault, stray, b"x", day(0)).unwrap_err().code, StoreFailure::Malformed);
    let snapshot = named(StoredKind::Snapshot, b"x");
    assert_eq!(put_as(&vault, snapshot, b"x", day(0)).unwrap_err().code, StoreFailure::Refused);
    assert_eq!(
        put_as(&vault, named(StoredKind::Key, b""), b"", day(0)).unwrap_err().code,
        StoreFailure::Refused
    );
}

#[test]
fn a_snapshot_is_there_only_with_every_pack_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let pack = put(&vault, StoredKind::Pack, b"blobs", day(0));
    let absent = named(StoredKind::Pack, b"never sent");
    let failure = append(&vault, b"snapshot", &[pack, absent], day(0)).unwrap_err();
    assert_eq!(failure.code, StoreFailure::Incomplete);
    let doubled = append(&vault, b"snapshot", &[pack, pack], day(0)).unwrap_err();
    assert_eq!(doubled.code, StoreFailure::Malformed);
    assert!(vault.with(|account| account.history().is_empty()));
    append(&vault, b"snapshot", &[pack], day(0)).unwrap();
    let facts = vault.with(|account| account.history()[0].clone());
    assert_eq!((facts.bytes, facts.new_bytes), (5, 5));
    assert_eq!(left_over(folder.path()), 0);
}

#[test]
fn after_a_restart_everything_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let pack = put(&vault, StoredKind::Pack, b"blobs", day(0));
    append(&vault, b"snapshot", &[pack], day(1)).unwrap();
    let before = vault.with(|account| format!("{account:?}"));
    drop(vault);
    fs::write(folder.path().join(NODE.to_string()).join("new/7"), b"half").unwrap();
    let vault = open(folder.path(), day(9));
    assert_eq!(vault.with(|account| format!("{account:?}")), before);
    assert_eq!(left_over(folder.path()), 0);
}

#[test]
fn a_cut_before_the_receipt_makes_an_object_younger_and_never_older() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let journal = folder.path().join(NODE.to_string()).join("receipts");
    let length = fs::metadata(&journal).unwrap().len();
    let pack = put(&vault, StoredKind::Pack, b"blobs", day(0));
    put_as(&vault, StoredObject::CONFIG, b"config", day(0)).unwrap();
    drop(vault);
    fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(length).unwrap();
    let vault = open(folder.path(), day(3));
    assert_eq!(vault.with(|account| account.objects[&pack].received), day(3));
    assert_eq!(read(&vault, StoredObject::CONFIG).unwrap(), b"config");
    append(&vault, b"snapshot", &[pack], day(4)).unwrap();
}

#[test]
fn a_snapshot_whose_receipt_was_lost_is_kept_with_all_that_it_may_need() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let pack = put(&vault, StoredKind::Pack, b"blobs", day(0));
    let journal = folder.path().join(NODE.to_string()).join("receipts");
    let length = fs::metadata(&journal).unwrap().len();
    let snapshot = append(&vault, b"snapshot", &[pack], day(1)).unwrap();
    drop(vault);
    fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(length).unwrap();
    fs::remove_file(folder.path().join(NODE.to_string()).join("closures").join(snapshot.to_string()))
        .unwrap();
    let vault = open(folder.path(), day(2));
    let later = put(&vault, StoredKind::Pack, b"later", day(3));
    let proposal = Proposal { packs: ids(&[pack, later]), ..Proposal::default() };
    let (decided, _) = vault.propose(&proposal, &rules(), day(3)).unwrap();
    assert_eq!((decided.deleted, decided.stays), (1, vec![(pack, StayReason::Needed)]));
}

#[test]
fn a_receipt_without_its_object_is_found_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let pack = put(&vault, StoredKind::Pack, b"blobs", day(0));
    drop(vault);
    fs::remove_file(folder.path().join(NODE.to_string()).join(layout_of(pack))).unwrap();
    let (vault, notes) = Vault::load(folder.path(), NODE, day(1)).unwrap();
    assert_eq!(notes[0], Note::Found { object: pack, flaw: Flaw::Missing });
    assert_eq!(vault.open_object(pack, None).unwrap_err().code, StoreFailure::Damaged);
    assert_eq!(vault.with(super::super::account::Account::open_reasons), [Suspicion::Damage]);
}

#[test]
fn objects_without_their_journal_are_not_taken_for_a_new_node() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    put(&vault, StoredKind::Pack, b"blobs", day(0));
    drop(vault);
    fs::remove_file(folder.path().join(NODE.to_string()).join("receipts")).unwrap();
    let error = Vault::load(folder.path(), NODE, day(1)).unwrap_err();
    assert!(matches!(error, LoadError::Journal(JournalError::Lost { .. })), "{error}");
}

/// A node with an old snapshot of its own pack, and three newer ones of another.
fn aged(folder: &Path) -> (Arc<Vault>, StoredObject, StoredObject, Digest) {
    let vault = open(folder, day(0));
    let (old, new) =
        (put(&vault, StoredKind::Pack, b"old blobs", day(0)), put(&vault, StoredKind::Pack, b"new", day(1)));
    let snapshot = append(&vault, b"old", &[old], day(1)).unwrap();
    for number in 0..20 {
        append(&vault, format!("new {number}").as_bytes(), &[new], day(1) + Duration::from_secs(number))
            .unwrap();
    }
    put(&vault, StoredKind::Index, b"old index", day(1));
    put(&vault, StoredKind::Index, b"an index that names more", day(2));
    (vault, old, new, snapshot)
}

#[test]
fn what_is_let_go_can_be_brought_back_until_the_floor_has_passed() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, old, new, snapshot) = aged(folder.path());
    let index = named(StoredKind::Index, b"old index");
    let proposal = Proposal { snapshots: vec![snapshot], indexes: vec![index.id], packs: ids(&[old, new]) };
    let (decided, _) = vault.propose(&proposal, &rules(), day(40)).unwrap();
    assert_eq!((decided.deleted, decided.recoverable_until), (3, Some(day(70))));
    assert_eq!(decided.stays, [(new, StayReason::Needed)]);
    assert_eq!(read(&vault, old).unwrap_err().code, StoreFailure::Missing);
    assert!(vault.expire(day(69)).unwrap().is_empty());
    vault.undelete(Some(snapshot)).unwrap();
    assert_eq!(read(&vault, old).unwrap(), b"old blobs");
    assert_eq!(read(&vault, index).unwrap(), b"old index");
    assert_eq!(vault.undelete(Some(snapshot)).unwrap_err().code, StoreFailure::Missing);
    vault.propose(&proposal, &rules(), day(80)).unwrap();
    assert!(matches!(vault.expire(day(110)).unwrap()[..], [Note::Expired { objects: 3, .. }]));
    assert_eq!(vault.undelete(Some(snapshot)).unwrap_err().code, StoreFailure::Missing);
    let again = open(folder.path(), day(111));
    assert_eq!(again.with(|account| account.trash_bytes()), 0);
}

#[test]
fn what_is_sent_or_needed_again_comes_back_from_the_trash() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, old, _, snapshot) = aged(folder.path());
    let proposal = Proposal { snapshots: vec![snapshot], packs: vec![old.id], ..Proposal::default() };
    vault.propose(&proposal, &rules(), day(40)).unwrap();
    append(&vault, b"needs it", &[old], day(41)).unwrap();
    assert_eq!(read(&vault, old).unwrap(), b"old blobs");
    let snapshot = StoredObject::new(StoredKind::Snapshot, snapshot);
    assert_eq!(read(&vault, snapshot).unwrap_err().code, StoreFailure::Missing);
    let begun = begin(&vault, snapshot, 3, Some(1), day(42)).unwrap();
    assert!(matches!(begun, Begun::Exists(at) if at == day(1)));
}

#[test]
fn a_deletion_that_was_cut_is_completed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, old, _, snapshot) = aged(folder.path());
    let proposal = Proposal { snapshots: vec![snapshot], packs: vec![old.id], ..Proposal::default() };
    vault.propose(&proposal, &rules(), day(40)).unwrap();
    drop(vault);
    let root = folder.path().join(NODE.to_string());
    fs::rename(root.join(super::super::layout::trash(old)), root.join(layout_of(old))).unwrap();
    let vault = open(folder.path(), day(41));
    assert_eq!(read(&vault, old).unwrap_err().code, StoreFailure::Missing);
    vault.undelete(Some(snapshot)).unwrap();
    assert_eq!(read(&vault, old).unwrap(), b"old blobs");
}

#[test]
fn while_something_waits_nothing_goes_and_a_release_carries_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, old, _, snapshot) = aged(folder.path());
    let newest = vault.with(|account| account.history().last().unwrap().id);
    let mut snapshots = vec![snapshot, newest];
    snapshots.sort_unstable();
    let unusual = Proposal { snapshots, packs: vec![old.id], ..Proposal::default() };
    let (decided, notes) = vault.propose(&unusual, &rules(), day(40)).unwrap();
    assert!(decided.held.is_some() && matches!(notes[..], [Note::Held { id: 0, .. }]));
    let usual = Proposal { snapshots: vec![snapshot], ..Proposal::default() };
    let (decided, notes) = vault.propose(&usual, &rules(), day(40)).unwrap();
    assert!(decided.held.is_some() && notes.is_empty());
    drop(vault);
    let vault = open(folder.path(), day(41));
    let (decided, _) = vault.settle(0, Settlement::Released, &rules(), day(41)).unwrap();
    assert_eq!(decided.unwrap().deleted, 2, "the newest stays all the same");
    assert!(vault.with(|account| account.history().iter().any(|facts| facts.id == newest)));
    assert_eq!(
        vault.settle(0, Settlement::Refused, &rules(), day(41)).unwrap_err().code,
        StoreFailure::Missing
    );
}

#[test]
fn every_damaged_byte_is_found_and_the_right_bytes_mend_it() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let pack = put(&vault, StoredKind::Pack, b"some blobs", day(0));
    put_as(&vault, StoredObject::CONFIG, b"config", day(0)).unwrap();
    append(&vault, b"snapshot", &[pack], day(0)).unwrap();
    let step = Step { cycle: Duration::from_secs(60), objects_max: 2, bytes_max: 1 << 20 };
    let cycle = |now| {
        let mut notes = Vec::new();
        while let Some(verified) = vault.verify_step(&step, now).unwrap() {
            notes.extend(verified.notes);
        }
        notes
    };
    assert!(cycle(day(1)).is_empty());
    assert_eq!(vault.with(|account| account.coverage(day(1))), Some(1.0));
    let place = folder.path().join(NODE.to_string()).join(layout_of(pack));
    for byte in 0..10 {
        let mut bytes = b"some blobs".to_vec();
        bytes[byte] ^= 0x10;
        fs::write(&place, bytes).unwrap();
        let now = day(2 + u64::try_from(byte).unwrap());
        assert_eq!(cycle(now)[0], Note::Found { object: pack, flaw: Flaw::Damaged }, "byte {byte}");
        assert_eq!(put_as(&vault, pack, b"else", now).unwrap_err().code, StoreFailure::Mismatch);
        assert_eq!(put_as(&vault, pack, b"some blobs", now), Ok(day(0)), "received then");
        assert_eq!(read(&vault, pack).unwrap(), b"some blobs");
        assert!(vault.with(|account| account.findings.is_empty()));
    }
}

#[test]
fn over_the_quota_or_the_rate_nothing_more_is_taken_and_what_is_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let few = Limits { quota: ByteCount(10), ..limits() };
    let pack = put(&vault, StoredKind::Pack, b"01234", day(0));
    let begin = |bytes: &[u8], limits: &Limits| {
        let size = u64::try_from(bytes.len()).unwrap();
        vault.begin(named(StoredKind::Pack, bytes), size, None, limits, day(0)).map(drop)
    };
    assert_eq!(begin(b"567890", &few).unwrap_err().0.code, StoreFailure::Full);
    begin(b"56789", &few).unwrap();
    let full = Limits { free_floor: ByteCount(u64::MAX), ..limits() };
    assert_eq!(begin(b"5", &full).unwrap_err().0.code, StoreFailure::Full);
    let slow = Limits { objects_per_hour: 5, ..limits() };
    let mut taken = 0;
    let alarm = loop {
        match begin(b"56789", &slow) {
            Ok(()) => taken += 1,
            Err((failure, alarm)) => {
                assert_eq!(failure.code, StoreFailure::TooMany);
                break alarm;
            }
        }
        assert!(taken < 6, "no limit");
    };
    assert!(matches!(alarm, Some(Note::Held { .. })));
    assert_eq!(read(&vault, pack).unwrap(), b"01234");
}

#[test]
fn a_list_comes_in_pages_and_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), day(0));
    let mut expected: Vec<Digest> = Vec::new();
    for number in 0_u32..1030 {
        // Receipts alone: a page is made from them.
        let object = named(StoredKind::Index, &number.to_le_bytes());
        let stored = Record::Stored { object, size: 4, at: day(0), bound: None };
        vault.lock().account.apply(&stored);
        expected.push(object.id);
    }
    expected.sort_unstable();
    let first = vault.page(StoredKind::Index, None);
    let second = vault.page(StoredKind::Index, Some(first.last().unwrap().0));
    let names: Vec<Digest> = first.iter().chain(&second).map(|(id, _)| *id).collect();
    assert_eq!((first.len(), names), (1024, expected));
}
