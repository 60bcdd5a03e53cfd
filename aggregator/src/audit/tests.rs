//! The log on a real store.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use campanile_common::audit::{verify_checkpoint, verify_entries};
use campanile_common::id::FleetId;
use tempfile::TempDir;

use super::*;
use crate::state::{SqliteStore, Transaction};

const FLEET: FleetId = FleetId::from_bytes([3; 16]);

struct Log {
    folder: TempDir,
    store: Store,
    audit: Audit,
}

fn keys() -> Keys {
    Keys::new(FLEET)
}

fn open_store(folder: &Path) -> Store {
    Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap())
}

/// A clock that rises by a second each time it is asked.
fn clock() -> Clock {
    let seconds = AtomicU64::new(0);
    Clock::from_fn(move || Timestamp::from_millis(seconds.fetch_add(1, Ordering::SeqCst) * 1000))
}

async fn open_audit(store: &Store) -> Audit {
    Audit::open(store.clone(), keys(), clock(), [9; 32]).await.unwrap()
}

async fn log() -> Log {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let audit = open_audit(&store).await;
    Log { folder, store, audit }
}

fn record(actor: &str, action: &'static str) -> Record {
    let target = "node/1".to_owned();
    Record { actor: actor.to_owned(), action, target, outcome: AuditOutcome::Ok, detail: String::new() }
}

impl Log {
    async fn fill(&self, count: usize) {
        for _ in 0..count {
            self.audit.record(record("local", "node.rename")).await.unwrap();
        }
    }

    async fn everything(&self) -> Vec<AuditEntry> {
        self.audit.list(AuditQuery { limit: 10_000, ..AuditQuery::default() }).await.unwrap()
    }

    /// Does to the stored log what nobody may do.
    async fn tamper(&self, write: Write) {
        let transaction = Transaction { compares: vec![], writes: vec![write] };
        assert!(matches!(self.store.commit(transaction).await.unwrap(), Committed::Done(_)));
    }

    fn key(&self, sequence: u64) -> String {
        self.audit.shared.entry_key(sequence)
    }

    async fn assert_bad(&self, sequence: u64, word: &str) {
        let found = self.audit.verify().await.unwrap();
        assert_eq!((found.intact, found.bad_sequence), (false, Some(sequence)), "{found:?}");
        assert!(found.problem.as_ref().unwrap().contains(word), "{found:?}");
    }
}

#[tokio::test]
async fn entries_are_chained_and_survive_opening_again() {
    let log = log().await;
    log.fill(3).await;
    let Log { folder, store, audit } = log;
    drop((store, audit));
    let store = open_store(folder.path());
    let log = Log { audit: open_audit(&store).await, store, folder };
    log.fill(2).await;
    let entries = log.everything().await;
    assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(verify_entries(&entries, &[]).intact);
    let found = log.audit.verify().await.unwrap();
    assert_eq!((found.intact, found.entries), (true, 5));
}

