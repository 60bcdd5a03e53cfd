//! Copies that are cut, repeated and read back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::backend::{Backend, BackendError, Listed, Memory, Object};
use crate::check::{self, Share};
use crate::fixture_repository::Fixture;
use crate::key::MasterKey;

fn three() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.snapshot(&[("a", 1), ("dir/b", 2)]);
    fixture.snapshot(&[("a", 1), ("dir/c", 3)]);
    fixture.snapshot(&[("d", 4), ("dir/c", 3)]);
    fixture
}

fn assert_clean(repository: &Repository) {
    assert_eq!(check::structure(repository).unwrap().findings, []);
    assert_eq!(check::content(repository, Share::ALL, &|_| {}).unwrap().findings, []);
}

#[test]
fn all_snapshots_are_copied_under_another_key_and_once() {
    let (source, target) = (three(), Fixture::new());
    let copied = copy(&source.repository, None, &target.repository, &mut |_| true).unwrap();
    assert_eq!((copied.snapshots.len(), copied.known.len()), (3, 0));
    assert_clean(&target.repository);
    let originals = source.repository.snapshots().unwrap();
    let copies = target.repository.snapshots().unwrap();
    for ((id, original), (_, copy)) in originals.iter().zip(&copies) {
        let expected = Snapshot { original: Some(*id), ..original.clone() };
        assert_eq!(*copy, expected);
    }
    let blobs = |repository: &Repository| {
        let mut blobs: Vec<_> =
            repository.load_index().unwrap().blobs().map(|location| location.entry.blob).collect();
        blobs.sort();
        blobs
    };
    assert_eq!(blobs(&source.repository), blobs(&target.repository));
    let size = target.memory.size();
    let again = copy(&source.repository, None, &target.repository, &mut |_| true).unwrap();
    assert_eq!((again.snapshots.len(), again.known.len(), again.blobs), (0, 3, 0));
    assert_eq!(target.memory.size(), size);
}

#[test]
fn one_snapshot_brings_only_what_it_needs_and_the_next_only_the_rest() {
    let (source, target) = (three(), Fixture::new());
    let ids: Vec<_> = source.repository.snapshots().unwrap().into_iter().map(|(id, _)| id).collect();
    let first = copy(&source.repository, Some(&ids[..1]), &target.repository, &mut |_| true).unwrap();
    // Two chunks, the folder and the root.
    assert_eq!(first.blobs, 4);
    let second = copy(&source.repository, Some(&ids[1..2]), &target.repository, &mut |_| true).unwrap();
    assert_eq!(second.blobs, 3);
    assert_clean(&target.repository);
    // A copy of a copy is of the same original.
    let third = Fixture::new();
    copy(&target.repository, None, &third.repository, &mut |_| true).unwrap();
    let back = copy(&source.repository, Some(&ids[..2]), &third.repository, &mut |_| true).unwrap();
    assert_eq!((back.snapshots.len(), back.known.len()), (0, 2));
}

#[test]
fn damage_is_not_copied() {
    let (source, target) = (three(), Fixture::new());
    let index = source.repository.load_index().unwrap();
    let chunk = index.blobs().find(|place| place.entry.blob.kind == crate::pack::BlobKind::Data).unwrap();
    let object = Object::new(ObjectKind::Pack, chunk.pack);
    let mut bytes = source.memory.get(object, None).unwrap();
    bytes[chunk.entry.offset as usize + 20] ^= 1;
    source.memory.overwrite(object, bytes);
    let error = copy(&source.repository, None, &target.repository, &mut |_| true).unwrap_err();
    assert!(matches!(&error, CopyError::Source(RepositoryError::Damaged { .. })), "{error}");
    assert_clean(&target.repository);
    assert!(target.repository.snapshots().unwrap().is_empty());
}

/// Takes so many objects, and then is full.
#[derive(Debug)]
struct Filling {
    memory: Memory,
    left: AtomicU64,
}

impl Backend for Filling {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| BackendError::Full { object, reason: "the disk is full".to_owned() })?;
        self.memory.put(object, bytes)
    }

    fn get(&self, object: Object, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, BackendError> {
        self.memory.get(object, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        self.memory.list(kind)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        self.memory.remove(object)
    }
}

#[test]
fn a_copy_that_is_cut_at_any_point_goes_on_where_it_was() {
    let source = three();
    for room in 0.. {
        let filling = Arc::new(Filling { memory: Memory::default(), left: AtomicU64::new(u64::MAX) });
        let target = Repository::create(filling.clone(), MasterKey::generate()).unwrap();
        filling.left.store(room, Ordering::SeqCst);
        let cut = copy(&source.repository, None, &target, &mut |_| true);
        assert_clean(&target);
        if cut.is_ok() {
            // Two packs, an index and three snapshots.
            assert_eq!(room, 6);
            return;
        }
        assert!(matches!(cut, Err(CopyError::Target(_))), "{room}");
        let packs = filling.list(ObjectKind::Pack).unwrap().len();
        filling.left.store(u64::MAX, Ordering::SeqCst);
        let copied = copy(&source.repository, None, &target, &mut |_| true).unwrap();
        assert_eq!(copied.snapshots.len() + copied.known.len(), 3);
        assert_eq!(filling.list(ObjectKind::Pack).unwrap().len(), 2.max(packs), "{room}: nothing twice");
        assert_clean(&target);
    }
}

#[test]
fn a_caller_who_stops_it_loses_nothing_that_was_copied() {
    let (source, target) = (three(), Fixture::new());
    for stop_at in 1..5 {
        let mut steps = 0;
        let stopped = copy(&source.repository, None, &target.repository, &mut |_| {
            steps += 1;
            steps < stop_at
        });
        assert!(matches!(stopped, Err(CopyError::Stopped)), "{stop_at}");
        assert_clean(&target.repository);
    }
    copy(&source.repository, None, &target.repository, &mut |_| true).unwrap();
    let places = target.repository.load_index().unwrap();
    let sum: usize = crate::pack_table::PackTable::load(&target.repository)
        .unwrap()
        .packs()
        .map(|(_, entries)| entries.len())
        .sum();
    assert_eq!(sum, places.len(), "no blob is there twice");
}
