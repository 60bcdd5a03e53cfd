//! `backup drill`: restores a policy's newest snapshot on trial, compares it with the snapshot and with the files of the
//! node that were not touched since, has the policy's own command look at it, and removes it.

use std::path::Path;
use std::time::Duration;

use campanile_backup::compare::{self, Comparison};
use campanile_backup::repository::Repository;
use campanile_backup::restore::{Outcome, Request};
use campanile_backup::snapshot::Snapshot;
use campanile_common::api::{BackupFigures, BackupLine, BackupResult, BackupVerb};

use super::error::BackupError;
use super::job::{Job, Source};
use super::limit::Rate;
use super::pace::Pace;
use super::place::{Done, Program};
use super::restore::{chosen, figures};
use super::runs::StartedBy;
use crate::os::{background, folder, random};

/// Held during a drill: what another left can be removed under it.
const LOCK_FILE: &str = "drill.lock";
/// What folders of drills begin with.
const FOLDER_START: &str = "drill-";
/// Differences that are told; the others are counted.
const DIFFERENCES_SHOWN_MAX: usize = 200;

/// What came of a trial.
struct Tried {
    outcome: Outcome,
    comparison: Comparison,
    /// The policy's own command found nothing wrong.
    is_fine: bool,
    /// Until everything was back and the command had looked at it.
    took: Duration,
}

impl Program {
    pub(super) fn drill(&self, policy: &str, by: StartedBy) -> Result<Done, BackupError> {
        self.recorded_drill(policy, by, || self.try_drill(policy))
    }

    fn try_drill(&self, policy: &str) -> Result<Done, BackupError> {
        let job = self.job(policy)?;
        let _held = self.hold(LOCK_FILE)?;
        background::stand_back();
        self.started(BackupVerb::Drill, Some(&job.name), &job.target);
        self.clear()?;
        let repository = self.open(&job.target)?;
        let lock = self.lock(&repository, &job.target)?;
        let (id, snapshot) = chosen(&repository, Some(&job), "latest")?;
        let path = self.place.folder.join(format!("{FOLDER_START}{:016x}", random::number()));
        folder::make_empty(&path).map_err(|source| BackupError::Folder { path: path.clone(), source })?;
        let pace = Pace::new(self, lock.as_ref());
        let tried = self.try_out(&job, &repository, (&id.to_string(), &snapshot), &path, &pace);
        self.clear()?;
        let tried = tried?;
        if pace.is_lost() {
            return Err(campanile_backup::lock::LockError::Lost.into());
        }
        self.tell_differences(&tried.comparison);
        // A drill proves that all can be had, or it proves nothing.
        let is_proof =
            tried.outcome.is_complete() && tried.comparison.differences_total == 0 && tried.is_fine;
        let result = if is_proof { BackupResult::Ok } else { BackupResult::Failed };
        let repository = repository.config().id.to_string();
        Ok(Done { result, repository, snapshot: Some(id.to_string()), figures: tried.figures() })
    }

    fn try_out(
        &self,
        job: &Job,
        repository: &Repository,
        (id, snapshot): (&str, &Snapshot),
        path: &Path,
        pace: &Pace<'_>,
    ) -> Result<Tried, BackupError> {
        let begun = self.elapsed();
        let outcome = self.restore_into(repository, snapshot, &Request::new(path.to_owned()), pace)?;
        let restored = self.elapsed().saturating_sub(begun);
        let index = repository.load_index()?;
        // What a command wrote is nowhere on the node.
        let live = matches!(job.source, Source::Paths(_)).then_some(Path::new("/"));
        let reading = Reading { pace, rate: job.read_limit.map(Rate::new) };
        let comparison = compare::run(repository, &index, snapshot.tree, path, live, &reading)?;
        drop(index);
        let begun = self.elapsed();
        let folder = path.to_string_lossy().into_owned();
        let command = job.drill_command(&folder);
        let environment = [("CAMPANILE_DRILL", folder), ("CAMPANILE_SNAPSHOT", id.to_owned())];
        let is_fine = command.is_none_or(|argv| self.run_hook(job, "drill", &argv, &environment).is_ok());
        let took = restored.saturating_add(self.elapsed().saturating_sub(begun));
        Ok(Tried { outcome, comparison, is_fine, took })
    }

    fn tell_differences(&self, comparison: &Comparison) {
        for difference in comparison.differences.iter().take(DIFFERENCES_SHOWN_MAX) {
            self.output.line(&BackupLine::Finding { what: difference.to_string() });
        }
        if comparison.unread > 0 {
            let count = comparison.unread;
            self.output.problem(format!("{count} files of the node could not be read to be compared"));
        }
    }

    /// Removes what drills left, this one and those that were cut.
    fn clear(&self) -> Result<(), BackupError> {
        let failed = |source| BackupError::Io { doing: "remove what a drill restored", source };
        for name in folder::names(&self.place.folder).map_err(failed)? {
            if name.starts_with(FOLDER_START) {
                folder::remove(&self.place.folder.join(name)).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Tried {
    fn figures(&self) -> BackupFigures {
        BackupFigures {
            findings: self.comparison.differences_total,
            live_same: self.comparison.same,
            live_changed: self.comparison.changed,
            restored_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            ..figures(&self.outcome)
        }
    }
}

/// Keeps to the policy's rate while files of the node are read.
struct Reading<'a> {
    pace: &'a Pace<'a>,
    rate: Option<Rate>,
}

impl compare::Progress for Reading<'_> {
    fn read(&self, bytes: u64) {
        self.pace.verified(bytes);
        if let Some(rate) = &self.rate {
            rate.wait(bytes);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.pace.has_ended()
    }
}