#[tokio::test]
async fn the_record_and_what_it_is_about_are_written_together_or_not_at_all() {
    let log = log().await;
    let absent = || vec![Compare::Absent("node/1".to_owned())];
    let write = |value: &str| vec![Write::put("node/1", value)];
    let first = log.audit.commit(absent(), write("1"), record("local", "node.enroll")).await.unwrap();
    assert!(matches!(first, Committed::Done(_)));
    let second = log.audit.commit(absent(), write("2"), record("local", "node.enroll")).await.unwrap();
    assert_eq!(second, Committed::Conflict);
    assert_eq!(log.store.get("node/1").await.unwrap().unwrap().value, b"1");
    assert_eq!(log.everything().await.len(), 1);
    log.fill(1).await;
    assert!(log.audit.verify().await.unwrap().intact);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_many_tasks_and_two_processes_make_one_chain() {
    let log = log().await;
    let other = open_audit(&open_store(log.folder.path())).await;
    let tasks: Vec<_> = (0..20)
        .map(|index| {
            let audit = if index % 2 == 0 { log.audit.clone() } else { other.clone() };
            tokio::spawn(async move {
                for _ in 0..5 {
                    audit.record(record(&format!("node:{index}"), "node.enroll")).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let found = log.audit.verify().await.unwrap();
    assert_eq!((found.intact, found.entries), (true, 100), "{found:?}");
    assert_eq!(other.verify().await.unwrap(), found);
}

#[tokio::test]
async fn an_append_that_was_given_up_does_not_break_the_next() {
    let log = log().await;
    for _ in 0..20 {
        let append = log.audit.record(record("local", "node.rename"));
        drop(tokio::time::timeout(std::time::Duration::ZERO, append).await);
        log.fill(1).await;
    }
    assert!(log.audit.verify().await.unwrap().intact);
}

#[tokio::test]
async fn lists_are_filtered_and_bounded_from_either_end() {
    let log = log().await;
    for index in 0..1200 {
        let actor = if index % 100 == 0 { "person:ada" } else { "local" };
        let action = if index % 2 == 0 { "node.rename" } else { "node.label" };
        log.audit.record(record(actor, action)).await.unwrap();
    }
    let list = async |query: AuditQuery| {
        let entries = log.audit.list(query).await.unwrap();
        entries.into_iter().map(|entry| entry.sequence).collect::<Vec<_>>()
    };
    let query = || AuditQuery { limit: 3, ..AuditQuery::default() };
    assert_eq!(list(query()).await, [1, 2, 3]);
    assert_eq!(list(AuditQuery { after: 600, ..query() }).await, [601, 602, 603]);
    assert_eq!(list(AuditQuery { newest: true, ..query() }).await, [1198, 1199, 1200]);
    assert_eq!(list(AuditQuery { newest: true, after: 1198, ..query() }).await, [1199, 1200]);
    let by_ada = AuditQuery { actor: Some("person:ada".to_owned()), ..query() };
    assert_eq!(list(by_ada.clone()).await, [1, 101, 201]);
    assert_eq!(list(AuditQuery { newest: true, ..by_ada.clone() }).await, [901, 1001, 1101]);
    assert_eq!(list(AuditQuery { limit: 100, ..by_ada.clone() }).await.len(), 12);
    let none = AuditQuery { action: Some("node.label".to_owned()), ..by_ada };
    assert_eq!(list(none).await, [0; 0]);
    let entry = log.audit.list(AuditQuery { after: 699, limit: 1, ..query() }).await.unwrap().remove(0);
    assert_eq!(list(AuditQuery { since: Some(entry.time), ..query() }).await, [700, 701, 702]);
    assert_eq!(list(AuditQuery { limit: 0, ..query() }).await, [0; 0]);
    assert_eq!(list(AuditQuery { limit: usize::MAX, ..query() }).await.len(), 1200);
}

#[tokio::test]
async fn an_altered_entry_is_named() {
    let log = log().await;
    log.fill(9).await;
    let mut entry = log.everything().await.remove(4);
    entry.actor = "person:nobody".to_owned();
    log.tamper(Write::put(log.key(5), to_json(&entry))).await;
    log.assert_bad(5, "altered").await;
    entry.hash = entry_hash(&entry);
    log.tamper(Write::put(log.key(5), to_json(&entry))).await;
    log.assert_bad(6, "entry 5").await;
    log.tamper(Write::put(log.key(5), "nonsense")).await;
    log.assert_bad(5, "cannot be read").await;
}

#[tokio::test]
async fn missing_moved_and_cut_entries_are_named() {
    let log = log().await;
    log.fill(9).await;
    let entries = log.everything().await;
    log.tamper(Write::put(log.key(4), to_json(&entries[4]))).await;
    log.assert_bad(4, "altered").await;
    log.tamper(Write::Delete { key: log.key(4) }).await;
    log.assert_bad(4, "missing").await;
    log.tamper(Write::put(log.key(4), to_json(&entries[3]))).await;
    assert!(log.audit.verify().await.unwrap().intact);
    log.tamper(Write::Delete { key: log.key(9) }).await;
    log.assert_bad(9, "ends before").await;
    // Going on does not hide it.
    log.fill(3).await;
    log.assert_bad(9, "missing").await;
}

#[tokio::test]
async fn a_log_without_its_head_is_refused() {
    let log = log().await;
    log.fill(3).await;
    log.tamper(Write::Delete { key: log.audit.shared.head_key() }).await;
    log.assert_bad(3, "newest is gone").await;
    let refused = Audit::open(log.store.clone(), keys(), clock(), [9; 32]).await;
    assert!(matches!(refused, Err(StateError::Unreadable { .. })));
}

#[tokio::test]
async fn checkpoints_are_signed_and_witness_the_chain() {
    let log = log().await;
    assert_eq!(log.audit.checkpoint().await.unwrap(), None);
    log.fill(4).await;
    let checkpoint = log.audit.checkpoint().await.unwrap().unwrap();
    let witness = verify_checkpoint(FLEET, &log.audit.public_key(), &checkpoint).unwrap();
    log.fill(2).await;
    assert!(verify_entries(&log.everything().await, &[witness]).intact);
    assert_eq!(witness.sequence, 4);
}

#[tokio::test]
async fn what_is_recorded_is_bounded_and_harmless_to_print() {
    let log = log().await;
    let record = Record { detail: "\u{1b}[2J".repeat(10_000), ..record("person:a\nb", "node.rename") };
    log.audit.record(record).await.unwrap();
    let entry = log.everything().await.remove(0);
    assert_eq!(entry.actor, "person:a\\u{a}b");
    assert!(entry.detail.len() <= 1024 && !entry.detail.contains('\u{1b}'));
    assert!(log.audit.verify().await.unwrap().intact);
}
