//! Stores of releases that never were: an earlier one, one that follows, and one whose migration fails.

#![expect(clippy::disallowed_methods, reason = "tests look at files")]

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use super::super::open::Opener;
use super::super::{SqliteStore, StoreLimits};
use super::*;
use crate::os::clock::Clock;
use crate::state::{Committed, StateStore as _, Transaction, Write};

/// From before releases were noted.
const FIRST: Release<'static> = Release { version: "0.0.9", migrations: &[THIS.migrations[0]] };
const OLD: Release<'static> = Release { version: "0.1.0", migrations: THIS.migrations };
/// Changes what is stored, and adds a table.
const NEW: Release<'static> = Release {
    version: "0.2.0",
    migrations: &[
        THIS.migrations[0],
        THIS.migrations[1],
        "CREATE TABLE extra (a INTEGER) STRICT; UPDATE entry SET value = CAST('new' AS BLOB) WHERE key = 'a';",
        "INSERT INTO extra (a) VALUES (7);",
    ],
};
/// Its second step fails after the first was carried out.
const BROKEN: Release<'static> = Release {
    version: "0.2.0",
    migrations: &[
        THIS.migrations[0],
        THIS.migrations[1],
        "UPDATE entry SET value = CAST('half' AS BLOB)",
        "INSERT INTO nowhere VALUES (1)",
    ],
};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

fn open_of(path: &Path, opener: Opener, release: &Release<'_>) -> Result<SqliteStore, StateError> {
    SqliteStore::open_as(path, StoreLimits::default(), Clock::steady(), opener, release)
}

async fn value(store: &SqliteStore, key: &str) -> String {
    String::from_utf8(store.get(key).await.unwrap().unwrap().value).unwrap()
}

async fn put(store: &SqliteStore, key: &str, value: &str) {
    let transaction = Transaction { compares: vec![], writes: vec![Write::put(key, value)] };
    assert!(matches!(store.commit(transaction).await.unwrap(), Committed::Done(_)));
}

/// A closed store of a release in which `a` is `old`.
async fn left_by(path: &Path, release: &Release<'_>) {
    put(&open_of(path, Opener::Owner, release).unwrap(), "a", "old").await;
}

/// Every file that holds state, with its bytes.
fn bytes_of(folder: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
    let files =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    // What processes share memory by, made and emptied by whoever reads.
    files.filter(|(name, _)| !name.ends_with("-shm")).collect()
}

fn versions(path: &Path) -> Vec<(String, u32)> {
    let connection = Connection::open(path).unwrap();
    let mut found = connection.prepare("SELECT version, schema FROM release ORDER BY number").unwrap();
    let rows = found.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_next_release_opens_what_the_one_before_left_and_keeps_a_copy_of_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = folder();
    left_by(&path, &OLD).await;
    let store = open_of(&path, Opener::Owner, &NEW).unwrap();
    assert_eq!(value(&store, "a").await, "new");
    drop(store);
    assert_eq!(versions(&path), [("0.1.0".to_owned(), 2), ("0.2.0".to_owned(), 4)]);
    let copy = copy_of(&path, 2);
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    // The way back that the refusal of the release before names.
    let refusal = open_of(&path, Opener::Owner, &OLD).unwrap_err();
    assert!(refusal.to_string().contains(copy.to_str().unwrap()), "{refusal}");
    for left in ["-wal", "-shm"] {
        disk::remove_if_present(&open::beside(&path, left)).unwrap();
    }
    fs::rename(&copy, &path).unwrap();
    assert_eq!(value(&open_of(&path, Opener::Owner, &OLD).unwrap(), "a").await, "old");
}

#[tokio::test]
async fn a_store_from_before_releases_were_noted_is_upgraded_by_this_release() {
    let (_folder, path) = folder();
    left_by(&path, &FIRST).await;
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(value(&store, "a").await, "old");
    drop(store);
    assert_eq!(versions(&path), [(THIS.version.to_owned(), THIS.schema())]);
    assert!(copy_of(&path, 1).exists());
    drop(SqliteStore::open(&path).unwrap());
    assert_eq!(versions(&path).len(), 1, "the same release is noted once");
}

#[tokio::test]
async fn an_older_release_refuses_before_it_writes_anything() {
    let (folder, path) = folder();
    left_by(&path, &NEW).await;
    // As after a power cut: commits are in the write-ahead log alone.
    let serving = open_of(&path, Opener::Owner, &NEW).unwrap();
    put(&serving, "b", "in the log").await;
    let killed = tempfile::tempdir().unwrap();
    for (name, bytes) in bytes_of(&folder) {
        fs::write(killed.path().join(name), bytes).unwrap();
    }
    drop(serving);
    let (path, before) = (killed.path().join("state.db"), bytes_of(&killed));
    assert!(before["state.db-wal"].len() > 1000, "what was written last is in the log");
    for opener in [Opener::Owner, Opener::Guest] {
        let error = open_of(&path, opener, &OLD).unwrap_err();
        let known = OLD.schema();
        assert!(
            matches!(&error, StateError::TooNew { found: 4, known: most, written_by, .. } if *most == known && written_by == "0.2.0"),
            "{error}"
        );
        assert_eq!(bytes_of(&killed), before);
    }
    assert_eq!(value(&open_of(&path, Opener::Owner, &NEW).unwrap(), "b").await, "in the log");
}

