//! What the journal's records add up to. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::authority::RunId;
use campanile_common::id::{Digest, OrderId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::Outcome;

use super::record::{Record, StandingMemory};

/// How long after its order's expiry a run is remembered: clocks are an hour off at times, and questions come late.
const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(86_400);

/// Where in the file a frame begins.
pub(super) type Place = u64;

/// A run that this node has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::steward) struct KnownRun {
    /// Digest of its order's bytes.
    pub(in crate::steward) digest: Digest,
    /// When the order expires.
    pub(in crate::steward) expires: Timestamp,
    /// When it was started.
    pub(in crate::steward) started: Option<Timestamp>,
    /// How it ended, once it has.
    pub(in crate::steward) finished: Option<FinishedRun>,
}

impl KnownRun {
    /// True when it has ended and the aggregator has not its outcome yet.
    pub(in crate::steward) fn is_unreported(&self) -> bool {
        self.finished.as_ref().is_some_and(|finished| !finished.is_reported)
    }
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::steward) struct FinishedRun {
    /// How.
    pub(in crate::steward) outcome: Outcome,
    /// Where its output is; none when it has been forgotten or there was none.
    pub(super) output: Option<Place>,
    /// The aggregator has the outcome.
    pub(super) is_reported: bool,
}

/// Everything that is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Index {
    pub(super) runs: BTreeMap<RunId, KnownRun>,
    pub(super) standing: BTreeMap<OrderId, StandingMemory>,
    /// Orders that expire no later than this are forgotten.
    pub(super) forgotten: Timestamp,
}

impl Index {
    /// Takes the records of one frame.
    pub(super) fn apply(&mut self, records: &[Record], place: Place) {
        let mut output = None;
        for record in records {
            match record {
                Record::Received { run, digest, expires } => self.receive(*run, *digest, *expires),
                Record::Started { run, time } => {
                    if let Some(known) = self.runs.get_mut(run) {
                        known.started = Some(*time);
                    }
                }
                Record::Output(_) => output = Some(place),
                Record::Finished(outcome) => {
                    let output = output.take();
                    if let Some(known) = self.runs.get_mut(&outcome.run) {
                        let outcome = outcome.clone();
                        known.finished = Some(FinishedRun { outcome, output, is_reported: false });
                    }
                }
                Record::Reported(run) => {
                    if let Some(finished) = self.runs.get_mut(run).and_then(|known| known.finished.as_mut()) {
                        finished.is_reported = true;
                        finished.output = None;
                    }
                }
                Record::Forgotten(until) => self.forgotten = self.forgotten.max(*until),
                Record::Standing { order, memory } => {
                    self.standing.insert(*order, *memory);
                }
            }
        }
    }

    fn receive(&mut self, run: RunId, digest: Digest, expires: Timestamp) {
        self.runs.insert(run, KnownRun { digest, expires, started: None, finished: None });
        let Some(due) = run.occurrence else { return };
        let first = StandingMemory { digest, expires, last_due: due, runs: 0 };
        let memory = self.standing.entry(run.order).or_insert(first);
        // A carried run counts in the carried memory already.
        if memory.runs == 0 || due > memory.last_due {
            memory.runs = memory.runs.saturating_add(1);
            memory.last_due = memory.last_due.max(due);
        }
    }

    /// Forgets what need not be known at `now`; true when something was.
    pub(super) fn forget(&mut self, now: Timestamp) -> bool {
        let before = (self.runs.len(), self.standing.len());
        let is_over = |expires: Timestamp| now >= expires + KEPT_AFTER_EXPIRY;
        let mut forgotten = self.forgotten;
        self.runs.retain(|run, known| {
            let Some(finished) = &known.finished else { return true };
            let is_kept = match run.occurrence {
                None => !is_over(known.expires),
                // A standing order lives long; its memory says which of its runs are over.
                Some(_) => {
                    let is_settled = finished.is_reported && is_over(finished.outcome.finished);
                    !is_over(known.expires) && !is_settled
                }
            };
            if !is_kept && run.occurrence.is_none() {
                forgotten = forgotten.max(known.expires);
            }
            is_kept
        });
        self.standing.retain(|_, memory| {
            let is_kept = !is_over(memory.expires);
            if !is_kept {
                forgotten = forgotten.max(memory.expires);
            }
            is_kept
        });
        self.forgotten = forgotten;
        before != (self.runs.len(), self.standing.len())
    }

    /// Runs that were accepted and have not ended.
    pub(super) fn unfinished(&self) -> Vec<RunId> {
        self.runs.iter().filter(|(_, known)| known.finished.is_none()).map(|(run, _)| *run).collect()
    }
}
