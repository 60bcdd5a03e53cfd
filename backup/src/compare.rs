//! Compares a snapshot with what was restored of it, and with the files that it was made of.
//!
//! What was restored must be there with kind, length, permissions and target, and nothing beside it; its content was
//! compared with its hashes when it was written, see [`crate::restore`]. Of the files that were saved, those whose length
//! and times are still those of the snapshot are read and must have its content: where one has not, a disk, the backup,
//! or somebody who set the clock changed it unseen. All others have changed since and are counted alone.
//!
//! Folders are reached from their root through no link. Memory: the trees of the open folders, the names in one, and a
//! buffer.

mod content;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, Stat, readlinkat};
use rustix::io::Errno;

use self::content::{Silent, same_content};
use crate::beneath::{LastFolder, Root, file_type, names, stat_in};
use crate::id::ObjectId;
use crate::index::Index;
use crate::list::{Selection, Step, Walk, WalkError};
use crate::repository::{Repository, RepositoryError};
use crate::tree::{Node, NodeKind};

/// What is kept of [`Comparison::differences`]; more are counted.
pub const DIFFERENCES_MAX: usize = 1000;
/// Read at a time: what a processor's cache holds.
const READ_BYTES: usize = 128 << 10;

/// Which of the two was compared with the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What was restored.
    Restored,
    /// The files that were saved.
    Live,
}

/// Something that is not as the snapshot says.
#[derive(Debug)]
pub struct Difference {
    /// Where it was found.
    pub side: Side,
    /// Its path in the snapshot, without a leading `/`.
    pub path: PathBuf,
    /// What differs.
    pub what: What,
}

