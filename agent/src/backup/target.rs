//! Where a repository is.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use campanile_backup::backend::{Backend, BackendError, Directory};
use campanile_common::backup;
use campanile_common::id::NodeId;

/// A place for repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The store of the fleet's aggregator.
    Aggregator,
    /// A folder, in restic's layout.
    Folder(PathBuf),
}

/// Reaches this node's repository in the aggregator's store.
pub type Connect = dyn Fn() -> Result<Arc<dyn Backend>, BackendError> + Send + Sync;

/// Reaches another node's repository there, to read from.
pub type ConnectTo = dyn Fn(NodeId) -> Result<Arc<dyn Backend>, BackendError> + Send + Sync;

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    /// Not in the form of one.
    #[error("`{0}` is no target: give `aggregator`, or `dir:` and an absolute path")]
    Malformed(String),
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
}

impl Target {
    /// The objects there. In a folder, those of a repository are made where `is_made`.
    pub(super) fn open(&self, connect: &Connect, is_made: bool) -> Result<Arc<dyn Backend>, TargetError> {
        match self {
            Self::Aggregator => connect().map_err(TargetError::Aggregator),
            Self::Folder(path) => {
                let opened = if is_made { Directory::create(path) } else { Directory::open(path) };
                let failed = |source| TargetError::Folder { path: path.clone(), source };
                Ok(Arc::new(opened.map_err(failed)?))
            }
        }
    }

    /// Whether whoever works there takes locks. The aggregator's store is one node's, removes nothing that is being
    /// used, and lets no node remove anything.
    pub(super) const fn has_locks(&self) -> bool {
        match self {
            Self::Aggregator => false,
            Self::Folder(_) => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggregator => f.write_str("aggregator"),
            Self::Folder(path) => write!(f, "dir:{}", path.display()),
        }
    }
}

impl From<backup::Target> for Target {
    fn from(target: backup::Target) -> Self {
        match target {
            backup::Target::Aggregator => Self::Aggregator,
            backup::Target::Folder(path) => Self::Folder(path.into()),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.strip_prefix("dir:") {
            Some(path) if path.starts_with('/') => Ok(Self::Folder(path.into())),
            None if text == "aggregator" => Ok(Self::Aggregator),
            _ => Err(TargetError::Malformed(text.chars().take(200).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_printed_as_it_is_written() {
        for text in ["aggregator", "dir:/srv/backup"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in ["", "dir:", "dir:srv", "/srv", "s3:x"] {
            assert!(matches!(text.parse::<Target>(), Err(TargetError::Malformed(_))), "{text}");
        }
    }
}
