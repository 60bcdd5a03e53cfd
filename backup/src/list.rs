//! What is in a snapshot: a walk over its folders that reads each tree once and holds those on the way to where it is.
//!
//! Memory: the trees of the folders that are open, some 700 bytes per entry of each. A tree that is damaged is an
//! error of its folder; the walk goes on behind it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::id::ObjectId;
use crate::index::Index;
use crate::repository::{Repository, RepositoryError};
use crate::tree::{Node, NodeKind};

/// No honest tree is deeper: twice what a path of 4,096 bytes can name.
const DEPTH_MAX: usize = 4096;

/// Which paths of a snapshot are meant.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    only: Vec<PathBuf>,
    excludes: Vec<Vec<u8>>,
}

/// How a path stands to a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It is meant, with all that is below it.
    Chosen,
    /// It leads to something that is meant.
    OnTheWay,
    /// It is not meant, nor anything below it.
    Outside,
}

impl Selection {
    /// The paths `only` and what is below them (all, when there are none), without what a pattern of `excludes`
    /// matches: the whole path when the pattern has a `/`, else the name.
    pub fn new(only: &[PathBuf], excludes: &[String]) -> Self {
        let excludes = excludes.iter().map(|pattern| pattern.trim_start_matches('/').as_bytes().to_vec());
        Self { only: only.iter().map(|path| plain(path)).collect(), excludes: excludes.collect() }
    }

    /// How `path`, without a leading `/`, stands to it.
    pub fn choice(&self, path: &Path) -> Choice {
        let is_excluded = self.excludes.iter().any(|pattern| {
            let whole = pattern.contains(&b'/');
            let text = if whole { path.as_os_str() } else { path.file_name().unwrap_or_default() };
            matches(pattern, text)
        });
        if is_excluded {
            Choice::Outside
        } else if self.only.is_empty() || self.only.iter().any(|only| path.starts_with(only)) {
            Choice::Chosen
        } else if self.only.iter().any(|only| only.starts_with(path)) {
            Choice::OnTheWay
        } else {
            Choice::Outside
        }
    }
}

/// A path as trees know it: names alone, without a leading `/`.
pub fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Whether `text` is what `pattern` says: `*` stands for any bytes but `/`, `?` for one of them.
pub fn matches(pattern: &[u8], text: &OsStr) -> bool {
    let text = text.as_bytes();
    let (mut at, mut in_pattern) = (0, 0);
    // Where the last `*` stands, and up to where it reaches: only the last one ever has to be tried again.
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(in_pattern), text.get(at)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((in_pattern, at));
                in_pattern += 1;
                continue;
            }
            (Some(expected), Some(byte)) if expected == byte || (*expected == b'?' && *byte != b'/') => {
                (at, in_pattern) = (at + 1, in_pattern + 1);
                continue;
            }
            _ => {}
        }
        match star {
            Some((behind, from)) if text.get(from).is_some_and(|byte| *byte != b'/') => {
                star = Some((behind, from + 1));
                (at, in_pattern) = (from + 1, behind + 1);
            }
            _ => return false,
        }
    }
}

/// A part of a walk.
#[derive(Debug)]
pub enum Step {
    /// A folder; what is in it follows, then [`Step::Leave`].
    Enter {
        /// Its path, without a leading `/`.
        path: Arc<Path>,
        /// Its details.
        node: Node,
        /// Whether it is meant itself, or is on the way only.
        choice: Choice,
    },
    /// Anything else.
    Entry {
        /// The folder it is in.
        folder: Arc<Path>,
        /// What it is.
        node: Node,
    },
    /// The end of a folder.
    Leave {
        /// Its path, without a leading `/`.
        path: Arc<Path>,
    },
}

/// A folder that cannot be listed. The walk goes on behind it.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// Its tree is damaged, missing or unreadable.
    #[error("the content of the folder /{} cannot be told", path.display())]
    Tree {
        /// Without a leading `/`.
        path: PathBuf,
        /// Why.
        source: RepositoryError,
    },
    /// The snapshot says that it is a folder and names no tree.
    #[error("the folder /{} has no tree in the snapshot", .0.display())]
    NoTree(PathBuf),
    /// Deeper than any file system can hold.
    #[error("the folder /{} lies deeper than {DEPTH_MAX} folders", .0.display())]
    TooDeep(PathBuf),
}

