//! Restore: a snapshot, or some paths of it, back into a folder or in place.
//!
//! What is written stays below the target: no link is followed, whoever changes the target meanwhile. A file gets its
//! real name only when it is whole: it is written under a temporary name, given its details and synced, then renamed.
//! So a run that is cut leaves old files or new ones, and one that is run again finishes. Nothing is written into a
//! file that is there already: what another name of it (a hard link) leads to stays as it is.
//!
//! Verified means: every blob is compared with its identifier, a hash, before it is used; with [`Request::verify`]
//! every piece is read back from the file (out of the page cache, before it is synced) and compared with the verified
//! bytes, and a file that is there already counts as right only when the hashes of its content say so.
//!
//! Work goes in groups (see [`batch`]): the trees are walked until a group is full, its content is read pack by pack
//! by a few threads, it is synced, its files are renamed, its folders get their details, the next one follows.
//! Memory: a group's plan (some 20 MiB), the trees of the open folders, and for each thread a read of 4 MiB and the
//! longest blob. Files with several names are remembered, [`links::LINKS_MAX`] at most.

mod batch;
mod content;
mod decide;
mod details;
mod entry;
mod existing;
mod file;
mod folder;
mod links;
mod publish;
mod run;
mod special;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::id::ObjectId;
use crate::index::Index;
use crate::list::{LookupError, WalkError};
use crate::pack::Blob;
use crate::repository::{Repository, RepositoryError};
use crate::snapshot::Snapshot;

/// What is kept of [`Outcome::failures`]; more are counted.
pub const FAILURES_MAX: usize = 1000;

/// What happens to what is in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Everything is written anew.
    Always,
    /// What is as it should be stays; the rest is written anew.
    IfChanged,
    /// Whatever is there stays, and so do the details of folders; what is missing is added.
    Never,
}

/// What is to be restored, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// Takes the place of `/`: the path `/etc/hosts` of the snapshot becomes `etc/hosts` below it. Made when missing.
    pub target: PathBuf,
    /// Paths in the snapshot; all when there are none.
    pub only: Vec<PathBuf>,
    /// Patterns of what is left out; see [`crate::list::Selection::new`].
    pub excludes: Vec<String>,
    /// What happens to what is there.
    pub overwrite: Overwrite,
    /// Whether what the snapshot does not have is removed from restored folders.
    pub delete_extra: bool,
    /// Whether owners are set; done by root alone. Without it, set-id bits of others' files are not set either.
    pub owner: bool,
    /// Whether what was written is read back, and what is there is hashed before it counts as right.
    pub verify: bool,
    /// Whether to tell what would be done and do nothing.
    pub dry_run: bool,
    /// Threads that read packs.
    pub workers: usize,
}

impl Request {
    /// All of a snapshot into `target`, verified, with owners; what is right already stays.
    pub fn new(target: PathBuf) -> Self {
        Self {
            target,
            only: Vec::new(),
            excludes: Vec::new(),
            overwrite: Overwrite::IfChanged,
            delete_extra: false,
            owner: true,
            verify: true,
            dry_run: false,
            workers: 2,
        }
    }
}

/// What is done with one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is missing and is made.
    Make,
    /// It takes the place of something else.
    Replace,
    /// It is a folder that is there: its content and its details are restored.
    Enter,
    /// It is right already.
    Unchanged,
    /// It is there and stays, as [`Overwrite::Never`] asks.
    Keep,
    /// The snapshot does not have it, and it is removed.
    Delete,
}

/// Told while a restore runs, by several threads.
pub trait Progress: Sync {
    /// What is done, or would be, with a path of the snapshot.
    fn decided(&self, _path: &Path, _action: Action) {}
    /// So many bytes of content are in files now.
    fn wrote(&self, _bytes: u64) {}
    /// Whether to stop; what is not finished is removed.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Progress for () {}

/// What was restored; in a dry run, what would be.
#[derive(Debug, Default)]
#[must_use]
pub struct Outcome {
    /// Regular files that were written.
    pub files: u64,
    /// Further names of such files.
    pub hard_links: u64,
    /// Folders that were made or whose details were set.
    pub folders: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Devices and named pipes.
    pub specials: u64,
    /// What was right already.
    pub unchanged: u64,
    /// What was there and stayed, as asked for.
    pub kept: u64,
    /// What the snapshot did not have and was removed.
    pub deleted: u64,
    /// Sockets, which belong to whoever listens on them and are never restored.
    pub sockets_skipped: u64,
    /// Bytes of content in the files that were written.
    pub bytes: u64,
    /// What was not restored, or not with all its details: the first [`FAILURES_MAX`].
    pub failures: Vec<Failure>,
    /// How many failures there were.
    pub failures_total: u64,
}

impl Outcome {
    /// Whether everything is as the snapshot says.
    pub fn is_complete(&self) -> bool {
        self.failures_total == 0
    }

