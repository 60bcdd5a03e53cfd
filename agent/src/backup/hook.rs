//! Commands that run around a save: before it, after it whatever became of it, and those whose output is saved.

use campanile_common::api::{BackupLine, BackupResult};

use super::error::BackupError;
use super::job::Job;
use super::place::Program;
use crate::os::group::{self, GroupCommand, GroupError};

/// How a save went, for hooks that follow it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saved<'a> {
    pub(super) result: BackupResult,
    pub(super) snapshot: Option<&'a str>,
}

/// A command line for people.
pub(super) fn shown(argv: &[String]) -> String {
    argv.join(" ")
}

impl Program {
    /// Runs the hooks before a save; the first that fails ends it.
    pub(super) fn run_before(&self, job: &Job) -> Result<(), BackupError> {
        for argv in &job.before {
            self.run_hook(job, "before", argv, &[])
                .map_err(|error| BackupError::Hook { command: shown(argv), why: error.to_string() })?;
        }
        Ok(())
    }

    /// Runs all hooks after a save, in their order; true when each went well.
    pub(super) fn run_after(&self, job: &Job, saved: Saved<'_>) -> bool {
        let mut environment = vec![("CAMPANILE_RESULT", saved.result.as_str().to_owned())];
        environment.extend(saved.snapshot.map(|id| ("CAMPANILE_SNAPSHOT", id.to_owned())));
        let run = |argv: &[String]| self.run_hook(job, "after", argv, &environment).is_ok();
        // Each of them, also after one that failed.
        job.after.iter().filter(|argv| !run(argv)).count() == 0
    }

    /// Runs one hook and says how it went. Those after a save run when the program is to stop, too.
    pub(super) fn run_hook(
        &self,
        job: &Job,
        when: &str,
        argv: &[String],
        more: &[(&str, String)],
    ) -> Result<(), GroupError> {
        let mut environment = vec![("CAMPANILE_POLICY", job.name.to_string())];
        environment.extend_from_slice(more);
        let command = GroupCommand { argv, environment: &environment, deadline: job.hook_timeout };
        let is_stopping = || when != "after" && self.is_stopping();
        let ran = group::run(&command, &is_stopping);
        let result = ran.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned());
        self.output.line(&BackupLine::Hook { when: when.to_owned(), command: shown(argv), result });
        ran
    }
}
