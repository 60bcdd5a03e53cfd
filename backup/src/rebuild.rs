//! Indexes made anew out of the packs' own headers: after indexes were lost or damaged, and for packs that a cut run left.
//!
//! Memory: one index object, and the pack table.

use crate::backend::{Listed, Object, ObjectKind};
use crate::id::ObjectId;
use crate::index::IndexFile;
use crate::index_batch::IndexBatch;
use crate::pack_table::PackTable;
use crate::prune::Removals;
use crate::repository::{Repository, RepositoryError};

/// Which packs' headers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those that no index names which can be read.
    Missing,
    /// All: every index is replaced.
    All,
}

/// What came of it.
#[must_use]
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Packs that new index objects name.
    pub packs: Vec<ObjectId>,
    /// Packs without a header that can be read; no index names them now.
    pub damaged: Vec<(ObjectId, RepositoryError)>,
    /// New index objects.
    pub written: Vec<ObjectId>,
    /// Index objects that are replaced, to be removed.
    pub removals: Removals,
}

/// Writes new index objects. Nothing is removed: that is `removals` for, after this.
///
/// # Errors
/// When the store cannot be asked or written. Packs that are damaged are in the answer.
pub fn rebuild(repository: &Repository, scope: Scope) -> Result<Rebuilt, RepositoryError> {
    let backend = repository.backend();
    let mut rebuilt = Rebuilt::default();
    let mut table = PackTable::default();
    for listed in backend.list(ObjectKind::Index)? {
        let object = Object::new(ObjectKind::Index, listed.id);
        let read = match scope {
            Scope::All => None,
            Scope::Missing => Some(repository.read_document::<IndexFile>(object, "index")),
        };
        match read {
            Some(Ok(file)) => table.add_file(listed.id, &file),
            Some(Err(RepositoryError::Damaged { .. })) | None => rebuilt.removals.indexes.push(listed.id),
            Some(Err(error)) => return Err(error),
        }
    }
    let mut packs = backend.list(ObjectKind::Pack)?;
    packs.retain(|listed| table.entries(listed.id).is_none());
    packs.sort_by_key(|listed| listed.id);
    let mut batch = IndexBatch::new(repository);
    for listed in packs {
        add(repository, listed, &mut batch, &mut rebuilt)?;
    }
    rebuilt.written = batch.finish()?;
    Ok(rebuilt)
}

fn add(
    repository: &Repository,
    listed: Listed,
    batch: &mut IndexBatch<'_>,
    rebuilt: &mut Rebuilt,
) -> Result<(), RepositoryError> {
    match repository.read_pack_header(listed) {
        Ok(entries) => {
            batch.add(listed.id, &entries)?;
            rebuilt.packs.push(listed.id);
        }
        Err(error @ RepositoryError::Damaged { .. }) => rebuilt.damaged.push((listed.id, error)),
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend as _;
    use crate::check;
    use crate::fixture_repository::Fixture;
    use crate::prune::apply;

    fn two() -> Fixture {
        let mut fixture = Fixture::new();
        fixture.snapshot(&[("a", 1), ("dir/b", 2)]);
        fixture.snapshot(&[("a", 1), ("dir/c", 3)]);
        fixture
    }

    #[test]
    fn lost_and_damaged_indexes_are_made_anew() {
        for scope in [Scope::Missing, Scope::All] {
            let fixture = two();
            let before = fixture.repository.load_index().unwrap();
            let indexes = fixture.memory.list(ObjectKind::Index).unwrap();
            fixture.memory.remove(Object::new(ObjectKind::Index, indexes[0].id)).unwrap();
            fixture.memory.overwrite(Object::new(ObjectKind::Index, indexes[1].id), b"noise".to_vec());
            assert!(!check::structure(&fixture.repository).unwrap().is_clean());
            let rebuilt = rebuild(&fixture.repository, scope).unwrap();
            assert!(rebuilt.damaged.is_empty() && rebuilt.packs.len() == 4);
            apply(&*fixture.memory, &rebuilt.removals, &mut |_| true).unwrap();
            assert_eq!(check::structure(&fixture.repository).unwrap().findings, []);
            let after = fixture.repository.load_index().unwrap();
            assert_eq!(after.len(), before.len());
            assert!(before.blobs().all(|location| after.find(location.entry.blob) == Some(location)));
        }
    }

    #[test]
    fn what_is_in_order_stays_as_it_is() {
        let fixture = two();
        let rebuilt = rebuild(&fixture.repository, Scope::Missing).unwrap();
        assert!(rebuilt.written.is_empty() && rebuilt.removals.is_empty());
        let rebuilt = rebuild(&fixture.repository, Scope::All).unwrap();
        assert_eq!((rebuilt.written.len(), rebuilt.removals.indexes.len()), (1, 2));
    }

    #[test]
    fn a_pack_without_a_header_is_named_and_not_indexed() {
        let fixture = two();
        let pack = fixture.memory.list(ObjectKind::Pack).unwrap()[0];
        let object = Object::new(ObjectKind::Pack, pack.id);
        let mut bytes = fixture.memory.get(object, None).unwrap();
        let at = bytes.len() - 10;
        bytes[at] ^= 1;
        fixture.memory.overwrite(object, bytes);
        let rebuilt = rebuild(&fixture.repository, Scope::All).unwrap();
        assert_eq!(rebuilt.packs.len(), 3);
        assert_eq!(rebuilt.damaged.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [pack.id]);
    }
}
