//! Ends of runs: recorded before anybody hears of them, as often as it takes.

use std::time::Duration;

use campanile_common::api::AuditOutcome;
use campanile_common::authority::RunId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::{AuditPosition, Outcome, RunResult};

use rustix::process::Pid;

use super::{Orders, Run, target};
use crate::os::process_tree;
use crate::os::stopwatch::Stopwatch;
use crate::steward::audit::Act;
use crate::steward::execute::{Ended, GuardEnd};
use crate::steward::journal::ending;
use crate::steward::output::KeptOutput;

/// How long orphans of a guard that was killed are waited for: the steward does nothing else meanwhile.
const ORPHAN_PATIENCE: Duration = Duration::from_millis(500);
/// Most of what a guard's starter said that goes into an outcome.
const REASON_BYTES_MAX: usize = 512;
/// How long after a failure the disk is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A run that has ended and is to be recorded.
#[derive(Debug)]
pub(super) struct Ending {
    outcome: Outcome,
    output: KeptOutput,
    actor: String,
    /// Its entry, once it is in the audit chain.
    audit: Option<AuditPosition>,
}

impl Ending {
    pub(super) fn new(
        run: RunId,
        result: RunResult,
        started: Option<Timestamp>,
        finished: Timestamp,
        output: KeptOutput,
        actor: String,
    ) -> Self {
        let (output_bytes, output_kept) = (output.written(), output.kept());
        let outcome =
            Outcome { run, result, started, finished, output_bytes, output_kept, journal: None, audit: None };
        Self { outcome, output, actor, audit: None }
    }

    fn act(&self) -> Act {
        let (outcome, detail) = describe(&self.outcome.result);
        let detail = format!("{detail}, {} bytes of output", self.outcome.output_bytes);
        let (actor, target) = (self.actor.clone(), target(self.outcome.run));
        Act { actor, action: "order.finished", target, outcome, detail }
    }
}

fn describe(result: &RunResult) -> (AuditOutcome, String) {
    let failed = |detail: String| (AuditOutcome::Failed, detail);
    match result {
        RunResult::Exited { code: 0 } => (AuditOutcome::Ok, "exit code 0".to_owned()),
        RunResult::Exited { code } => failed(format!("exit code {code}")),
        RunResult::Signalled { signal } => failed(format!("ended by signal {signal}")),
        RunResult::TimedOut => failed("timed out".to_owned()),
        RunResult::Cancelled => failed("cancelled".to_owned()),
        RunResult::Failed { reason } => failed(format!("failed: {reason}")),
        RunResult::Denied(denial) => (AuditOutcome::Denied, denial.to_string()),
        RunResult::Indeterminate { reason } => failed(format!("indeterminate: {reason}")),
        RunResult::Unknown => failed("unknown".to_owned()),
    }
}

impl Orders {
    /// Records what has ended since. `others` are guards of this process that run no order.
    pub(in crate::steward) fn finish(&mut self, others: &[Pid], now: Timestamp) {
        let over: Vec<RunId> =
            self.runs.iter_mut().filter_map(|(run, state)| state.guarded.is_over().then_some(*run)).collect();
        for run in over {
            let Some(state) = self.runs.remove(&run) else { continue };
            if matches!(state.guarded.ended(), Ended::Silent | Ended::NeverBegan) {
                self.end_orphans(others);
            }
            let result = self.result_of(&state);
            let started = Some(state.started);
            self.unrecorded.push(Ending::new(run, result, started, now, state.output, state.actor));
        }
        self.record_endings(now);
    }

    /// True while something is to be looked at again soon, without any descriptor telling.
    pub(in crate::steward) fn is_pressed(&self) -> bool {
        self.runs.values().any(|run| run.guarded.is_ending())
    }

    /// True while an outcome waits for the disk.
    pub(in crate::steward) fn has_unrecorded(&self) -> bool {
        !self.unrecorded.is_empty()
    }

