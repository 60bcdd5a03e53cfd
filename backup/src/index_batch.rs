//! Writes index objects for packs that are there already.

use crate::backend::ObjectKind;
use crate::id::ObjectId;
use crate::index::{INDEX_BLOBS_MAX, IndexFile, IndexPack};
use crate::pack::Entry;
use crate::repository::{Repository, RepositoryError};

/// Gathers packs and writes an index object whenever it has enough. Memory: one index object.
#[derive(Debug)]
pub(crate) struct IndexBatch<'a> {
    repository: &'a Repository,
    file: IndexFile,
    blobs: usize,
    written: Vec<ObjectId>,
}

impl<'a> IndexBatch<'a> {
    /// An empty one.
    pub(crate) fn new(repository: &'a Repository) -> Self {
        Self { repository, file: IndexFile::default(), blobs: 0, written: Vec::new() }
    }

    /// Adds a pack, which must be stored.
    ///
    /// # Errors
    /// When the index object that is full now was not stored.
    pub(crate) fn add(&mut self, pack: ObjectId, entries: &[Entry]) -> Result<(), RepositoryError> {
        self.file.packs.push(IndexPack::new(pack, entries));
        self.blobs += entries.len();
        if self.blobs >= INDEX_BLOBS_MAX { self.write() } else { Ok(()) }
    }

    /// Writes what is left, and names all index objects that were written.
    ///
    /// # Errors
    /// When it was not stored.
    pub(crate) fn finish(mut self) -> Result<Vec<ObjectId>, RepositoryError> {
        if !self.file.packs.is_empty() {
            self.write()?;
        }
        Ok(self.written)
    }

    fn write(&mut self) -> Result<(), RepositoryError> {
        self.written.push(self.repository.write_document(ObjectKind::Index, &self.file)?);
        (self.file, self.blobs) = (IndexFile::default(), 0);
        Ok(())
    }
}
