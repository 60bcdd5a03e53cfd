//! One at a time on a node, and on record: saves from their beginning to their end, whoever started them; drills and checks
//! that the schedule started likewise. Of those that an order or a person started the end alone is recorded: they may go on
//! beside a save.

use std::time::Duration;

use campanile_backup::check::Share;
use campanile_common::api::BackupResult;
use campanile_common::backup::PolicyName;
use campanile_common::time::Timestamp;

use super::error::BackupError;
use super::ledger::{Ledger, LedgerError};
use super::place::{Done, Program};
use super::rounds::CheckRun;
use super::runs::{RunEnd, StartedBy};
use super::target::Target;
use crate::os::clock;
use crate::os::folder::Held;
use crate::os::stopwatch::Stopwatch;

/// Held while files are saved: a node saves one policy at a time.
pub const RUN_LOCK_FILE: &str = "run.lock";
/// The steward takes the lock for a moment to see whether somebody has it.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Who started it.
    pub by: StartedBy,
    /// Nothing that changed makes no snapshot.
    pub only_changes: bool,
}

/// A check that came to its end.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) done: Done,
    /// The first thing that is wrong.
    pub(super) finding: Option<String>,
}

/// A file that is none of this node's policies has no schedule and no record.
fn recorded(policy: &str) -> Option<PolicyName> {
    policy.parse().ok().filter(|_| !policy.ends_with(".json"))
}

fn millis(watch: Stopwatch) -> u64 {
    u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Program {
    /// Saves what a policy says, and records that. One that finds another at work leaves no record.
    pub(super) fn run(&self, policy: &str, manner: Manner) -> Result<Done, BackupError> {
        let _held = self.hold_run_lock()?;
        let name = recorded(policy);
        let (ledger, watch) = (Ledger::new(&self.place.folder).patient(), Stopwatch::start());
        let started = clock::now();
        if let Some(name) = &name {
            self.note(ledger.update(|runs| runs.begin(name, manner.by, started)).map(drop));
        }
        let done = self.save(policy, manner.only_changes);
        if let Some(name) = &name {
            let end = self.ending(&done, clock::now(), millis(watch));
            self.note(ledger.update(|runs| runs.finish(name, started, end)).map(drop));
        }
        done
    }

    /// Records a drill. How long it took is how long it was until everything was back and tried.
    pub(super) fn recorded_drill(
        &self,
        policy: &str,
        by: StartedBy,
        drill: impl FnOnce() -> Result<Done, BackupError>,
    ) -> Result<Done, BackupError> {
        let is_scheduled = by == StartedBy::Schedule;
        let _held = is_scheduled.then(|| self.hold_run_lock()).transpose()?;
        let (ledger, watch) = (Ledger::new(&self.place.folder).patient(), Stopwatch::start());
        let (name, started) = (recorded(policy), clock::now());
        if let Some(name) = name.as_ref().filter(|_| is_scheduled) {
            self.note(ledger.update(|runs| runs.begin_drill(name, by, started)).map(drop));
        }
        let done = drill();
        // One that did not begin is none.
        let is_none = matches!(done, Err(BackupError::Busy | BackupError::NoPolicy { .. })) && !is_scheduled;
        if let Some(name) = name.filter(|_| !is_none) {
            let took = done.as_ref().map_or_else(|_| millis(watch), |done| done.figures.restored_ms);
            let end = self.drill_ending(&done, clock::now(), took);
            self.note(
                ledger
                    .update(|runs| {
                        if !is_scheduled {
                            runs.begin_drill(&name, by, started);
                        }
                        runs.finish_drill(&name, started, end);
                    })
                    .map(drop),
            );
        }
        done
    }

    /// Records a check of a repository that is looked after.
    pub(super) fn recorded_check(
        &self,
        target: &Target,
        share: Share,
        by: StartedBy,
        check: impl FnOnce() -> Result<Checked, BackupError>,
    ) -> Result<Done, BackupError> {
        let is_scheduled = by == StartedBy::Schedule;
        let _held = is_scheduled.then(|| self.hold_run_lock()).transpose()?;
        let (ledger, watch) = (Ledger::new(&self.place.folder).patient(), Stopwatch::start());
        let (target, started, (part, of)) = (target.to_string(), clock::now(), share.parts());
        let run = CheckRun { started, by, part, of, end: None, findings: None };
        if is_scheduled {
            let begin = |runs: &mut super::runs::Runs| {
                runs.checks
                    .get_mut(&target)
                    .into_iter()
                    .for_each(|rounds| rounds.begin(part, of, by, started));
            };
            self.note(ledger.update(begin).map(drop));
        }
        let checked = check();
        let findings = checked.as_ref().ok().map(|checked| checked.done.figures.findings);
        let end = self.check_ending(&checked, clock::now(), millis(watch));
        self.note(
            ledger
                .update(|runs| {
                    let Some(rounds) = runs.checks.get_mut(&target) else { return };
                    if !is_scheduled {
                        rounds.begin(part, of, by, started);
                    }
                    rounds.finish(&run, end, findings);
                })
                .map(drop),
        );
        checked.map(|checked| checked.done)
    }

    fn hold_run_lock(&self) -> Result<Held, BackupError> {
        self.hold_within(RUN_LOCK_FILE, LOCK_PATIENCE)
    }

    /// What was saved counts, whether there is a record of it or not.
    fn note(&self, written: Result<(), LedgerError>) {
        if let Err(error) = written {
            self.output.problem(error.to_string());
        }
    }

    fn drill_ending(&self, done: &Result<Done, BackupError>, time: Timestamp, duration_ms: u64) -> RunEnd {
        let end = self.ending(done, time, duration_ms);
        let Ok(Done { result: BackupResult::Failed, figures, .. }) = done else { return end };
        let detail = match (figures.unread, figures.findings) {
            (0, 0) => "everything was restored, but the policy's own check found it wrong".to_owned(),
            (0, count) => format!(
                "{count} files are not as the snapshot says: `campanile-agent backup drill` names them"
            ),
            (count, _) => format!("{count} files could not be restored as they should"),
        };
        RunEnd { detail, ..end }
    }

    fn check_ending(
        &self,
        checked: &Result<Checked, BackupError>,
        time: Timestamp,
        duration_ms: u64,
    ) -> RunEnd {
        let (result, detail) = match checked {
            Ok(checked) => (checked.done.result, checked.finding.clone().unwrap_or_default()),
            Err(error) if error.is_stop() || self.is_stopping() => {
                (BackupResult::Stopped, "it was told to stop".to_owned())
            }
            Err(error) => (BackupResult::Failed, error.line()),
        };
        RunEnd { time, result, snapshot: None, duration_ms, detail }
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
