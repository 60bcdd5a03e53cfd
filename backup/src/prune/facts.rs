//! What a prune must know: which packs are there, what is in them, and which blobs snapshots need.
//!
//! Memory: the pack table (60 bytes for each blob), the index (70, until the trees were walked), 40 bytes for each blob
//! that is needed.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasherDefault;

use crate::backend::ObjectKind;
use crate::id::ObjectId;
use crate::index::IdHasher;
use crate::pack::Blob;
use crate::pack_table::PackTable;
use crate::repository::{Repository, RepositoryError};
use crate::walk::{Seen, blobs, walk};

/// What is there and what is needed.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Packs in indexes.
    pub table: PackTable,
    /// Packs in the store, and their bytes.
    pub stored: BTreeMap<ObjectId, u64>,
    /// Blobs that the snapshots which stay need.
    pub needed: HashSet<Blob, BuildHasherDefault<IdHasher>>,
    /// Snapshots that are to go.
    pub forgotten: Vec<ObjectId>,
}

/// Facts that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A snapshot that is to go is not there.
    #[error("snapshot {0} is not there")]
    NoSnapshot(ObjectId),
    /// Something cannot be read. Without knowing what is needed nothing may be removed.
    #[error("cannot tell what the snapshots need, so that nothing is removed; a check names what is damaged")]
    Unreadable(#[from] RepositoryError),
}

impl Facts {
    /// Reads all indexes, and the trees of all snapshots but `forgotten`.
    ///
    /// # Errors
    /// When anything is damaged or unreadable.
    pub fn load(repository: &Repository, forgotten: &[ObjectId]) -> Result<Self, FactsError> {
        let list = |kind| repository.backend().list(kind).map_err(RepositoryError::from);
        // Snapshots before indexes: whoever adds one in spite of the lock has written its index before.
        let snapshots: Vec<ObjectId> =
            list(ObjectKind::Snapshot)?.into_iter().map(|listed| listed.id).collect();
        if let Some(absent) = forgotten.iter().find(|id| !snapshots.contains(id)) {
            return Err(FactsError::NoSnapshot(*absent));
        }
        let table = PackTable::load(repository)?;
        let index = table.to_index();
        let mut facts = Self { table, forgotten: forgotten.to_vec(), ..Self::default() };
        facts.stored = list(ObjectKind::Pack)?.into_iter().map(|listed| (listed.id, listed.size)).collect();
        let mut seen = Seen::default();
        for id in snapshots.into_iter().filter(|id| !forgotten.contains(id)) {
            let root = repository.read_snapshot(id)?.tree;
            walk(repository, &index, root, &mut seen, &mut |id, tree| {
                facts.needed.extend(blobs(id, tree));
                Ok::<_, RepositoryError>(())
            })?;
        }
        Ok(facts)
    }
}