    fn fail(&mut self, path: PathBuf, problem: Problem) {
        self.failures_total += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(Failure { path, problem });
        }
    }
}

/// Something that was not restored, or not wholly.
#[derive(Debug)]
pub struct Failure {
    /// Its path in the snapshot, without a leading `/`.
    pub path: PathBuf,
    /// Why.
    pub problem: Problem,
}

/// Why a path was not restored, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Its content cannot be read from the repository. Nothing was written under its name.
    #[error("its content cannot be read from the repository: {0}")]
    Content(Arc<RepositoryError>),
    /// A part of its content is in no pack that an index names. Nothing was written under its name.
    #[error("a part of its content ({}) is in no pack of the repository; check the repository", .0.id)]
    NoBlob(Blob),
    /// What is below a folder cannot be told.
    #[error(transparent)]
    Folder(#[from] WalkError),
    /// Something is in the place of a folder, and must not be replaced.
    #[error("{found} is in the way of a folder and is not replaced; move it away or choose another target")]
    InTheWay {
        /// What it is.
        found: &'static str,
    },
    /// A folder that is not empty is where something else should be.
    #[error(
        "a folder that is not empty is in its place; move it away, or restore with removal of extra files"
    )]
    FolderInPlace,
    /// What was read back is not what was written.
    #[error("the file does not hold what was written to it: the disk or its file system is at fault")]
    ReadBack,
    /// It is another name of a file that was not restored.
    #[error("it is another name of /{}, which was not restored", .0.display())]
    LinkedFile(PathBuf),
    /// Too many files with several names: it was restored as a file of its own.
    #[error("it was restored as a file of its own instead of another name of one: too many such files")]
    LinkForgotten,
    /// It was restored, but for a detail.
    #[error("it was restored without its {detail}: {source}")]
    Detail {
        /// Which.
        detail: String,
        /// Why.
        source: io::Error,
    },
    /// Set-id bits are given to a file only with its owner.
    #[error("it was restored without its set-id bits, for its owner was not set")]
    SetId,
    /// The snapshot does not say what it is.
    #[error("the snapshot does not say what it is")]
    Unknown,
    /// The system says no.
    #[error("cannot {doing}: {source}")]
    Io {
        /// In a few words.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A restore that did not run to its end. What was restored before stays, what was not finished is removed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// What was asked for contradicts itself.
    #[error("{0}")]
    Request(&'static str),
    /// A path that was asked for cannot be found.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The target cannot be made or opened.
    #[error("the target {path} cannot be used")]
    Target {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel lacks the call that keeps a restore within its target.
    #[error("the kernel has no openat2: Linux 5.6 or newer is needed to restore")]
    Kernel,
    /// The disk is full.
    #[error(
        "no room for /{path}: make room and restore again, into another folder, or in place where what is there already is \
         not written anew"
    )]
    Full {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The repository cannot be read.
    #[error("the repository cannot be read; run the restore again when it can")]
    Repository(#[source] Arc<RepositoryError>),
    /// What was written could not be synced.
    #[error("what was restored cannot be synced to the disk")]
    Sync(#[source] io::Error),
    /// As asked for.
    #[error("the restore was cancelled")]
    Cancelled,
}

/// Restores `snapshot` as `request` says.
///
/// # Errors
/// When it cannot begin or go on. What fails for single paths is in the outcome.
pub fn run(
    repository: &Repository,
    index: &Index,
    snapshot: &Snapshot,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Outcome, RestoreError> {
    run_tree(repository, index, snapshot.tree, request, progress)
}

/// The same for a tree.
///
/// # Errors
/// When it cannot begin or go on.
pub fn run_tree(
    repository: &Repository,
    index: &Index,
    tree: ObjectId,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Outcome, RestoreError> {
    if request.delete_extra && request.overwrite == Overwrite::Never {
        return Err(RestoreError::Request("what is there cannot be kept and removed in one restore"));
    }
    for path in &request.only {
        crate::list::lookup(repository, index, tree, path)?;
    }
    run::Run::begin(repository, index, request, progress)?.finish(tree)
}

#[cfg(test)]
mod tests;
