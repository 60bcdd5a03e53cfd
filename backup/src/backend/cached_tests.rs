//! Copies are used when they are right, and never otherwise.

#![expect(clippy::disallowed_methods, reason = "tests damage real files")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::backend::Memory;
use crate::key::MasterKey;
use crate::repository::Repository;
use crate::save::{self, Request};
use crate::tree::FileTime;

/// Counts what is read whole.
#[derive(Debug, Default)]
struct Counting {
    objects: Memory,
    reads: AtomicUsize,
}

impl Counting {
    fn take_reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }
}

impl Backend for Counting {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        self.objects.put(object, bytes)
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        if KINDS.contains(&object.kind) {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        self.objects.get(object, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        self.objects.list(kind)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        self.objects.remove(object)
    }
}

struct Store {
    backend: Arc<Counting>,
    _folder: tempfile::TempDir,
    copies: PathBuf,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copies = folder.path().join("copies");
        Self { backend: Arc::default(), _folder: folder, copies }
    }

    fn open(&self, bytes_max: u64) -> Cached {
        let backend: Arc<Counting> = Arc::clone(&self.backend);
        Cached::open(backend, &self.copies, bytes_max).unwrap()
    }

    /// Puts an index into the store itself.
    fn index(&self, bytes: &[u8]) -> Object {
        let object = Object::new(ObjectKind::Index, ObjectId::of(bytes));
        self.backend.put(object, bytes).unwrap();
        object
    }

    fn path(&self, object: Object) -> PathBuf {
        self.copies.join(object.kind.folder()).join(object.id.to_string())
    }
}

const ROOM: u64 = 1 << 20;

#[test]
fn what_was_read_once_is_read_from_its_copy_by_the_next_run() {
    let store = Store::new();
    let object = store.index(b"an index");
    assert_eq!(store.open(ROOM).get(object, None).unwrap(), b"an index");
    assert_eq!(store.backend.take_reads(), 1);
    assert_eq!(store.open(ROOM).get(object, None).unwrap(), b"an index");
    assert_eq!(store.backend.take_reads(), 0);
}

#[test]
fn a_damaged_copy_is_read_anew_and_mended() {
    for damage in [&b"an Index"[..], b""] {
        let store = Store::new();
        let object = store.index(b"an index");
        store.open(ROOM).get(object, None).unwrap();
        fs::write(store.path(object), damage).unwrap();
        store.backend.take_reads();
        let cached = store.open(ROOM);
        assert_eq!(cached.get(object, None).unwrap(), b"an index");
        assert_eq!(cached.get(object, None).unwrap(), b"an index");
        assert_eq!(store.backend.take_reads(), 1);
        assert_eq!(fs::read(store.path(object)).unwrap(), b"an index");
    }
}

#[test]
fn a_copy_that_was_taken_away_is_read_anew() {
    let store = Store::new();
    let object = store.index(b"an index");
    let cached = store.open(ROOM);
    cached.get(object, None).unwrap();
    fs::remove_file(store.path(object)).unwrap();
    assert_eq!(cached.get(object, None).unwrap(), b"an index");
    assert_eq!(store.backend.take_reads(), 2);
}

#[test]
fn damage_in_the_store_is_handed_on_and_not_kept() {
    let store = Store::new();
    let object = store.index(b"an index");
    store.backend.objects.overwrite(object, b"an Index".to_vec());
    let cached = store.open(ROOM);
    assert_eq!(cached.get(object, None).unwrap(), b"an Index");
    assert!(!store.path(object).exists());
}

#[test]
fn what_the_store_no_longer_has_goes_with_its_copy() {
    let store = Store::new();
    let (first, second) = (store.index(b"first"), store.index(b"second"));
    let cached = store.open(ROOM);
    cached.get(first, None).unwrap();
    cached.get(second, None).unwrap();
    store.backend.remove(first).unwrap();
    assert_eq!(cached.list(ObjectKind::Index).unwrap().len(), 1);
    assert!(!store.path(first).exists() && store.path(second).exists());
    assert!(matches!(cached.get(first, None), Err(BackendError::Missing(_))));
    cached.remove(second).unwrap();
    assert!(!store.path(second).exists());
}

#[test]
fn copies_take_no_more_than_the_room_they_have() {
    let store = Store::new();
    let objects: Vec<Object> = (0..10).map(|number: u8| store.index(&[number; 5000])).collect();
    let cached = store.open(20_000);
    for object in &objects {
        assert_eq!(cached.get(*object, None).unwrap().len(), 5000);
    }
    let kept = objects.iter().filter(|object| store.path(**object).exists()).count();
    assert_eq!(kept, 4);
    // With another limit as well, by what is there.
    let extra = store.index(b"one more");
    store.open(20_000).get(extra, None).unwrap();
    assert!(!store.path(extra).exists());
}

#[test]
fn a_run_reads_nothing_that_an_earlier_one_read_or_wrote() {
    let store = Store::new();
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("file"), "content").unwrap();
    let time = |seconds| FileTime { seconds, nanoseconds: 0 };
    let request = |seconds| Request::new(vec![tree.path().to_owned()], "web-1".to_owned(), time(seconds));
    let key = MasterKey::generate();
    let first = Repository::create(Arc::new(store.open(ROOM)), key.clone()).unwrap();
    save::run(&first, &request(1_800_000_000), &()).unwrap();
    store.backend.take_reads();
    let second = Repository::open(Arc::new(store.open(ROOM)), key).unwrap();
    let outcome = save::run(&second, &request(1_800_000_060), &()).unwrap();
    assert!(outcome.parent.is_some());
    assert_eq!(store.backend.take_reads(), 0);
}
