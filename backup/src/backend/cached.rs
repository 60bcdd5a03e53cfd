//! Copies of what every run reads and nothing changes: indexes and snapshots, kept in a folder of this machine.
//!
//! A copy counts for nothing but its bytes: which objects there are is asked of the store each time, and a copy whose hash
//! is not its name is removed and read anew. Who checks a store reads it without copies. That a copy cannot be kept is no
//! failure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Backend, BackendError, Directory, Listed, Object, ObjectKind};
use crate::id::ObjectId;

/// Kinds of which copies are kept: small objects that are read whole.
const KINDS: [ObjectKind; 2] = [ObjectKind::Index, ObjectKind::Snapshot];
/// What the smallest file takes of most disks.
const FILE_BYTES_MIN: u64 = 4096;

/// A backend with copies of what is read again and again.
#[derive(Debug)]
pub struct Cached {
    backend: Arc<dyn Backend>,
    copies: Directory,
    bytes_max: u64,
    /// What is there, and the room that it takes.
    held: Mutex<BTreeMap<Object, u64>>,
}

impl Cached {
    /// `backend` with copies in `folder`, which is made when it is not there; they take no more than `bytes_max`.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(backend: Arc<dyn Backend>, folder: &Path, bytes_max: u64) -> io::Result<Self> {
        for kind in KINDS {
            DirBuilder::new().recursive(true).mode(0o700).create(folder.join(kind.folder()))?;
        }
        let copies = Directory::open(folder)?;
        let mut held = BTreeMap::new();
        for kind in KINDS {
            for Listed { id, size } in copies.list(kind).map_err(io::Error::other)? {
                held.insert(Object::new(kind, id), room(size));
            }
        }
        // What a cut write left takes room and is no copy; that it stays is no failure either.
        copies.remove_leftovers().ok();
        Ok(Self { backend, copies, bytes_max, held: Mutex::new(held) })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Object, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copy of an object, when there is one and it is what its name says.
    fn copy(&self, object: Object) -> Option<Vec<u8>> {
        if !self.held().contains_key(&object) {
            return None;
        }
        let copy = self.copies.get(object, None).ok().filter(|bytes| ObjectId::of(bytes) == object.id);
        if copy.is_none() {
            self.drop_copy(object);
        }
        copy
    }

    /// Keeps a copy, when there is room for it. Bytes that are not what their name says are not kept.
    fn keep(&self, object: Object, bytes: &[u8]) {
        if !KINDS.contains(&object.kind) || ObjectId::of(bytes) != object.id {
            return;
        }
        let mut held = self.held();
        let (used, room) = (held.values().sum::<u64>(), room(bytes.len() as u64));
        if !held.contains_key(&object)
            && used.saturating_add(room) <= self.bytes_max
            && self.copies.put(object, bytes).is_ok()
        {
            held.insert(object, room);
        }
    }

    /// One that cannot be removed is not used, and takes its room until the next run.
    fn drop_copy(&self, object: Object) {
        if self.held().remove(&object).is_some() {
            self.copies.remove(object).ok();
        }
    }
}

fn room(bytes: u64) -> u64 {
    bytes.max(FILE_BYTES_MIN)
}

impl Backend for Cached {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        self.backend.put(object, bytes)?;
        self.keep(object, bytes);
        Ok(())
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        if range.is_some() || !KINDS.contains(&object.kind) {
            return self.backend.get(object, range);
        }
        if let Some(copy) = self.copy(object) {
            return Ok(copy);
        }
        let bytes = self.backend.get(object, None)?;
        self.keep(object, &bytes);
        Ok(bytes)
    }

    /// Copies of what the store no longer has go.
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        let listed = self.backend.list(kind)?;
        if KINDS.contains(&kind) {
            let there: BTreeSet<ObjectId> = listed.iter().map(|listed| listed.id).collect();
            let is_gone = |object: &&Object| object.kind == kind && !there.contains(&object.id);
            let gone: Vec<Object> = self.held().keys().filter(is_gone).copied().collect();
            gone.into_iter().for_each(|object| self.drop_copy(object));
        }
        Ok(listed)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        self.drop_copy(object);
        self.backend.remove(object)
    }

    fn append(
        &self,
        snapshot: ObjectId,
        bytes: &[u8],
        packs: &BTreeSet<ObjectId>,
        label: Option<&str>,
    ) -> Result<(), BackendError> {
        self.backend.append(snapshot, bytes, packs, label)?;
        self.keep(Object::new(ObjectKind::Snapshot, snapshot), bytes);
        Ok(())
    }

    fn remove_all(&self, objects: &[Object]) -> Result<Vec<(Object, String)>, BackendError> {
        objects.iter().for_each(|object| self.drop_copy(*object));
        self.backend.remove_all(objects)
    }

    fn remove_leftovers(&self) -> Result<u64, BackendError> {
        self.backend.remove_leftovers()
    }
}

#[cfg(test)]
#[path = "cached_tests.rs"]
mod tests;
