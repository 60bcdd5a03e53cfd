//! Writes blobs: each once, into packs that are stored while the next ones are filled, and the index of them.
//!
//! Used by all who add blobs: a save, a prune that packs anew, a copy. A pack is named by an index only after it is
//! stored, so that an index never promises what is not there. Packs that no index names are what a cut leaves.
//!
//! Memory: one pack of each kind that is filled, and one that is being stored; [`Writer::add`] waits meanwhile. Beside
//! them some 50 bytes for each blob that was claimed.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::backend::{Object, ObjectKind};
use crate::id::ObjectId;
use crate::index::{INDEX_BLOBS_MAX, IdMap, Index, IndexFile, IndexPack};
use crate::pack::{Blob, BlobKind, Pack, PackBuilder, SealedBlob};
use crate::repository::{Repository, RepositoryError};

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Packs, in the order in which they were stored.
    pub packs: Vec<ObjectId>,
    /// Of these packs, those with a blob that [`Writer::need`] was told of.
    pub needed: BTreeSet<ObjectId>,
    /// Index objects.
    pub indexes: Vec<ObjectId>,
    /// Blobs of files' content.
    pub data_blobs: u64,
    /// Blobs of folders.
    pub tree_blobs: u64,
    /// Bytes of all blobs before compression.
    pub plain_bytes: u64,
    /// Bytes of them as stored.
    pub stored_bytes: u64,
}

/// Fills packs. Shared by the threads of a run.
#[derive(Debug)]
pub struct Writer {
    shared: Mutex<Filling>,
    repository: Repository,
    storing: JoinHandle<Result<Stored, RepositoryError>>,
}

#[derive(Debug)]
struct Filling {
    /// Blobs that were claimed since the writer was made.
    claimed: IdMap<Blob, Claimed>,
    data: Kind,
    trees: Kind,
    data_blobs: u64,
    tree_blobs: u64,
    plain_bytes: u64,
    stored_bytes: u64,
    /// Gone when the thread that stores has failed.
    packs: SyncSender<Pack>,
}

/// Packs of one kind of blobs.
#[derive(Debug, Default)]
struct Kind {
    builder: PackBuilder,
    /// How many were closed: the number of the one that is filled.
    number: u32,
}

/// What became of a claimed blob.
#[derive(Debug, Default)]
struct Claimed {
    /// It lies in this pack of its kind, once it was added.
    pack: u32,
    /// Whether what is being made counts on it.
    is_needed: bool,
}

/// What the thread stored.
#[derive(Debug, Default)]
struct Stored {
    written: Written,
    /// The same packs by kind, each in the order in which they were closed.
    data: Vec<ObjectId>,
    trees: Vec<ObjectId>,
}

impl Writer {
    /// A writer for `repository`, with a thread that stores packs.
    pub fn new(repository: &Repository) -> Self {
        // Without a queue: who fills a pack hands it over or waits, so that at most one more is held.
        let (packs, received) = sync_channel(0);
        let for_thread = repository.clone();
        let storing = thread::spawn(move || store(&for_thread, &received));
        let shared = Mutex::new(Filling {
            claimed: IdMap::default(),
            data: Kind::default(),
            trees: Kind::default(),
            data_blobs: 0,
            tree_blobs: 0,
            plain_bytes: 0,
            stored_bytes: 0,
            packs,
        });
        Self { shared, repository: repository.clone(), storing }
    }

