//! The conformance suite on SQLite, and what is SQLite's own: the file, its damage, its size.

#![expect(clippy::disallowed_methods, reason = "tests damage the file")]

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::state::conformance::{self, HandClock};
use crate::state::{Compare, Write};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

fn open_small(path: &Path, limits: StoreLimits) -> SqliteStore {
    SqliteStore::open_with(path, limits, HandClock::default().clock()).unwrap()
}

async fn put(store: &SqliteStore, key: &str, value: impl Into<Vec<u8>>) -> Result<Revision, StateError> {
    let transaction = Transaction { compares: vec![], writes: vec![Write::put(key, value)] };
    match store.commit(transaction).await? {
        Committed::Done(revision) => Ok(revision),
        Committed::Conflict => panic!("nothing was compared"),
    }
}

/// A closed store with some content.
async fn filled(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    for index in 0..200 {
        put(&store, &format!("node/{index}"), vec![7; 500]).await.unwrap();
    }
}

fn refusal(path: &Path) -> StateError {
    SqliteStore::open(path).expect_err("the file must be refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str, clock: &HandClock| {
        let path = folder.path().join(format!("{name}.db"));
        Arc::new(SqliteStore::open_with(&path, StoreLimits::default(), clock.clock()).unwrap()) as _
    };
    conformance::all(&open).await;
}

#[tokio::test]
async fn a_store_is_private_and_leaves_no_log_behind_when_closed() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, path) = folder();
    filled(&path).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["state.db", "state.db.lock"]);
}

#[tokio::test]
async fn damage_is_refused_by_name_and_never_read_as_empty() {
    let (_folder, path) = folder();
    filled(&path).await;
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() > 20 * 4096);
    let mut holed = whole.clone();
    holed[4096..12 * 4096].fill(0x5a);
    let cases: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("shorter than a page", whole[..1000].to_vec()),
        ("cut in the middle", whole[..whole.len() / 4096 / 2 * 4096].to_vec()),
        ("cut within a page", whole[..whole.len() - 100].to_vec()),
        ("overwritten in the middle", holed),
        ("no database", vec![b'x'; whole.len()]),
    ];
    for (what, bytes) in cases {
        fs::write(&path, &bytes).unwrap();
        let error = refusal(&path);
        assert!(
            matches!(&error, StateError::Damaged { path: named, .. } if *named == path),
            "{what}: {error}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}: a refused file is left as it is");
    }
    fs::write(&path, &whole).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    assert!(store.get("node/199").await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_that_has_gone_is_not_a_first_start() {
    let (_folder, path) = folder();
    filled(&path).await;
    fs::remove_file(&path).unwrap();
    assert!(matches!(refusal(&path), StateError::Damaged { .. }));
    assert!(!path.exists());
    let lock = path.with_extension("db.lock");
    fs::remove_file(&lock).unwrap();
    fs::write(path.with_extension("db-wal"), b"").unwrap();
    let error = refusal(&path);
    assert!(error.to_string().contains("state.db-wal"), "{error}");
    fs::remove_file(path.with_extension("db-wal")).unwrap();
    fs::remove_file(&lock).unwrap();
    assert!(SqliteStore::open(&path).is_ok());
}

#[tokio::test]
async fn what_a_crash_left_while_making_the_store_does_not_stand_in_the_way() {
    let (_folder, path) = folder();
    fs::write(path.with_extension("db.new"), b"half").unwrap();
    fs::write(path.with_extension("db.lock"), b"").unwrap();
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.revision().await.unwrap(), Revision(0));
}

#[tokio::test]
async fn foreign_and_newer_files_are_refused() {
    let (_folder, path) = folder();
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(foreign);
    assert!(matches!(refusal(&path), StateError::Foreign { .. }));
    fs::remove_file(&path).unwrap();
    fs::remove_file(path.with_extension("db.lock")).unwrap();
    filled(&path).await;
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert!(matches!(refusal(&path), StateError::TooNew { found: 99, .. }));
}

