//! Makes a backup: what goes into it, and where it is put.

mod execute;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use campanile_common::time::Timestamp;

use crate::state::StateError;

pub(super) use execute::latest;
pub use execute::save;

/// Where the parts of a backup lie.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The aggregator's state folder.
    pub state_dir: PathBuf,
    /// The store of the nodes' backups, whose receipts are taken.
    pub backup_dir: PathBuf,
    /// The settings file and its drop-ins.
    pub settings: Vec<PathBuf>,
}

/// Where a backup is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into this folder, under a name that tells fleet and time; when so many are kept, older ones go.
    Folder(PathBuf, Option<usize>),
    /// As this file, which must not exist.
    File(PathBuf),
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// As of when.
    pub at: Timestamp,
    /// How many files are in it.
    pub files: usize,
}

/// A backup that was not made. Older ones are untouched.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// No space.
    #[error(
        "no space left for {path}: nothing was written, older backups are untouched; make room or lower `self_backup.keep`"
    )]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {doing} {path}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there.
    #[error("{path} exists; name a folder, or a file that does not exist")]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// The state store cannot be copied.
    #[error("cannot copy the state store")]
    State(#[from] StateError),
}

impl SaveError {
    /// A failure with a file; one for lack of space is told as such.
    fn file(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            _ => Self::File { doing, path, source },
        }
    }
}
