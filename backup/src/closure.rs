//! The packs that a snapshot needs.
//!
//! A store that has no key cannot tell what a snapshot needs; with this list it keeps the packs for as long as it keeps
//! the snapshot. Memory: 32 bytes for each tree of the snapshot and each pack.

use std::collections::BTreeSet;

use crate::id::ObjectId;
use crate::index::Index;
use crate::repository::{Repository, RepositoryError};
use crate::walk::{Seen, blobs, walk};

/// All packs that hold the tree `root` and what is below it, in order.
///
/// # Errors
/// When a tree cannot be read, or a blob is in no pack.
pub fn closure(
    repository: &Repository,
    index: &Index,
    root: ObjectId,
) -> Result<Vec<ObjectId>, RepositoryError> {
    let mut packs = BTreeSet::new();
    let mut seen = Seen::default();
    walk(repository, index, root, &mut seen, &mut |id, tree| {
        for blob in blobs(id, tree) {
            let location = index.find(blob).ok_or(RepositoryError::NoBlob(blob))?;
            packs.insert(location.pack);
        }
        Ok::<_, RepositoryError>(())
    })?;
    Ok(packs.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture_repository::Fixture;

    #[test]
    fn a_snapshot_needs_its_own_packs_and_those_it_shares() {
        let mut fixture = Fixture::new();
        let first = fixture.snapshot(&[("a", 1), ("dir/b", 2)]);
        let alone: Vec<_> = fixture.repository.load_index().unwrap().packs().to_vec();
        let second = fixture.snapshot(&[("a", 1), ("dir/c", 3)]);
        let index = fixture.repository.load_index().unwrap();
        let of_first = closure(&fixture.repository, &index, fixture.tree(first)).unwrap();
        let mut sorted = alone.clone();
        sorted.sort();
        assert_eq!(of_first, sorted);
        let of_second = closure(&fixture.repository, &index, fixture.tree(second)).unwrap();
        assert_eq!(index.packs().len(), 4);
        // Its own two, and the pack of the chunk that both have; the trees of the first it does not need.
        assert_eq!(of_second.len(), 3);
        assert_eq!(of_second.iter().filter(|pack| alone.contains(pack)).count(), 1);
    }

    #[test]
    fn what_is_in_no_pack_is_no_smaller_closure() {
        let mut fixture = Fixture::new();
        let snapshot = fixture.snapshot(&[("a", 1)]);
        let nothing = closure(&fixture.repository, &Index::default(), fixture.tree(snapshot));
        assert!(matches!(nothing, Err(RepositoryError::NoBlob(_))));
    }
}
