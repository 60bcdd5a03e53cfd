//! The program `campanile-agent backup`: does one thing, says how it ended, and what its exit code is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use campanile_backup::check::Share;
use campanile_common::api::{BackupFigures, BackupLine, BackupResult, BackupVerb};

use super::dump::Dumped;
use super::error::BackupError;
use super::foreign::Foreign;
use super::output::Output;
use super::place::{Done, Of, Place, Program};
use super::record::Manner;
use super::restore::Wanted;
use super::runs::StartedBy;
use crate::os::termination;

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Work {
    /// Save what a policy says: its name, or its file.
    Run(String, Manner),
    /// List snapshots.
    List(Of),
    /// List the files of a snapshot: all of them, or one with what is below it.
    Files(Of, String, Option<PathBuf>),
    /// List what differs between two snapshots.
    Diff(Of, String, String),
    /// Restore files.
    Restore(Of, Wanted),
    /// Restore files that another node saved.
    RestoreFrom(Foreign, Wanted),
    /// Print a file, encrypted.
    Dump(Of, Dumped),
    /// Verify a repository.
    Check(Of, Share, StartedBy),
    /// Restore a policy's newest snapshot on trial.
    Drill(String, StartedBy),
    /// Show who can open a repository.
    Key(Of),
}

impl Work {
    const fn verb(&self) -> BackupVerb {
        match self {
            Self::Run(..) => BackupVerb::Run,
            Self::List(_) => BackupVerb::List,
            Self::Files(..) => BackupVerb::Files,
            Self::Diff(..) => BackupVerb::Diff,
            Self::Restore(..) | Self::RestoreFrom(..) => BackupVerb::Restore,
            Self::Dump(..) => BackupVerb::Dump,
            Self::Check(..) => BackupVerb::Check,
            Self::Drill(..) => BackupVerb::Drill,
            Self::Key(_) => BackupVerb::Key,
        }
    }

    fn policy(&self) -> Option<&str> {
        match self {
            Self::Run(policy, _) | Self::Drill(policy, _) => Some(policy),
            Self::RestoreFrom(from, _) => Some(from.policy.as_str()),
            Self::List(of)
            | Self::Files(of, ..)
            | Self::Diff(of, ..)
            | Self::Restore(of, _)
            | Self::Dump(of, _)
            | Self::Check(of, ..)
            | Self::Key(of) => of.policy.as_deref(),
        }
    }

    /// Whether it ends by itself when it is to stop. Others change nothing, and the signal ends them.
    const fn is_cleaned_up(&self) -> bool {
        matches!(self, Self::Run(..) | Self::Restore(..) | Self::RestoreFrom(..) | Self::Drill(..))
    }
}

/// Does it and prints lines; the exit code.
pub fn run(work: &Work, place: Place) -> u8 {
    let output = if matches!(work, Work::Dump(..)) { Output::beside() } else { Output::standard() };
    let stop = if work.is_cleaned_up() { termination::flag() } else { Ok(Arc::new(AtomicBool::new(false))) };
    let program = match stop {
        Ok(stop) => Program::new(place, output, stop),
        Err(error) => {
            output.problem(format!("cannot listen to signals: {error}"));
            return BackupResult::Failed.exit_code();
        }
    };
    let done = match work {
        Work::Run(policy, manner) => program.run(policy, *manner),
        Work::List(of) => program.list(of),
        Work::Files(of, snapshot, path) => program.files(of, snapshot, path.as_deref()),
        Work::Diff(of, before, after) => program.diff(of, before, after),
        Work::Restore(of, wanted) => program.restore(of, wanted),
        Work::RestoreFrom(from, wanted) => program.restore_from(from, wanted),
        Work::Dump(of, dumped) => program.dump(of, dumped),
        Work::Check(of, share, by) => program.check(of, *share, *by),
        Work::Drill(policy, by) => program.drill(policy, *by),
        Work::Key(of) => program.key(of),
    };
    let done = done.map_err(|error| program.failed(&error));
    program.finished(work, done)
}

impl Program {
    fn failed(&self, error: &BackupError) -> BackupResult {
        if error.is_stop() || self.is_stopping() {
            return BackupResult::Stopped;
        }
        self.output.problem(error.line());
        BackupResult::Failed
    }

    fn finished(&self, work: &Work, done: Result<Done, BackupResult>) -> u8 {
        let (result, repository, snapshot, figures) = match done {
            Ok(Done { result, repository, snapshot, figures }) => {
                (result, Some(repository), snapshot, figures)
            }
            Err(result) => (result, None, None, BackupFigures::default()),
        };
        self.output.line(&BackupLine::Finished {
            verb: work.verb(),
            policy: work.policy().map(str::to_owned),
            result,
            repository,
            snapshot,
            duration_ms: u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX),
            figures,
        });
        result.exit_code()
    }
}
