//! What differs between two snapshots, told while their trees are read side by side.
//!
//! Folders whose trees have the same identifier are the same and are not read. Memory: the two trees of each folder on
//! the way to where it is.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::id::ObjectId;
use crate::index::Index;
use crate::list::WalkError;
use crate::repository::{Repository, RepositoryError};
use crate::tree::{Node, NodeKind, Tree};

/// No honest tree is deeper; see [`crate::list`].
const DEPTH_MAX: usize = 4096;

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    /// Only the second snapshot has it.
    Added,
    /// Only the first snapshot has it.
    Removed,
    /// Another content, or a link that leads elsewhere; its details may differ as well.
    Content,
    /// The same content with another mode, owner, time of change, attribute or device number.
    Details,
    /// A file became a folder, or anything of that sort. What was in a folder follows as removed, what is in one as added.
    Kind,
}

/// An entry that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path, without a leading `/`.
    pub path: PathBuf,
    /// How it differs.
    pub difference: Difference,
    /// What it is in the second snapshot, or was in the first when it is removed.
    pub kind: NodeKind,
    /// Bytes it had in the first.
    pub size_before: u64,
    /// Bytes it has in the second.
    pub size_after: u64,
}

/// Goes through two snapshots in the order of their names.
#[derive(Debug)]
pub struct Diff<'a> {
    repository: &'a Repository,
    index: &'a Index,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    before: Peekable<std::vec::IntoIter<Node>>,
    after: Peekable<std::vec::IntoIter<Node>>,
    error: Option<WalkError>,
}

impl<'a> Diff<'a> {
    /// From the `tree` of one snapshot to that of another.
    ///
    /// # Errors
    /// When either root cannot be read.
    pub fn new(
        repository: &'a Repository,
        index: &'a Index,
        before: ObjectId,
        after: ObjectId,
    ) -> Result<Self, RepositoryError> {
        let mut levels = Vec::new();
        if before != after {
            levels.push(Level {
                path: PathBuf::new(),
                before: repository.read_tree(index, before)?.nodes.into_iter().peekable(),
                after: repository.read_tree(index, after)?.nodes.into_iter().peekable(),
                error: None,
            });
        }
        Ok(Self { repository, index, levels })
    }

    /// The entries of one name, or of the lower of two.
    fn next_pair(level: &mut Level) -> Option<(Option<Node>, Option<Node>)> {
        let order = match (level.before.peek(), level.after.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => before.name.as_bytes().cmp(after.name.as_bytes()),
        };
        let before = order.is_le().then(|| level.before.next()).flatten();
        let after = order.is_ge().then(|| level.after.next()).flatten();
        Some((before, after))
    }

    /// What lies in the folders among two entries of one name comes next.
    fn enter(&mut self, path: &Path, before: Option<&Node>, after: Option<&Node>) {
        let folder = |node: Option<&Node>| -> Option<Option<ObjectId>> {
            node.filter(|node| node.kind == NodeKind::Directory).map(|node| node.subtree)
        };
        let (before, after) = (folder(before), folder(after));
        if (before.is_none() && after.is_none()) || before == after {
            return;
        }
        let mut error = None;
        let mut read = |tree: Option<Option<ObjectId>>| {
            let read = match tree {
                None => return Vec::new().into_iter().peekable(),
                Some(None) => Err(WalkError::NoTree(path.to_owned())),
                Some(Some(_)) if self.levels.len() > DEPTH_MAX => Err(WalkError::TooDeep(path.to_owned())),
                Some(Some(tree)) => self
                    .repository
                    .read_tree(self.index, tree)
                    .map_err(|source| WalkError::Tree { path: path.to_owned(), source }),
            };
            let tree = read.unwrap_or_else(|failed| {
                error = Some(failed);
                Tree::default()
            });
            tree.nodes.into_iter().peekable()
        };
        let (mut before, mut after) = (read(before), read(after));
        if error.is_some() {
            // Half of a comparison would call everything added or removed.
            (before, after) = (Vec::new().into_iter().peekable(), Vec::new().into_iter().peekable());
        }
        self.levels.push(Level { path: path.to_owned(), before, after, error });
    }
}