/// What differs.
#[derive(Debug, thiserror::Error)]
pub enum What {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// The snapshot does not have it.
    #[error("the snapshot does not have it")]
    Extra,
    /// A folder is a file, or the like.
    #[error("it is of another kind")]
    Kind,
    /// It has another length.
    #[error("it has {found} bytes instead of {expected}")]
    Size {
        /// By the snapshot.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// It has other permissions.
    #[error("its mode is {found:04o} instead of {expected:04o}")]
    Permissions {
        /// By the snapshot.
        expected: u32,
        /// As it is.
        found: u32,
    },
    /// The link leads elsewhere.
    #[error("the link leads elsewhere")]
    Target,
    /// It has another content, though its length and times are the same.
    #[error("its content differs though length and times are those of the snapshot")]
    Content,
    /// What is in a folder of the snapshot cannot be told.
    #[error(transparent)]
    Folder(#[from] WalkError),
    /// It cannot be looked at or read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] io::Error),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, what) = (self.path.display(), &self.what);
        match self.side {
            Side::Restored => write!(f, "/{path}, as restored: {what}"),
            Side::Live => write!(f, "/{path} is damaged on the disk or in the backup: {what}"),
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
#[must_use]
pub struct Comparison {
    /// Entries of the snapshot.
    pub entries: u64,
    /// Files that are as they were saved, with the same content.
    pub same: u64,
    /// Bytes of them.
    pub same_bytes: u64,
    /// Files that were changed, replaced or removed since.
    pub changed: u64,
    /// Files that could not be read again.
    pub unread: u64,
    /// The first [`DIFFERENCES_MAX`].
    pub differences: Vec<Difference>,
    /// How many there were.
    pub differences_total: u64,
}

/// A comparison that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A folder cannot be opened.
    #[error("the folder {path} cannot be opened")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// As asked for.
    #[error("the comparison was cancelled")]
    Cancelled,
}

/// Told while a comparison runs.
pub trait Progress {
    /// So many bytes of files were read. Whoever keeps a rate waits here.
    fn read(&self, _bytes: u64) {}
    /// Whether to stop.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Progress for () {}

/// Compares the snapshot whose root is `tree` with what was restored to `restored`, and with the files below `live`
/// where there is one.
///
/// # Errors
/// When it cannot begin or go on. What differs is no error.
pub fn run(
    repository: &Repository,
    index: &Index,
    tree: ObjectId,
    restored: &Path,
    live: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Comparison, CompareError> {
    let open = |path: &Path| {
        let failed = |errno: Errno| CompareError::Folder { path: path.to_owned(), source: errno.into() };
        Root::open(path).map_err(failed)
    };
    let mut work = Work {
        index,
        restored: open(restored)?,
        live: live.map(open).transpose()?,
        last_restored: LastFolder::default(),
        last_live: LastFolder::default(),
        buffer: vec![0; READ_BYTES],
        progress,
        done: Comparison::default(),
    };
    let mut walk = Walk::new(repository, index, tree, Selection::default())?;
    let root: Arc<Path> = Path::new("").into();
    work.extras(&root, walk.remaining());
    while let Some(step) = walk.next() {
        if progress.is_cancelled() {
            return Err(CompareError::Cancelled);
        }
        match step {
            Ok(Step::Enter { path, node, .. }) => {
                let folder: Arc<Path> = path.parent().unwrap_or(Path::new("")).into();
                work.restored(&folder, &node);
                work.extras(&path, walk.remaining());
            }
            Ok(Step::Entry { folder, node }) => {
                work.restored(&folder, &node);
                work.live(&folder, &node)?;
            }
            Ok(Step::Leave { .. }) => {}
            Err(error) => work.differs(Side::Restored, error.path().to_owned(), error.into()),
        }
    }
    Ok(work.done)
}

struct Work<'a> {
    index: &'a Index,
    restored: Root,
    live: Option<Root>,
    last_restored: LastFolder,
    last_live: LastFolder,
    buffer: Vec<u8>,
    progress: &'a dyn Progress,
    done: Comparison,
}

impl Work<'_> {
    fn differs(&mut self, side: Side, path: PathBuf, what: What) {
        self.done.differences_total += 1;
        if self.done.differences.len() < DIFFERENCES_MAX {
            self.done.differences.push(Difference { side, path, what });
        }
    }

    /// Compares an entry with what was restored of it.
    fn restored(&mut self, folder: &Arc<Path>, node: &Node) {
        if !is_restored(node.kind) {
            return;
        }
        self.done.entries += 1;
        let looked = self.last_restored.reach(&self.restored, folder).and_then(|folder| {
            let stat = stat_in(folder, &node.name)?;
            Ok(stat
                .and_then(|stat| difference(folder, node, &stat))
                .or(stat.is_none().then_some(What::Missing)))
        });
        let what = looked.unwrap_or_else(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => Some(What::Missing),
            errno => Some(What::Unreadable(errno.into())),
        });
        if let Some(what) = what {
            self.differs(Side::Restored, folder.join(&node.name), what);
        }
    }

    /// Finds what was restored to a folder and is none of its entries.
    fn extras(&mut self, path: &Arc<Path>, nodes: Option<&[Node]>) {
        let Some(nodes) = nodes else { return };
        let listed = self.restored.folder(path, OFlags::RDONLY).and_then(names);
        // A folder that is missing was told already.
        let Ok(listed) = listed else { return };
        let expected = nodes.iter().filter(|node| is_restored(node.kind));
        if listed.len() == expected.clone().count() {
            // With a name too many there is one too few, and that is told as missing.
            return;
        }
        let expected: BTreeSet<&OsString> = expected.map(|node| &node.name).collect();
        for name in listed.iter().filter(|name| !expected.contains(name)) {
            self.differs(Side::Restored, path.join(name), What::Extra);
        }
    }

    /// Reads a file that was not touched since it was saved, and compares its content.
    fn live(&mut self, folder: &Arc<Path>, node: &Node) -> Result<(), CompareError> {
        let Some(root) = self.live.as_ref().filter(|_| node.kind == NodeKind::File) else { return Ok(()) };
        let reached = self.last_live.reach(root, folder);
        let compared = match reached {
            Ok(folder) => same_content(folder, node, self.index, &mut self.buffer, self.progress),
            // Not there any more, or a link is in its way now.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(Silent::Changed),
            Err(_) => Err(Silent::Unread),
        };
        match compared {
            Ok(true) => {
                self.done.same += 1;
                self.done.same_bytes += node.size;
            }
            Ok(false) => self.differs(Side::Live, folder.join(&node.name), What::Content),
            Err(Silent::Changed) => self.done.changed += 1,
            Err(Silent::Unread) => self.done.unread += 1,
            Err(Silent::Cancelled) => return Err(CompareError::Cancelled),
        }
        Ok(())
    }
}

/// A socket belongs to whoever listens on it; what could not be told cannot be made.
const fn is_restored(kind: NodeKind) -> bool {
    !matches!(kind, NodeKind::Socket | NodeKind::Irregular)
}

const fn type_of(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::BlockDevice => FileType::BlockDevice,
        NodeKind::CharacterDevice => FileType::CharacterDevice,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Socket => FileType::Socket,
        NodeKind::Irregular => FileType::Unknown,
    }
}

/// What differs of an entry, as far as its details tell.
fn difference(folder: &OwnedFd, node: &Node, stat: &Stat) -> Option<What> {
    if file_type(stat) != type_of(node.kind) {
        return Some(What::Kind);
    }
    let found = u64::try_from(stat.st_size).unwrap_or(0);
    if node.kind == NodeKind::File && found != node.size {
        return Some(What::Size { expected: node.size, found });
    }
    if node.kind == NodeKind::Symlink {
        let target = readlinkat(folder, &node.name, Vec::new());
        let is_same = target.is_ok_and(|target| target.as_bytes() == node.target().as_bytes());
        return (!is_same).then_some(What::Target);
    }
    let (expected, found) = (node.mode.unix(), stat.st_mode & 0o7777);
    (expected != found).then_some(What::Permissions { expected, found })
}

#[cfg(test)]
#[path = "compare/tests.rs"]
mod tests;
