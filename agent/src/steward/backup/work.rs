//! What may run by schedule: a save, a drill, a check of a share; and how each is found in the record. Pure.

use campanile_common::authority::BackupAction;
use campanile_common::backup::PolicyName;
use campanile_common::time::Timestamp;

use crate::backup::rounds::CheckRun;
use crate::backup::runs::{Run, RunEnd, Runs, StartedBy};

/// One thing that is done for a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// Saves it; where `only_changes`, makes no snapshot of nothing new.
    Save { only_changes: bool },
    /// Restores it on trial.
    Drill,
    /// Decrypts a share of its repository, which others may share.
    Check { target: String, part: u8, of: u8 },
}

/// An entry of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trace {
    Run(Run),
    Check(CheckRun),
}

impl Trace {
    /// How it ended.
    pub(super) fn into_end(self) -> Option<RunEnd> {
        match self {
            Self::Run(run) => run.end,
            Self::Check(run) => run.end,
        }
    }
}

impl Work {
    /// In a word.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Save { .. } => "run",
            Self::Drill => "drill",
            Self::Check { .. } => "check",
        }
    }

    /// The same as an order says it.
    pub(super) fn action(&self, policy: &PolicyName) -> BackupAction {
        let policy = policy.clone();
        match self {
            Self::Save { .. } => BackupAction::Run { policy },
            Self::Drill => BackupAction::Drill { policy },
            Self::Check { part, of, .. } => BackupAction::Check { policy, part: *part, of: *of },
        }
    }

    /// What an order does not say.
    pub(super) const fn flags(&self) -> &'static [&'static str] {
        match self {
            Self::Save { only_changes: true } => &["--scheduled", "--if-changed"],
            Self::Save { only_changes: false } | Self::Drill | Self::Check { .. } => &["--scheduled"],
        }
    }

    /// The last of its kind that is on record.
    pub(super) fn trace(&self, runs: &Runs, policy: &PolicyName) -> Option<Trace> {
        match self {
            Self::Save { .. } => runs.policies.get(policy)?.last().cloned().map(Trace::Run),
            Self::Drill => runs.drills.get(policy)?.last().cloned().map(Trace::Run),
            Self::Check { target, .. } => runs.checks.get(target)?.runs.last().cloned().map(Trace::Check),
        }
    }

    /// Records one that was never at work.
    pub(super) fn record_failure(&self, runs: &mut Runs, policy: &PolicyName, end: RunEnd, now: Timestamp) {
        let by = StartedBy::Schedule;
        match self {
            Self::Save { .. } => {
                runs.begin(policy, by, now);
                runs.finish(policy, now, end);
            }
            Self::Drill => {
                runs.begin_drill(policy, by, now);
                runs.finish_drill(policy, now, end);
            }
            Self::Check { target, part, of } => {
                let Some(rounds) = runs.checks.get_mut(target) else { return };
                let run = CheckRun { started: now, by, part: *part, of: *of, end: None, findings: None };
                rounds.begin(*part, *of, by, now);
                rounds.finish(&run, end, None);
            }
        }
    }
}
