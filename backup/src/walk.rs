//! Visits the folders below a snapshot, each tree once.
//!
//! Memory: 32 bytes for each tree that was seen, and the tree at hand.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use crate::id::ObjectId;
use crate::index::{IdHasher, Index};
use crate::pack::{Blob, BlobKind};
use crate::repository::{Repository, RepositoryError};
use crate::tree::{NodeKind, Tree};

/// Trees that were visited.
pub type Seen = HashSet<ObjectId, BuildHasherDefault<IdHasher>>;

/// Calls `visit` for `root` and all trees below it that are not in `seen` yet, a folder before what is in it.
///
/// # Errors
/// When a tree cannot be read, or `visit` fails.
pub fn walk<E: From<RepositoryError>>(
    repository: &Repository,
    index: &Index,
    root: ObjectId,
    seen: &mut Seen,
    visit: &mut dyn FnMut(ObjectId, &Tree) -> Result<(), E>,
) -> Result<(), E> {
    let mut pending = vec![root];
    while let Some(id) = pending.pop() {
        if !seen.insert(id) {
            continue;
        }
        let tree = repository.read_tree(index, id)?;
        visit(id, &tree)?;
        let folders = tree.nodes.iter().rev().filter(|node| node.kind == NodeKind::Directory);
        pending.extend(folders.filter_map(|node| node.subtree).filter(|id| !seen.contains(id)));
    }
    Ok(())
}

/// The tree's own blob and the chunks of its files.
pub fn blobs(id: ObjectId, tree: &Tree) -> impl Iterator<Item = Blob> + '_ {
    let own = Blob { kind: BlobKind::Tree, id };
    let chunks = tree.nodes.iter().filter_map(|node| node.content.as_deref()).flatten();
    std::iter::once(own).chain(chunks.map(|id| Blob { kind: BlobKind::Data, id: *id }))
}