#[tokio::test]
async fn when_full_nothing_changes_and_reads_go_on() {
    let (_folder, path) = folder();
    let limits = StoreLimits { bytes_max: 100 * 4096, ..StoreLimits::default() };
    let store = open_small(&path, limits);
    put(&store, "small", "1").await.unwrap();
    let mut written = Vec::new();
    let error = loop {
        let key = format!("fill/{}", written.len());
        match put(&store, &key, vec![1; 20_000]).await {
            Ok(_) => written.push(key),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StateError::Full), "{error}");
    assert!(!written.is_empty());
    let revision = store.revision().await.unwrap();
    let transaction = Transaction {
        compares: vec![],
        writes: vec![Write::put("small", "2"), Write::put("large", vec![1; 50_000])],
    };
    assert!(matches!(store.commit(transaction).await, Err(StateError::Full)));
    assert_eq!(store.revision().await.unwrap(), revision);
    assert_eq!(store.get("small").await.unwrap().unwrap().value, b"1");
    assert_eq!(store.get("large").await.unwrap(), None);
    for key in &written {
        assert!(store.get(key).await.unwrap().is_some(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_write_that_does_not_fit_does_not_fail_the_small_ones_beside_it() {
    let (_folder, path) = folder();
    let limits = StoreLimits { bytes_max: 100 * 4096, ..StoreLimits::default() };
    let store = Arc::new(open_small(&path, limits));
    let tasks: Vec<_> = (0..40)
        .map(|index| {
            let store = store.clone();
            let bytes = if index % 10 == 5 { 900_000 } else { 10 };
            tokio::spawn(async move { (bytes, put(&store, &format!("k/{index}"), vec![1; bytes]).await) })
        })
        .collect();
    for task in tasks {
        let (bytes, result) = task.await.unwrap();
        assert_eq!(result.is_ok(), bytes == 10, "{result:?}");
    }
}

#[tokio::test]
async fn a_watch_from_before_what_is_kept_is_told_so() {
    let (_folder, path) = folder();
    let history = HistoryLimits { revisions_max: 16, bytes_max: u64::MAX };
    let store = open_small(&path, StoreLimits { history, ..StoreLimits::default() });
    let mut slow = store.watch("", Revision(0)).await.unwrap();
    for index in 0..64 {
        put(&store, &format!("k/{index}"), "x").await.unwrap();
    }
    let Err(StateError::Compacted { oldest }) = store.watch("", Revision(1)).await else {
        panic!("revision 1 is no longer kept")
    };
    assert!(oldest <= Revision(64 - 16) && oldest >= Revision(64 - 19), "{oldest:?}");
    assert!(matches!(slow.next().await, Err(StateError::Compacted { .. })));
    let mut watch = store.watch("", oldest).await.unwrap();
    let seen = watch.next().await.unwrap();
    assert_eq!(u64::try_from(seen.len()).unwrap(), 64 - oldest.0);
}

#[tokio::test]
async fn the_history_is_bounded_in_bytes_too() {
    let (_folder, path) = folder();
    let history = HistoryLimits { revisions_max: 1000, bytes_max: 100_000 };
    let store = open_small(&path, StoreLimits { history, ..StoreLimits::default() });
    for _ in 0..50 {
        put(&store, "k", vec![1; 10_000]).await.unwrap();
    }
    let connection = rusqlite::Connection::open(&path).unwrap();
    assert!(row::history_bytes(&connection).unwrap() <= 100_000);
    assert!(matches!(store.watch("", Revision(1)).await, Err(StateError::Compacted { .. })));
}

#[tokio::test]
async fn a_watch_of_a_quiet_prefix_outlives_a_busy_one() {
    let (_folder, path) = folder();
    let history = HistoryLimits { revisions_max: 8, bytes_max: u64::MAX };
    let store = open_small(&path, StoreLimits { history, ..StoreLimits::default() });
    let mut watch = store.watch("quiet/", Revision(0)).await.unwrap();
    for _ in 0..40 {
        put(&store, "busy", "x").await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), watch.next()).await.is_err());
    }
    put(&store, "quiet/1", "x").await.unwrap();
    assert_eq!(watch.next().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_file_see_each_other() {
    let (_folder, path) = folder();
    let (one, two) = (SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap());
    let mut watch = one.watch("", Revision(0)).await.unwrap();
    let revision = put(&two, "a", "two").await.unwrap();
    assert_eq!(one.get("a").await.unwrap().unwrap().revision, revision);
    // Wakes by the writer's tick, as nothing else tells the first about the second.
    assert_eq!(watch.next().await.unwrap()[0].revision, revision);
    let compares = vec![Compare::At("a".to_owned(), revision)];
    let transaction = Transaction { compares, writes: vec![Write::put("a", "one")] };
    assert!(matches!(one.commit(transaction.clone()).await.unwrap(), Committed::Done(_)));
    assert_eq!(two.commit(transaction).await.unwrap(), Committed::Conflict);
}

#[tokio::test]
async fn a_lease_that_another_process_renews_does_not_end() {
    let (_folder, path) = folder();
    let (clock_one, clock_two) = (HandClock::default(), HandClock::default());
    let open =
        |clock: &HandClock| SqliteStore::open_with(&path, StoreLimits::default(), clock.clock()).unwrap();
    let one = open(&clock_one);
    let lease = one.grant_lease(Duration::from_secs(10)).await.unwrap();
    let write = Write::Put { key: "leader".to_owned(), value: vec![], lease: Some(lease) };
    let transaction = Transaction { compares: vec![], writes: vec![write] };
    assert!(matches!(one.commit(transaction).await.unwrap(), Committed::Done(_)));
    let two = open(&clock_two);
    assert!(one.keep_lease(lease).await.unwrap());
    clock_two.advance(Duration::from_secs(11));
    put(&two, "other", "x").await.unwrap();
    assert!(two.get("leader").await.unwrap().is_some());
    // The renewal gave it one full turn there; without another it ends.
    clock_two.advance(Duration::from_secs(11));
    assert!(two.get("leader").await.unwrap().is_none());
    assert!(!one.keep_lease(lease).await.unwrap());
}

#[tokio::test]
async fn dropping_the_store_waits_for_what_was_asked() {
    let (_folder, path) = folder();
    let store = SqliteStore::open(&path).unwrap();
    let commit = put(&store, "a", "1");
    // Polled once: it is in the queue, nobody waits for the answer.
    assert!(tokio::time::timeout(Duration::ZERO, commit).await.is_err() || path.exists());
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert!(store.get("a").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_of_one_moment_and_opens_as_a_store_while_the_first_goes_on() {
    let (folder, path) = folder();
    let store = SqliteStore::open(&path).unwrap();
    let revision = put(&store, "a", "then").await.unwrap();
    let copy = folder.path().join("copy").join("state.db");
    fs::create_dir(folder.path().join("copy")).unwrap();
    SqliteStore::snapshot(&path, &copy).unwrap();
    put(&store, "a", "later").await.unwrap();
    let then = SqliteStore::open(&copy).unwrap();
    let entry = then.get("a").await.unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), entry.revision), (&b"then"[..], revision));
    assert_eq!(then.revision().await.unwrap(), revision);
    assert_eq!(store.get("a").await.unwrap().unwrap().value, b"later");
    assert!(SqliteStore::snapshot(&path, &copy).is_err(), "a file that is there is not replaced");
}
