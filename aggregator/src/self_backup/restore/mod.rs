//! Puts a backup back: read and compared in full beside its place, then one rename.

mod execute;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use campanile_common::id::NodeId;

use super::archive::ArchiveError;
use super::key::KeyError;

pub use execute::{Staged, check, read_identities, unpack};

/// What became of the nodes' receipts, where the store is not in the state folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipts {
    /// Put into the store, which had none.
    pub placed: Vec<NodeId>,
    /// Left alone: the store's own are newer.
    pub kept: Vec<NodeId>,
}

/// A backup that was not put back. The state folder is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be used.
    #[error("cannot use backup {path}")]
    Archive {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ArchiveError,
    },
    /// The identities cannot be used.
    #[error("cannot use identity file {path}")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// There is something already.
    #[error(
        "state folder {path} is not empty; stop what runs there, and move it away or name another `state_dir`"
    )]
    NotEmpty {
        /// Which.
        path: PathBuf,
    },
    /// A folder of its own must exist: it may be a disk that is not mounted.
    #[error(
        "backup folder {path} does not exist; mount its disk, or make it when the nodes' backups are lost"
    )]
    NoStore {
        /// Which.
        path: PathBuf,
    },
    /// A mount point cannot be replaced.
    #[error(
        "state folder {path} cannot be replaced; when it is a mount point, set `state_dir` to a folder in it"
    )]
    Place {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
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
}