impl WalkError {
    /// The folder, without a leading `/`.
    pub fn path(&self) -> &Path {
        match self {
            Self::Tree { path, .. } | Self::NoTree(path) | Self::TooDeep(path) => path,
        }
    }
}

#[derive(Debug)]
struct Level {
    path: Arc<Path>,
    nodes: std::vec::IntoIter<Node>,
    error: Option<WalkError>,
}

/// Goes through a snapshot in the order of its names.
#[derive(Debug)]
pub struct Walk<'a> {
    repository: &'a Repository,
    index: &'a Index,
    selection: Selection,
    levels: Vec<Level>,
}

impl<'a> Walk<'a> {
    /// From the root of a snapshot, its `tree`.
    ///
    /// # Errors
    /// When that tree cannot be read: there is nothing to go through.
    pub fn new(
        repository: &'a Repository,
        index: &'a Index,
        tree: ObjectId,
        selection: Selection,
    ) -> Result<Self, RepositoryError> {
        let root = repository.read_tree(index, tree)?;
        let level = Level { path: Path::new("").into(), nodes: root.nodes.into_iter(), error: None };
        Ok(Self { repository, index, selection, levels: vec![level] })
    }

    /// Leaves out what is in the folder that was entered by the last step, and its [`Step::Leave`].
    pub fn pass_over(&mut self) {
        if self.levels.len() > 1 {
            self.levels.pop();
        }
    }

    /// What is left of the folder that the walk is in: all of it, right after it was entered. None when that is not
    /// known, because its tree cannot be read.
    pub fn remaining(&self) -> Option<&[Node]> {
        self.levels.last().filter(|level| level.error.is_none()).map(|level| level.nodes.as_slice())
    }

    fn enter(&mut self, path: PathBuf, node: &Node) -> Arc<Path> {
        let mut nodes = Vec::new();
        let read = match node.subtree {
            None => Err(WalkError::NoTree(path.clone())),
            Some(_) if self.levels.len() > DEPTH_MAX => Err(WalkError::TooDeep(path.clone())),
            Some(tree) => self
                .repository
                .read_tree(self.index, tree)
                .map_err(|source| WalkError::Tree { path: path.clone(), source }),
        };
        let error = match read {
            Ok(tree) => {
                nodes = tree.nodes;
                None
            }
            Err(error) => Some(error),
        };
        let path: Arc<Path> = path.into();
        self.levels.push(Level { path: path.clone(), nodes: nodes.into_iter(), error });
        path
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Step, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.levels.last_mut()?;
            if let Some(error) = level.error.take() {
                return Some(Err(error));
            }
            let Some(node) = level.nodes.next() else {
                let left = self.levels.pop()?;
                // The root was never entered.
                return (!self.levels.is_empty()).then_some(Ok(Step::Leave { path: left.path }));
            };
            let path = level.path.join(&node.name);
            let choice = self.selection.choice(&path);
            match (choice, node.kind) {
                (Choice::Outside, _) => {}
                (_, NodeKind::Directory) => {
                    let path = self.enter(path, &node);
                    return Some(Ok(Step::Enter { path, node, choice }));
                }
                (Choice::OnTheWay, _) => {}
                (Choice::Chosen, _) => return Some(Ok(Step::Entry { folder: level.path.clone(), node })),
            }
        }
    }
}

/// A path that cannot be found in a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// It is not in the snapshot.
    #[error("/{} is not in the snapshot", .0.display())]
    Absent(PathBuf),
    /// A tree on the way is damaged, missing or unreadable.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// The entry of one path; none for the root.
///
/// # Errors
/// When it is not there, or the way to it cannot be read.
pub fn lookup(
    repository: &Repository,
    index: &Index,
    tree: ObjectId,
    path: &Path,
) -> Result<Option<Node>, LookupError> {
    let path = plain(path);
    let mut found: Option<Node> = None;
    let mut next = Some(tree);
    for part in &path {
        let absent = || LookupError::Absent(path.clone());
        let folder = repository.read_tree(index, next.ok_or_else(absent)?)?;
        let node = folder.find(part).ok_or_else(absent)?.clone();
        next = node.subtree;
        found = Some(node);
    }
    Ok(found)
}

#[cfg(test)]
#[path = "list/tests.rs"]
mod tests;
