//! Why nothing came of it.

use std::path::PathBuf;
use std::{error, io};

use campanile_backup::backend::BackendError;
use campanile_backup::choose::ChooseError;
use campanile_backup::compare::CompareError;
use campanile_backup::dump::DumpError;
use campanile_backup::key_file::KeyFileError;
use campanile_backup::list::LookupError;
use campanile_backup::lock::LockError;
use campanile_backup::repository::{Damage, RepositoryError};
use campanile_backup::restore::RestoreError;
use campanile_backup::save::SaveError;
use campanile_common::unit::ByteCount;

use super::job::JobError;
use super::key::KeyError;
use super::target::TargetError;

/// A backup, restore, check or drill that was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackupError {
    /// No such policy.
    #[error("there is no backup policy `{name}` on this node ({path}); see `campanile-agent backup runs`")]
    NoPolicy {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A policy that is unreadable.
    #[error("the backup policy {path} cannot be read: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A policy that cannot be carried out.
    #[error("the backup policy {path} cannot be carried out")]
    Job {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: JobError,
    },
    /// Several places, or none, are meant.
    #[error("this node's policies save to {0} places; say which with --policy or --target")]
    Ambiguous(usize),
    /// Another is at work.
    #[error("another backup runs on this node; wait for its end")]
    Busy,
    /// The place of the repository.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Its config was sealed with another key than this node's.
    #[error(
        "the repository at {0} is not sealed with this node's key for it: another node's is there, or its `config` was \
         altered; choose another target"
    )]
    Foreign(String),
    /// Another works on the repository.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A hook before the save failed.
    #[error("nothing was saved, for the hook `{command}` failed: {why}")]
    Hook {
        /// Which.
        command: String,
        /// How.
        why: String,
    },
    /// No snapshot was made.
    #[error("no snapshot was made")]
    Save(#[from] SaveError),
    /// No snapshot is meant.
    #[error(transparent)]
    Choose(#[from] ChooseError),
    /// A path that is not in the snapshot.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The folder to restore to.
    #[error("{path} must be a new or an empty folder, so that nothing that is there is changed: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Files were not restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// What was restored was not compared to its end.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A key file of another node's repository.
    #[error("a key file of the other node's repository does not open: {0}")]
    KeyFile(#[from] KeyFileError),
    /// A file that cannot be printed.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// A file that is longer than what may be printed.
    #[error(
        "{path} has {bytes}, and at most {most} are printed this way; restore it on the node: campanile restore NODE {path} --to DIR"
    )]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its length.
        bytes: ByteCount,
        /// The limit.
        most: ByteCount,
    },
    /// This machine.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl From<BackendError> for BackupError {
    fn from(error: BackendError) -> Self {
        Self::Repository(error.into())
    }
}

impl BackupError {
    /// Whether it was told to stop.
    pub(super) fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::Save(SaveError::Stopped)
                | Self::Restore(RestoreError::Cancelled)
                | Self::Compare(CompareError::Cancelled)
        )
    }

    /// What failing to open a repository with this node's key means.
    pub(super) fn of_opening(error: RepositoryError, target: &impl ToString) -> Self {
        match error {
            RepositoryError::Damaged { damage: Damage::Sealed(_), .. } => Self::Foreign(target.to_string()),
            error => Self::Repository(error),
        }
    }

    /// In one line, with its causes.
    pub(super) fn line(&self) -> String {
        chain(self)
    }
}

/// An error with its causes; what a text says already is not said again.
pub(super) fn chain(error: &dyn error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