#[tokio::test]
async fn a_release_that_changed_nothing_goes_back_as_it_came() {
    let (_folder, path) = folder();
    left_by(&path, &OLD).await;
    let same = Release { version: "0.1.1", ..OLD };
    drop(open_of(&path, Opener::Owner, &same).unwrap());
    assert_eq!(value(&open_of(&path, Opener::Owner, &OLD).unwrap(), "a").await, "old");
    let names: Vec<String> = versions(&path).into_iter().map(|(version, _)| version).collect();
    assert_eq!(names, ["0.1.0", "0.1.1", "0.1.0"]);
    assert!(!copy_of(&path, 2).exists(), "nothing was upgraded");
}

#[tokio::test]
async fn an_upgrade_that_fails_or_is_cut_leaves_the_old_store() {
    let (_folder, path) = folder();
    left_by(&path, &OLD).await;
    open_of(&path, Opener::Owner, &BROKEN).unwrap_err();
    let store = open_of(&path, Opener::Owner, &OLD).unwrap();
    assert_eq!(value(&store, "a").await, "old");
    // Used on: the copy of the attempt is behind, and the next attempt makes it anew.
    put(&store, "a", "older release went on").await;
    drop(store);
    fs::write(open::beside(&copy_of(&path, 2), ".new"), "half a copy").unwrap();
    drop(open_of(&path, Opener::Owner, &NEW).unwrap());
    let copy = copy_of(&path, 2);
    assert_eq!(value(&open_of(&copy, Opener::Owner, &OLD).unwrap(), "a").await, "older release went on");
    assert!(!open::beside(&copy, ".new").exists());
}

#[tokio::test]
async fn a_kill_within_the_transaction_leaves_the_old_store() {
    let (folder, path) = folder();
    let store = open_of(&path, Opener::Owner, &OLD).unwrap();
    for index in 0..300 {
        put(&store, &format!("fill/{index}"), &"x".repeat(900)).await;
    }
    put(&store, "a", "old").await;
    drop(store);
    let mut cut = open::connect(&path).unwrap();
    cut.pragma_update(None, "journal_mode", "WAL").unwrap();
    // Pages go to the log before the commit, as those of a large store do.
    cut.pragma_update(None, "cache_size", 2).unwrap();
    let transaction = cut.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    transaction.execute_batch("UPDATE entry SET value = CAST('new' AS BLOB)").unwrap();
    transaction.pragma_update(None, "user_version", 4).unwrap();
    let killed = tempfile::tempdir().unwrap();
    for (name, bytes) in bytes_of(&folder) {
        fs::write(killed.path().join(name), bytes).unwrap();
    }
    assert!(fs::metadata(killed.path().join("state.db-wal")).unwrap().len() > 10_000);
    drop(transaction);
    let store = open_of(&killed.path().join("state.db"), Opener::Owner, &OLD).unwrap();
    assert_eq!(value(&store, "a").await, "old");
    assert_eq!(value(&store, "fill/299").await, "x".repeat(900));
    drop(store);
    let store = open_of(&killed.path().join("state.db"), Opener::Owner, &NEW).unwrap();
    assert_eq!(value(&store, "a").await, "new");
}

#[tokio::test]
async fn a_store_is_not_upgraded_beneath_an_aggregator_that_serves() {
    let (folder, path) = folder();
    left_by(&path, &OLD).await;
    let before = bytes_of(&folder);
    let error = open_of(&path, Opener::Guest, &NEW).unwrap_err();
    assert!(matches!(error, StateError::Behind { found: 2, known: 4, .. }), "{error}");
    assert_eq!(bytes_of(&folder), before);
    let beside = open_of(&path, Opener::Guest, &OLD).unwrap();
    assert_eq!(value(&beside, "a").await, "old");
}

#[test]
fn copies_from_before_the_last_upgrade_go() {
    let (_folder, path) = folder();
    drop(open_of(&path, Opener::Owner, &FIRST).unwrap());
    drop(open_of(&path, Opener::Owner, &OLD).unwrap());
    assert!(copy_of(&path, 1).exists());
    drop(open_of(&path, Opener::Owner, &NEW).unwrap());
    assert!(!copy_of(&path, 1).exists() && copy_of(&path, 2).exists());
}