    /// A guard was killed: what was beneath it is beneath this process now.
    fn end_orphans(&self, others: &[Pid]) {
        let mut guards: Vec<Pid> = self.runs.values().filter_map(|run| run.guarded.pid()).collect();
        guards.extend(others);
        let reap = || process_tree::reap_orphans(&guards);
        if !process_tree::kill_descendants(&guards, ORPHAN_PATIENCE, reap) {
            tracing::error!("processes of an order are left: they hang in the kernel");
        }
    }

    fn result_of(&self, state: &Run) -> RunResult {
        let failed = |reason: &str| RunResult::Failed { reason: reason.to_owned() };
        match state.guarded.ended() {
            Ended::Told(GuardEnd::Exited { code }) => RunResult::Exited { code },
            Ended::Told(GuardEnd::Signalled { signal }) => RunResult::Signalled { signal },
            Ended::Told(GuardEnd::TimedOut) => RunResult::TimedOut,
            Ended::Told(GuardEnd::Stopped) if state.is_cancelled => RunResult::Cancelled,
            Ended::Told(GuardEnd::Stopped) => failed("stopped, because the steward was"),
            Ended::Told(GuardEnd::NotStarted { reason }) => RunResult::Failed { reason },
            Ended::Unclean => RunResult::Indeterminate {
                reason: "something that it started hangs in the kernel and could not be ended".to_owned(),
            },
            Ended::NeverBegan => {
                let said = state.output.chunk(0).map(|chunk| chunk.bytes).unwrap_or_default();
                let said = String::from_utf8_lossy(&said[..said.len().min(REASON_BYTES_MAX)]).into_owned();
                failed(&format!("its guard ended before it was started: {}", said.trim()))
            }
            Ended::Silent => RunResult::Indeterminate {
                reason: "its guard was killed, and all that was beneath it".to_owned(),
            },
        }
    }

    /// Tries to record what has ended; what cannot be recorded stays and is not told.
    pub(in crate::steward) fn record_endings(&mut self, now: Timestamp) {
        if self.refused_by_disk.is_some_and(|watch| watch.elapsed() < RETRY_INTERVAL) {
            return;
        }
        self.refused_by_disk = None;
        for mut ending in std::mem::take(&mut self.unrecorded) {
            if let Err(error) = self.record(&mut ending, now) {
                tracing::error!(run = %ending.outcome.run, error, "an outcome cannot be recorded; tried again");
                self.unrecorded.push(ending);
                self.refused_by_disk = Some(Stopwatch::start());
            }
        }
    }

    fn record(&mut self, state: &mut Ending, now: Timestamp) -> Result<(), String> {
        let run = state.outcome.run;
        let audit = match state.audit {
            Some(position) => Some(position),
            // A chain that takes nothing must not keep an outcome from whoever waits for it.
            None if self.audit.failure().is_some() => None,
            None => Some(self.audit.append(now, vec![state.act()]).map_err(|error| error.to_string())?),
        };
        state.audit = audit;
        let journal = self.journal.as_mut().map_err(|error| error.clone())?;
        let chunks: Vec<_> = state.output.chunks().collect();
        let mut outcome = state.outcome.clone();
        outcome.audit = audit;
        outcome.journal = Some(journal.position_after(chunks.len() + 1));
        journal.append(&ending(outcome, chunks.into_iter())).map_err(|error| error.to_string())?;
        journal.release(run);
        tracing::info!(%run, result = ?state.outcome.result, "order finished");
        Ok(())
    }

    /// What ran when the steward last ended: how far it came is not known.
    pub(super) fn end_interrupted(&mut self) {
        let Ok(journal) = &self.journal else { return };
        let now = self.opened;
        let endings = journal.unfinished().into_iter().map(|run| {
            let reason = "the steward ended while it ran".to_owned();
            let started = journal.known(run).and_then(|known| known.started);
            let result = RunResult::Indeterminate { reason };
            Ending::new(run, result, started, now, KeptOutput::default(), "local".to_owned())
        });
        self.unrecorded.extend(endings);
    }

    /// Takes no more orders and has everything stopped.
    pub(in crate::steward) fn stop(&mut self) {
        self.is_stopping = true;
        self.runs.values().for_each(|run| run.guarded.stop());
    }
}
