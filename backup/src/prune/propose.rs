//! Asks a store that decides by itself to let go of what nobody needs.
//!
//! Whatever the store keeps, and wherever this is cut, no index names a pack that is gone: indexes are proposed first, then
//! those packs that no index which stays names, and packs that stay after all are named by an index again.

use std::collections::BTreeSet;

use super::facts::Facts;
use super::removals::Removals;
use crate::backend::{Object, ObjectKind};
use crate::id::ObjectId;
use crate::index_batch::IndexBatch;
use crate::repository::{Repository, RepositoryError};

/// What the store said.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposed {
    /// Packs that it let go.
    pub packs: u64,
    /// Bytes of them.
    pub freed_bytes: u64,
    /// What stays, and why.
    pub stays: Vec<(Object, String)>,
}

/// Proposes the indexes and packs of `removals`, which an execution of a plan of whole packs gave. Snapshots are none of
/// it: which of them go is known before, for it decides what is needed.
///
/// # Errors
/// When the store cannot be reached, or refuses: what it did not let go is found by the next prune.
pub fn propose(
    repository: &Repository,
    facts: &Facts,
    removals: &Removals,
) -> Result<Proposed, RepositoryError> {
    let backend = repository.backend();
    let objects =
        |kind, ids: &[ObjectId]| -> Vec<Object> { ids.iter().map(|id| Object::new(kind, *id)).collect() };
    let mut proposed = Proposed::default();
    let indexes = backend.remove_all(&objects(ObjectKind::Index, &removals.indexes))?;
    let named = named(facts, &indexes);
    proposed.stays.extend(indexes);
    let packs: Vec<ObjectId> = removals.packs.iter().filter(|pack| !named.contains(pack)).copied().collect();
    let staying = backend.remove_all(&objects(ObjectKind::Pack, &packs))?;
    let stay: BTreeSet<ObjectId> = staying.iter().map(|(object, _)| object.id).collect();
    proposed.stays.extend(staying);
    for pack in packs.iter().filter(|pack| !stay.contains(pack)) {
        proposed.packs += 1;
        proposed.freed_bytes += facts.stored.get(pack).copied().unwrap_or(0);
    }
    let mut batch = IndexBatch::new(repository);
    for (pack, entries) in stay.iter().filter_map(|pack| Some((pack, facts.table.entries(*pack)?))) {
        batch.add(*pack, entries)?;
    }
    batch.finish()?;
    Ok(proposed)
}

/// The packs that indexes name.
fn named(facts: &Facts, indexes: &[(Object, String)]) -> BTreeSet<ObjectId> {
    let ids: BTreeSet<ObjectId> = indexes.iter().map(|(object, _)| object.id).collect();
    let staying = facts.table.indexes().filter(|(id, _)| ids.contains(id));
    staying.flat_map(|(_, packs)| packs).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::backend::{Backend, BackendError, Listed, Memory};
    use crate::check;
    use crate::fixture_repository::save;
    use crate::key::MasterKey;
    use crate::prune::{Policy, execute, plan};
    use crate::save::adopt;
    use crate::tree::FileTime;

    const WHOLE: Policy =
        Policy { unused_percent_max: 5, small_packs_max: 16, repack_bytes_max: 0, whole_packs_only: true };

    /// Keeps what it was told to keep.
    #[derive(Debug, Default)]
    struct Keeper {
        memory: Memory,
        keeps: Mutex<BTreeSet<Object>>,
    }

    impl Backend for Keeper {
        fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
            self.memory.put(object, bytes)
        }

        fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
            self.memory.get(object, range)
        }

        fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
            self.memory.list(kind)
        }

        fn remove(&self, object: Object) -> Result<(), BackendError> {
            Err(BackendError::Refused { object, reason: "one by one is no proposal".to_owned() })
        }

        fn remove_all(&self, objects: &[Object]) -> Result<Vec<(Object, String)>, BackendError> {
            let keeps = self.keeps.lock().unwrap();
            let (stay, go): (Vec<Object>, Vec<Object>) =
                objects.iter().partition(|object| keeps.contains(object));
            go.into_iter().try_for_each(|object| self.memory.remove(object))?;
            Ok(stay.into_iter().map(|object| (object, "it is kept".to_owned())).collect())
        }
    }

    /// Two snapshots, of which the first is gone.
    fn forgotten() -> (Arc<Keeper>, Repository) {
        let keeper = Arc::new(Keeper::default());
        let repository = Repository::create(keeper.clone(), MasterKey::generate()).unwrap();
        let at = |seconds| FileTime { seconds, nanoseconds: 0 };
        let first = save(&repository, &[("a", 1), ("dir/b", 2)], at(1));
        save(&repository, &[("c", 3), ("dir/d", 4)], at(2));
        keeper.memory.remove(Object::new(ObjectKind::Snapshot, first)).unwrap();
        (keeper, repository)
    }

    fn pruned(repository: &Repository) -> Proposed {
        let facts = Facts::load(repository, &[]).unwrap();
        let plan = plan(&facts, &WHOLE).unwrap();
        let removals = execute(repository, &facts, &plan, &mut |_| true).unwrap();
        propose(repository, &facts, &removals).unwrap()
    }

    #[track_caller]
    fn assert_whole(repository: &Repository, leftovers: usize) {
        let report = check::structure(repository).unwrap();
        assert_eq!((report.findings, report.leftovers.len()), (Vec::new(), leftovers));
    }

    #[test]
    fn what_nobody_needs_goes_and_a_second_proposal_is_empty() {
        let (keeper, repository) = forgotten();
        let proposed = pruned(&repository);
        assert_eq!((proposed.packs, proposed.stays.len()), (2, 0));
        assert!(proposed.freed_bytes > 2000);
        assert_eq!(keeper.list(ObjectKind::Pack).unwrap().len(), 2);
        assert_eq!(keeper.list(ObjectKind::Index).unwrap().len(), 1);
        assert_whole(&repository, 0);
        assert_eq!(pruned(&repository), Proposed::default());
    }

    #[test]
    fn a_pack_that_stays_is_named_by_an_index_and_not_taken_over_again() {
        let (keeper, repository) = forgotten();
        let packs = keeper.list(ObjectKind::Pack).unwrap();
        *keeper.keeps.lock().unwrap() =
            packs.iter().map(|listed| Object::new(ObjectKind::Pack, listed.id)).collect();
        let proposed = pruned(&repository);
        assert_eq!((proposed.packs, proposed.stays.len()), (0, 2));
        assert_whole(&repository, 0);
        let mut index = repository.load_index().unwrap();
        assert_eq!(index.packs().len(), 4);
        assert!(adopt(&repository, &mut index).unwrap().is_empty());
    }

    #[test]
    fn an_index_that_stays_keeps_the_packs_that_it_names() {
        let (keeper, repository) = forgotten();
        let indexes = keeper.list(ObjectKind::Index).unwrap();
        *keeper.keeps.lock().unwrap() =
            indexes.iter().map(|listed| Object::new(ObjectKind::Index, listed.id)).collect();
        let proposed = pruned(&repository);
        assert_eq!((proposed.packs, proposed.stays.len()), (0, 2));
        assert_whole(&repository, 0);
        // Once it goes, they go.
        keeper.keeps.lock().unwrap().clear();
        assert_eq!(pruned(&repository).packs, 2);
        assert_whole(&repository, 0);
    }
}