    fn filling(&self) -> MutexGuard<'_, Filling> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is to add `blob`: `index` does not have it, and nobody claimed it before. Who claims a blob
    /// and does not add it must give the run up, for others count on it.
    pub fn claim(&self, index: &Index, blob: Blob) -> bool {
        use std::collections::hash_map::Entry;

        if index.has(blob) {
            return false;
        }
        match self.filling().claimed.entry(blob) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Claimed::default());
                true
            }
        }
    }

    /// Says that what is being made counts on these blobs; those that were never claimed are of no concern.
    pub fn need(&self, blobs: impl IntoIterator<Item = Blob>) {
        let mut filling = self.filling();
        for blob in blobs {
            if let Some(claimed) = filling.claimed.get_mut(&blob) {
                claimed.is_needed = true;
            }
        }
    }

    /// Adds a claimed blob of `plain_length` bytes. Waits while packs are filled faster than they are stored.
    ///
    /// # Errors
    /// [`WriterStopped`] when storing failed; [`Writer::finish`] says why.
    pub fn add(&self, sealed: &SealedBlob, plain_length: usize) -> Result<(), WriterStopped> {
        let mut filling = self.filling();
        let filling = &mut *filling;
        let kind = match sealed.blob.kind {
            BlobKind::Data => {
                filling.data_blobs += 1;
                &mut filling.data
            }
            BlobKind::Tree => {
                filling.tree_blobs += 1;
                &mut filling.trees
            }
        };
        filling.plain_bytes += plain_length as u64;
        filling.stored_bytes += sealed.bytes.len() as u64;
        filling.claimed.entry(sealed.blob).or_default().pack = kind.number;
        kind.builder.add(sealed);
        if !kind.builder.is_full() {
            return Ok(());
        }
        kind.number += 1;
        let pack = std::mem::take(&mut kind.builder).finish(self.repository.key());
        // The lock is held while this waits: the others would have to wait for room as well.
        filling.packs.send(pack).map_err(|_| WriterStopped)
    }

    /// Stores what is left, and the index of all.
    ///
    /// # Errors
    /// When anything was not stored. What was stored stays: the next run finds it.
    ///
    /// # Panics
    /// When the thread that stores has panicked.
    pub fn finish(self) -> Result<Written, RepositoryError> {
        let filling = self.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Filling { claimed, data, trees, data_blobs, tree_blobs, plain_bytes, stored_bytes, packs } =
            filling;
        for Kind { builder, .. } in [data, trees] {
            // When nobody receives, the thread has failed, and says so below.
            if builder.is_empty() || packs.send(builder.finish(self.repository.key())).is_err() {
                continue;
            }
        }
        drop(packs);
        let stored = self.storing.join().expect("storing packs does not panic")?;
        let needed = stored.needed(&claimed);
        Ok(Written { needed, data_blobs, tree_blobs, plain_bytes, stored_bytes, ..stored.written })
    }
}

impl Stored {
    fn add(&mut self, pack: &Pack) {
        self.written.packs.push(pack.id);
        match pack.entries.first().map(|entry| entry.blob.kind) {
            Some(BlobKind::Tree) => self.trees.push(pack.id),
            Some(BlobKind::Data) | None => self.data.push(pack.id),
        }
    }

    /// Packs with a blob that is needed.
    fn needed(&self, claimed: &IdMap<Blob, Claimed>) -> BTreeSet<ObjectId> {
        let (mut data, mut trees) = (vec![false; self.data.len()], vec![false; self.trees.len()]);
        for (blob, claimed) in claimed.iter().filter(|(_, claimed)| claimed.is_needed) {
            let packs = match blob.kind {
                BlobKind::Data => &mut data,
                BlobKind::Tree => &mut trees,
            };
            // One that was claimed and not added is in none: its run was given up.
            let pack = usize::try_from(claimed.pack).ok().and_then(|number| packs.get_mut(number));
            pack.into_iter().for_each(|is_needed| *is_needed = true);
        }
        let all = self.data.iter().zip(data).chain(self.trees.iter().zip(trees));
        all.filter(|(_, is_needed)| *is_needed).map(|(id, _)| *id).collect()
    }
}

/// The thread that stores packs has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packs are no longer stored")]
pub struct WriterStopped;

