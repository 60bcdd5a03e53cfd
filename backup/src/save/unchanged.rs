//! Whether anything changed below the roots of a save. The folders that lead to them change with whatever is beside a
//! root, and do not count; nor does when an entry's details were last changed: it is told by the details themselves, and
//! a file that was read in the moment of its change is recorded as older than it is.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use crate::id::ObjectId;
use crate::index::Index;
use crate::repository::{Repository, RepositoryError};
use crate::tree::Node;

/// Whether two stored trees have the same at all of these roots.
pub(super) fn is_same<'p>(
    repository: &Repository,
    before: ObjectId,
    after: ObjectId,
    roots: impl Iterator<Item = &'p Path>,
) -> Result<bool, RepositoryError> {
    if before == after {
        return Ok(true);
    }
    // What was just stored is in no index that was read before.
    let index = repository.load_index()?;
    for root in roots {
        let (Some(old), Some(new)) =
            (found(repository, &index, before, root)?, found(repository, &index, after, root)?)
        else {
            return Ok(false);
        };
        if !is_same_entry(repository, &index, old, new)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two entries are the same, with all that is in them.
fn is_same_entry(
    repository: &Repository,
    index: &Index,
    before: Node,
    after: Node,
) -> Result<bool, RepositoryError> {
    let mut pairs = vec![(before, after)];
    while let Some((mut old, new)) = pairs.pop() {
        let trees = (old.subtree, new.subtree);
        (old.ctime, old.subtree) = (new.ctime, new.subtree);
        if old != new {
            return Ok(false);
        }
        match trees {
            (Some(old), Some(new)) if old != new => {
                let (old, new) =
                    (repository.read_tree(index, old)?.nodes, repository.read_tree(index, new)?.nodes);
                if old.len() != new.len() {
                    return Ok(false);
                }
                pairs.extend(old.into_iter().zip(new));
            }
            (old, new) if old != new => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}

/// The entry of a root; none where there is none, and for `/`, which is no entry.
fn found(
    repository: &Repository,
    index: &Index,
    tree: ObjectId,
    root: &Path,
) -> Result<Option<Node>, RepositoryError> {
    let (mut tree, mut node) = (Some(tree), None);
    for component in root.components() {
        let Component::Normal(name) = component else { continue };
        let Some(id) = tree else { return Ok(None) };
        let nodes = repository.read_tree(index, id)?.nodes;
        node = nodes.into_iter().find(|node| node.name.as_bytes() == name.as_bytes());
        tree = node.as_ref().and_then(|node| node.subtree);
    }
    Ok(node)
}
