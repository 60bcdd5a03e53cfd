//! Where a repository is.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use campanile_backup::backend::{Backend, BackendError, Directory};
use campanile_common::backup::{self, Access, PolicyError, S3Place, SftpLogin, SftpPlace};
use campanile_common::id::NodeId;

use super::remote::Patience;
use super::remote::s3::{S3, S3Error};
use super::remote::sftp::{Sftp, SftpError};

/// A place for repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The store of the fleet's aggregator.
    Aggregator,
    /// A folder, in restic's layout.
    Folder(PathBuf),
    /// A part of a bucket, likewise.
    S3 {
        /// Where.
        place: S3Place,
        /// The file with the credentials.
        credentials: PathBuf,
    },
    /// A folder of another machine, likewise.
    Sftp {
        /// Where.
        place: SftpPlace,
        /// How to sign in.
        login: SftpLogin,
    },
}

/// Reaches this node's repository in the aggregator's store.
pub type Connect = dyn Fn() -> Result<Arc<dyn Backend>, BackendError> + Send + Sync;

/// Reaches another node's repository there, to read from.
pub type ConnectTo = dyn Fn(NodeId) -> Result<Arc<dyn Backend>, BackendError> + Send + Sync;

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    /// Not in the form of one.
    #[error("this is no target that can be used without its policy, which --policy names: {0}")]
    Malformed(#[from] PolicyError),
    /// The folder is not there or cannot be read.
    #[error("the folder {path} of the repository cannot be used: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The aggregator's store does not answer, or refuses.
    #[error("the aggregator's store cannot be used: {0}")]
    Aggregator(#[source] BackendError),
    /// The bucket.
    #[error("the bucket {place} cannot be used")]
    S3 {
        /// Where.
        place: String,
        /// Why.
        source: S3Error,
    },
    /// The folder of another machine.
    #[error("the folder {place} cannot be used")]
    Sftp {
        /// Where.
        place: String,
        /// Why.
        source: SftpError,
    },
}

impl Target {
    /// The target that is written so, which needs no more than that.
    pub(super) fn read(text: &str) -> Result<Self, TargetError> {
        Ok(backup::Target::read(text, Access::default())?.into())
    }

    /// The objects there. Folders of a repository are made where `is_made`.
    pub(super) fn open(
        &self,
        connect: &Connect,
        patience: Patience,
        is_made: bool,
    ) -> Result<Arc<dyn Backend>, TargetError> {
        match self {
            Self::Aggregator => connect().map_err(TargetError::Aggregator),
            Self::Folder(path) => {
                let opened = if is_made { Directory::create(path) } else { Directory::open(path) };
                let failed = |source| TargetError::Folder { path: path.clone(), source };
                Ok(Arc::new(opened.map_err(failed)?))
            }
            Self::S3 { place, credentials } => {
                let failed = |source| TargetError::S3 { place: place.to_string(), source };
                Ok(Arc::new(S3::new(place, credentials, patience).map_err(failed)?))
            }
            Self::Sftp { place, login } => {
                let failed = |source| TargetError::Sftp { place: place.to_string(), source };
                Ok(Arc::new(Sftp::open(place, login, patience, is_made).map_err(failed)?))
            }
        }
    }

    /// Whether whoever works there takes locks. The aggregator's store is one node's, removes nothing that is being
    /// used, and lets no node remove anything.
    pub(super) const fn has_locks(&self) -> bool {
        match self {
            Self::Aggregator => false,
            Self::Folder(_) | Self::S3 { .. } | Self::Sftp { .. } => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggregator => f.write_str("aggregator"),
            Self::Folder(path) => write!(f, "dir:{}", path.display()),
            Self::S3 { place, .. } => place.fmt(f),
            Self::Sftp { place, .. } => place.fmt(f),
        }
    }
}

impl From<backup::Target> for Target {
    fn from(target: backup::Target) -> Self {
        match target {
            backup::Target::Aggregator => Self::Aggregator,
            backup::Target::Folder(path) => Self::Folder(path.into()),
            backup::Target::S3 { place, credentials } => Self::S3 { place, credentials: credentials.into() },
            backup::Target::Sftp { place, login } => Self::Sftp { place, login },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_printed_as_it_is_written() {
        for text in ["aggregator", "dir:/srv/backup", "sftp:a@b:/c"] {
            assert_eq!(Target::read(text).unwrap().to_string(), text);
        }
        for text in ["", "dir:", "dir:srv", "/srv", "s3:x", "s3:https://h/bucket"] {
            assert!(matches!(Target::read(text), Err(TargetError::Malformed(_))), "{text}");
        }
    }
}
