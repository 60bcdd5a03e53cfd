//! `backup run`: one at a time on a node, and on record from its beginning to its end, whoever started it.

use std::time::Duration;

use campanile_common::api::BackupResult;
use campanile_common::backup::PolicyName;
use campanile_common::time::Timestamp;

use super::error::BackupError;
use super::ledger::{Ledger, LedgerError};
use super::place::{Done, Program};
use super::runs::{RunEnd, StartedBy};
use crate::os::clock;
use crate::os::folder::Held;
use crate::os::stopwatch::{Stopwatch, pause};

/// Held while files are saved: a node saves one policy at a time.
pub const RUN_LOCK_FILE: &str = "run.lock";
/// The steward takes the lock for a moment to see whether somebody has it.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Who started it.
    pub by: StartedBy,
    /// Nothing that changed makes no snapshot.
    pub only_changes: bool,
}

impl Program {
    /// Saves what a policy says, and records that. One that finds another at work leaves no record.
    pub(super) fn run(&self, policy: &str, manner: Manner) -> Result<Done, BackupError> {
        let _held = self.hold_run_lock()?;
        // A file that is none of this node's policies has no schedule and no record.
        let name: Option<PolicyName> = policy.parse().ok().filter(|_| !policy.ends_with(".json"));
        let (ledger, watch) = (Ledger::new(&self.place.folder).patient(), Stopwatch::start());
        let started = clock::now();
        if let Some(name) = &name {
            self.note(ledger.update(|runs| runs.begin(name, manner.by, started)).map(drop));
        }
        let done = self.save(policy, manner.only_changes);
        if let Some(name) = &name {
            let duration_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
            let end = self.ending(&done, clock::now(), duration_ms);
            self.note(ledger.update(|runs| runs.finish(name, started, end)).map(drop));
        }
        done
    }

    fn hold_run_lock(&self) -> Result<Held, BackupError> {
        let watch = Stopwatch::start();
        loop {
            match self.hold(RUN_LOCK_FILE) {
                Err(BackupError::Busy) if watch.elapsed() < LOCK_PATIENCE => pause(LOCK_INTERVAL),
                held => return held,
            }
        }
    }

    /// What was saved counts, whether there is a record of it or not.
    fn note(&self, written: Result<(), LedgerError>) {
        if let Err(error) = written {
            self.output.problem(error.to_string());
        }
    }

    fn ending(&self, done: &Result<Done, BackupError>, time: Timestamp, duration_ms: u64) -> RunEnd {
        let (result, snapshot, detail) = match done {
            Ok(done) => {
                let detail = match done.result {
                    BackupResult::Ok => String::new(),
                    BackupResult::Partial => {
                        format!("{} files could not be read as they should", done.figures.unread)
                    }
                    BackupResult::Failed => "the snapshot was made, but a hook after it failed".to_owned(),
                    BackupResult::Stopped => "it was told to stop".to_owned(),
                };
                (done.result, done.snapshot.clone(), detail)
            }
            Err(error) if error.is_stop() || self.is_stopping() => {
                (BackupResult::Stopped, None, "it was told to stop".to_owned())
            }
            Err(error) => (BackupResult::Failed, None, error.line()),
        };
        RunEnd { time, result, snapshot, duration_ms, detail }
    }
}