fn store(repository: &Repository, packs: &Receiver<Pack>) -> Result<Stored, RepositoryError> {
    let mut stored = Stored::default();
    let mut index = IndexFile::default();
    let mut blobs = 0;
    for pack in packs {
        repository.backend().put(Object::new(ObjectKind::Pack, pack.id), &pack.bytes)?;
        index.packs.push(IndexPack::new(pack.id, &pack.entries));
        blobs += pack.entries.len();
        stored.add(&pack);
        if blobs >= INDEX_BLOBS_MAX {
            stored.written.indexes.push(repository.write_document(ObjectKind::Index, &index)?);
            (index, blobs) = (IndexFile::default(), 0);
        }
    }
    if !index.packs.is_empty() {
        stored.written.indexes.push(repository.write_document(ObjectKind::Index, &index)?);
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::{Backend, BackendError, Listed, Memory};
    use crate::fixture::noise;
    use crate::key::MasterKey;
    use crate::pack::Compressor;

    fn add(
        writer: &Writer,
        repository: &Repository,
        index: &Index,
        bytes: &[u8],
    ) -> Result<bool, WriterStopped> {
        let blob = Blob { kind: BlobKind::Data, id: ObjectId::of(bytes) };
        if !writer.claim(index, blob) {
            return Ok(false);
        }
        let sealed = Compressor::new().unwrap().seal(repository.key(), blob, bytes).unwrap();
        writer.add(&sealed, bytes.len()).map(|()| true)
    }

    #[test]
    fn every_blob_is_written_once_and_found_again() {
        let repository = Repository::create(Arc::new(Memory::default()), MasterKey::generate()).unwrap();
        let none = Index::default();
        let writer = Writer::new(&repository);
        for number in 0..40_u32 {
            // Incompressible, so that three packs come of it.
            let bytes = noise(1_000_000, u64::from(number));
            assert!(add(&writer, &repository, &none, &bytes).unwrap());
            assert!(!add(&writer, &repository, &none, &bytes).unwrap(), "{number}");
        }
        let written = writer.finish().unwrap();
        assert_eq!((written.packs.len(), written.data_blobs, written.plain_bytes), (3, 40, 40_000_000));
        let index = repository.load_index().unwrap();
        assert_eq!(index.len(), 40);
        for location in index.blobs() {
            repository.read_located(location).unwrap();
        }
        let writer = Writer::new(&repository);
        let known = repository.read_located(index.blobs().next().unwrap()).unwrap();
        assert!(!add(&writer, &repository, &index, &known).unwrap());
        assert_eq!(writer.finish().unwrap(), Written::default());
    }

    #[test]
    fn of_the_packs_those_with_a_needed_blob_are_told_apart() {
        let repository = Repository::create(Arc::new(Memory::default()), MasterKey::generate()).unwrap();
        let (none, writer) = (Index::default(), Writer::new(&repository));
        let blob = |number: u64| Blob { kind: BlobKind::Data, id: ObjectId::of(&noise(1_000_000, number)) };
        for number in 0..40 {
            // The one of the second pack is needed before it is added, the one of the last after.
            if number == 20 {
                assert!(writer.claim(&none, blob(20)));
                writer.need([blob(20)]);
                let mut compressor = Compressor::new().unwrap();
                let sealed = compressor.seal(repository.key(), blob(20), &noise(1_000_000, 20)).unwrap();
                writer.add(&sealed, 1_000_000).unwrap();
                continue;
            }
            assert!(add(&writer, &repository, &none, &noise(1_000_000, number)).unwrap());
        }
        writer.need([blob(39), blob(1000)]);
        let written = writer.finish().unwrap();
        assert_eq!(written.packs.len(), 3);
        assert_eq!(written.needed, BTreeSet::from([written.packs[1], written.packs[2]]));
    }

    /// Takes one pack and then nothing more.
    #[derive(Debug, Default)]
    struct Full(Memory);

    impl Backend for Full {
        fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
            if object.kind == ObjectKind::Pack && !self.0.list(ObjectKind::Pack)?.is_empty() {
                return Err(BackendError::Full { object, reason: "the disk is full".to_owned() });
            }
            self.0.put(object, bytes)
        }

        fn get(&self, object: Object, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, BackendError> {
            self.0.get(object, range)
        }

        fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
            self.0.list(kind)
        }

        fn remove(&self, object: Object) -> Result<(), BackendError> {
            self.0.remove(object)
        }
    }

    #[test]
    fn a_full_store_ends_the_run_with_its_reason_and_no_index_names_what_is_not_there() {
        let repository = Repository::create(Arc::new(Full::default()), MasterKey::generate()).unwrap();
        let none = Index::default();
        let writer = Writer::new(&repository);
        let mut stopped = false;
        for number in 0..100 {
            let bytes = noise(1_000_000, number);
            stopped = add(&writer, &repository, &none, &bytes).is_err();
            if stopped {
                break;
            }
        }
        assert!(stopped);
        let error = writer.finish().unwrap_err();
        assert!(matches!(error, RepositoryError::Backend(BackendError::Full { .. })), "{error}");
        assert!(repository.load_index().unwrap().is_empty());
    }
}
