//! `backup restore`: files of a snapshot, into a folder of their own or to where they were.

use std::path::{Path, PathBuf};

use campanile_backup::choose::{self, Filter, Which};
use campanile_backup::id::ObjectId;
use campanile_backup::repository::Repository;
use campanile_backup::restore::{self, Outcome, Request};
use campanile_backup::snapshot::Snapshot;
use campanile_common::api::{BackupFigures, BackupLine, BackupResult, BackupVerb};

use super::error::{BackupError, chain};
use super::job::Job;
use super::pace::Pace;
use super::place::{Done, Of, Program};
use crate::os::folder;

/// Files that are named; the others are counted.
const UNREAD_SHOWN_MAX: usize = 200;

/// What is restored, and where to.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `latest`, a time, or the begin of a snapshot's name.
    pub snapshot: String,
    /// An empty folder; none for where the files were.
    pub to: Option<PathBuf>,
    /// Paths in the snapshot; all when there are none.
    pub paths: Vec<PathBuf>,
}

impl Program {
    pub(super) fn restore(&self, of: &Of, wanted: &Wanted) -> Result<Done, BackupError> {
        let (target, job) = self.target(of)?;
        self.started(BackupVerb::Restore, job.as_ref().map(|job| &job.name), &target);
        let repository = self.open(&target)?;
        let lock = self.lock(&repository, &target)?;
        let (id, snapshot) = chosen(&repository, job.as_ref(), &wanted.snapshot)?;
        let mut request = Request::new(wanted.to.clone().unwrap_or_else(|| "/".into()));
        request.only.clone_from(&wanted.paths);
        if let Some(to) = &wanted.to {
            folder::make_empty(to).map_err(|source| BackupError::Folder { path: to.clone(), source })?;
        }
        let pace = Pace::new(self, lock.as_ref());
        let outcome = self.restore_into(&repository, &snapshot, &request, &pace)?;
        let result = if outcome.is_complete() { BackupResult::Ok } else { BackupResult::Partial };
        let (repository, figures) = (repository.config().id.to_string(), figures(&outcome));
        Ok(Done { result, repository, snapshot: Some(id.to_string()), figures })
    }

    /// Restores, and names what was not restored as it should be.
    pub(super) fn restore_into(
        &self,
        repository: &Repository,
        snapshot: &Snapshot,
        request: &Request,
        pace: &Pace<'_>,
    ) -> Result<Outcome, BackupError> {
        let index = repository.load_index()?;
        let outcome = restore::run(repository, &index, snapshot, request, pace)?;
        for failure in outcome.failures.iter().take(UNREAD_SHOWN_MAX) {
            let path = Path::new("/").join(&failure.path).to_string_lossy().into_owned();
            self.output.line(&BackupLine::Unread { path, why: chain(&failure.problem) });
        }
        Ok(outcome)
    }
}

/// The snapshot that is meant; of the policy, where one is named.
pub(super) fn chosen(
    repository: &Repository,
    job: Option<&Job>,
    text: &str,
) -> Result<(ObjectId, Snapshot), BackupError> {
    let tags = job.map(|job| job.name.tag()).into_iter().collect();
    let filter = Filter { tags, ..Filter::default() };
    let snapshots = repository.snapshots()?;
    Ok(choose::choose(&snapshots, &Which::parse(text), &filter)?.clone())
}

pub(super) fn figures(outcome: &Outcome) -> BackupFigures {
    BackupFigures {
        files: outcome.files + outcome.hard_links + outcome.symlinks + outcome.specials + outcome.unchanged,
        files_unchanged: outcome.unchanged,
        bytes: outcome.bytes,
        unread: outcome.failures_total,
        ..BackupFigures::default()
    }
}