impl Iterator for Diff<'_> {
    type Item = Result<Change, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.levels.last_mut()?;
            if let Some(error) = level.error.take() {
                return Some(Err(error));
            }
            let Some((before, after)) = Self::next_pair(level) else {
                self.levels.pop();
                continue;
            };
            let Some(node) = after.as_ref().or(before.as_ref()) else { continue };
            let path = level.path.join(&node.name);
            let kind = node.kind;
            let difference = difference(before.as_ref(), after.as_ref());
            self.enter(&path, before.as_ref(), after.as_ref());
            if let Some(difference) = difference {
                let size = |node: Option<Node>| node.map_or(0, |node| node.size);
                let (size_before, size_after) = (size(before), size(after));
                return Some(Ok(Change { path, difference, kind, size_before, size_after }));
            }
        }
    }
}

/// None when they are the same, what is in a folder left aside.
fn difference(before: Option<&Node>, after: Option<&Node>) -> Option<Difference> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (None, _) => return Some(Difference::Added),
        (_, None) => return Some(Difference::Removed),
    };
    if before.kind != after.kind {
        return Some(Difference::Kind);
    }
    let is_link = before.kind == NodeKind::Symlink;
    if before.content != after.content || (is_link && before.target() != after.target()) {
        return Some(Difference::Content);
    }
    let details = |node: &Node| (node.mode, node.uid, node.gid, node.mtime, node.device);
    let same = details(before) == details(after) && before.extended_attributes == after.extended_attributes;
    (!same).then_some(Difference::Details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Made;
    use crate::tree::FileTime;

    fn told(diff: Diff<'_>) -> Vec<String> {
        let line = |change: Change| format!("{:?} {}", change.difference, change.path.display());
        diff.map(|step| step.map_or_else(|error| error.to_string(), line)).collect()
    }

    #[test]
    fn every_kind_of_difference_is_told_once_in_order() {
        let mut made = Made::new();
        let (same, old, new) = (made.file("same", b"same"), made.file("x", b"old"), made.file("x", b"new"));
        let mut touched = made.file("touched", b"content");
        let before_touch = touched.clone();
        touched.mtime = FileTime { seconds: 5, nanoseconds: 1 };
        let inner = made.folder("inner", vec![same.clone()]);
        let was_folder = made.folder("turned", vec![same.clone(), inner.clone()]);
        let is_file = made.file("turned", b"now a file");
        let gone = made.folder("gone", vec![same.clone()]);
        let come = made.folder("come", vec![inner.clone()]);
        let mut link = Node::bare("link".into(), NodeKind::Symlink);
        link.set_target("here".into());
        let mut led_elsewhere = link.clone();
        led_elsewhere.set_target("there".into());
        let mut empty_link = Node::bare("z".into(), NodeKind::Symlink);
        empty_link.set_target("here".into());
        let deep_before = made.folder("deep", vec![inner.clone(), old]);
        let deep_after = made.folder("deep", vec![inner, new]);
        let before =
            vec![deep_before, gone, link, same.clone(), before_touch, was_folder, empty_link.clone()];
        let after = vec![come, deep_after, led_elsewhere, same, touched, is_file, empty_link];
        let before = made.tree(before);
        let ((repository, index), after) = made.finish(after);
        let lines = told(Diff::new(&repository, &index, before, after).unwrap());
        let expected = [
            "Added come",
            "Added come/inner",
            "Added come/inner/same",
            "Content deep/x",
            "Removed gone",
            "Removed gone/same",
            "Content link",
            "Details touched",
            "Kind turned",
            "Removed turned/inner",
            "Removed turned/inner/same",
            "Removed turned/same",
        ];
        assert_eq!(lines, expected);
        assert!(told(Diff::new(&repository, &index, after, after).unwrap()).is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_named_and_nothing_in_it_is_called_removed() {
        let mut made = Made::new();
        let file = made.file("file", b"content");
        let whole = made.folder("broken", vec![file.clone()]);
        let mut broken = whole.clone();
        broken.subtree = Some(ObjectId([9; 32]));
        let before = made.tree(vec![whole, file.clone()]);
        let ((repository, index), after) = made.finish(vec![broken]);
        let lines = told(Diff::new(&repository, &index, before, after).unwrap());
        assert_eq!(lines, ["the content of the folder /broken cannot be told", "Removed file"]);
    }
}
