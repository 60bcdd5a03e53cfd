//! `backup run`: saves what a policy says.

use std::time::Duration;

use campanile_backup::lock::SharedLock;
use campanile_backup::repository::Repository;
use campanile_backup::save::{self, Outcome, Request, SaveError};
use campanile_common::api::{BackupFigures, BackupLine, BackupResult, BackupVerb};

use super::error::{BackupError, chain};
use super::escrow;
use super::hook::Saved;
use super::job::{Job, PROGRAM_TAG, Source};
use super::keep::LetGo;
use super::pace::Pace;
use super::place::{Done, Program, file_time};
use crate::os::group::{self, GroupCommand};
use crate::os::{background, clock, user};

/// Files that are named; the others are counted.
const UNREAD_SHOWN_MAX: usize = 200;
/// How long a command may write.
const COMMAND_DEADLINE: Duration = Duration::from_secs(24 * 3600);

impl Program {
    /// Saves what a policy says; where `only_changes`, makes no snapshot when there are none.
    pub(super) fn save(&self, policy: &str, only_changes: bool) -> Result<Done, BackupError> {
        let job = self.job(policy)?;
        self.confine(&job)?;
        background::stand_back();
        self.started(BackupVerb::Run, Some(&job.name), &job.target);
        let repository = self.open_or_make(&job.target, job.write_limit)?;
        self.see_to_escrow(&job, &repository)?;
        let lock = self.lock(&repository, &job.target)?;
        let pace = Pace::new(self, lock.as_ref());
        let saved =
            self.run_before(&job).and_then(|()| self.save_source(&job, &repository, &pace, only_changes));
        let (result, snapshot) = match &saved {
            Ok(outcome) if outcome.is_partial() => {
                (BackupResult::Partial, Some(outcome.snapshot.to_string()))
            }
            Ok(outcome) => (BackupResult::Ok, Some(outcome.snapshot.to_string())),
            Err(BackupError::Save(SaveError::Unchanged)) => (BackupResult::Ok, None),
            Err(_) if self.is_stopping() => (BackupResult::Stopped, None),
            Err(_) => (BackupResult::Failed, None),
        };
        let is_cleaned_up = self.run_after(&job, Saved { result, snapshot: snapshot.as_deref() });
        let outcome = match saved {
            Err(BackupError::Save(SaveError::Unchanged)) => None,
            saved => Some(saved?),
        };
        outcome.iter().for_each(|outcome| self.tell_unread(outcome));
        // Whoever removes works alone.
        if let Some(Err(error)) = lock.map(SharedLock::release) {
            self.output.problem(chain(&error));
        }
        let let_go = self.keep(&job, &repository);
        let result = if is_cleaned_up {
            result
        } else {
            self.output.problem("the snapshot was made, but a hook after it failed".to_owned());
            BackupResult::Failed
        };
        let figures = figures(outcome.as_ref(), &let_go);
        Ok(Done { result, repository: repository.config().id.to_string(), snapshot, figures })
    }

    /// Whoever is to open the repository can before the first file is in it.
    fn see_to_escrow(&self, job: &Job, repository: &Repository) -> Result<(), BackupError> {
        let path = self.keys()?.path(&job.target, "escrow");
        escrow::ensure(repository, path, &job.escrow, &self.place.node, clock::now())?;
        if job.escrow.is_empty() {
            let warning =
                "the policy names no escrow recipient: when this node is lost, nobody opens its backups";
            self.output.problem(warning.to_owned());
        }
        Ok(())
    }

    fn save_source(
        &self,
        job: &Job,
        repository: &Repository,
        pace: &Pace<'_>,
        only_changes: bool,
    ) -> Result<Outcome, BackupError> {
        let saved = match &job.source {
            Source::Paths(paths) => {
                let mut request = self.request(job, paths.clone());
                request.only_changes = only_changes;
                save::run(repository, &request, pace).map_err(BackupError::from)
            }
            Source::Command { argv, file_name } => self.save_stream(job, repository, pace, argv, file_name),
        };
        match saved {
            Err(BackupError::Save(SaveError::Stopped)) if pace.is_lost() => {
                Err(campanile_backup::lock::LockError::Lost.into())
            }
            saved => saved,
        }
    }

    fn save_stream(
        &self,
        job: &Job,
        repository: &Repository,
        pace: &Pace<'_>,
        argv: &[String],
        file_name: &str,
    ) -> Result<Outcome, BackupError> {
        let request = self.request(job, Vec::new());
        let environment = [("CAMPANILE_POLICY", job.name.to_string())];
        let command = GroupCommand { argv, environment: &environment, deadline: COMMAND_DEADLINE };
        let streamed = group::stream(&command, &|| self.is_stopping(), |stdout, ended_well| {
            save::stream(repository, &request, file_name, stdout, ended_well, pace)
        });
        let command = super::hook::shown(argv);
        let failed = |error: group::GroupError| {
            let result = error.to_string();
            self.output.line(&BackupLine::Hook { when: "command".to_owned(), command, result });
            SaveError::Stream(std::io::Error::other(error))
        };
        Ok(streamed.map_err(failed)??)
    }

    fn request(&self, job: &Job, paths: Vec<std::path::PathBuf>) -> Request {
        let own = user::own();
        let mut request = Request::new(paths, self.place.node.clone(), file_time());
        request.rules = job.rules.clone();
        request.tags = vec![PROGRAM_TAG.to_owned(), job.name.tag()];
        request.label = Some(job.name.to_string());
        request.bytes_per_second = job.read_limit;
        (request.username, request.uid, request.gid) = (own.name, own.uid, own.gid);
        request
    }

    fn tell_unread(&self, outcome: &Outcome) {
        for unread in outcome.unread.iter().take(UNREAD_SHOWN_MAX) {
            let path = unread.path.to_string_lossy().into_owned();
            self.output.line(&BackupLine::Unread { path, why: unread.why.to_string() });
        }
    }
}

fn figures(outcome: Option<&Outcome>, let_go: &LetGo) -> BackupFigures {
    let let_go = BackupFigures {
        forgotten: let_go.snapshots,
        stays: let_go.stays,
        freed_bytes: let_go.bytes,
        ..BackupFigures::default()
    };
    let Some(outcome) = outcome else { return let_go };
    let summary = &outcome.summary;
    BackupFigures {
        files: summary.total_files_processed,
        files_new: summary.files_new,
        files_changed: summary.files_changed,
        files_unchanged: summary.files_unmodified,
        bytes: summary.total_bytes_processed,
        added_bytes: summary.data_added,
        stored_bytes: summary.data_added_packed,
        unread: outcome.unread_count,
        ..let_go
    }
}
