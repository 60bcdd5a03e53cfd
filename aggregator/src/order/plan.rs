//! What happens next with an order: whom it is sent to, whose silence is final, what is left out. Pure: facts and the
//! time in, a [`Step`] out.
//!
//! A target begins `Waiting`; it is `Sent` from before the first delivery, `Running` once it is in the node's journal,
//! and `Ended` with its outcome. One without a word in time is `Silent`, and stays open for a late outcome until a
//! day after the order expired. Deadlines count time since the aggregator's start, so that a wall clock that jumps
//! silences nobody; only the order's own validity goes by the wall clock. A node at work that is out of reach is silent
//! soon, unless it may have cut itself off by what it applies: then it is waited for until it has undone that.
//!
//! Invariants: never more at work than `parallel` or one batch; past `max_fail` nothing is started; `Start` is never
//! asked for again after the node has said that it has the run, nor after it expired or was withdrawn.

mod settled;
mod step;
mod wave;

use std::time::Duration;

use campanile_common::api::{OrderState, TargetCounts, TargetState};
use campanile_common::backoff;
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::DeliveryMode;

pub(super) use settled::Settled;

use super::count::count;

/// Longest wait for a node to say that it has the run, and for an absent one to come back.
pub(super) const WORD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a node may take, once its window to confirm is over, until all that it changed is as it was.
const UNDO_GRACE: Duration = Duration::from_secs(30);
/// Beyond its own timeout, how long a run may take to be reported.
pub(super) const REPORT_GRACE: Duration = Duration::from_secs(30);
/// How long after its expiry an order stays open for late outcomes.
pub(super) const LATE_OUTCOME: Duration = Duration::from_secs(86_400);
/// First wait after a delivery that broke while the node stayed connected; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A broken delivery is reported within this after its session went.
const ORPHAN: Duration = Duration::from_secs(3);

/// Now, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since the aggregator started.
    pub(super) up: Duration,
    /// By the wall clock.
    pub(super) wall: Timestamp,
}

/// Whether a node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contact {
    /// It has a session.
    Here {
        /// Its agent takes orders.
        takes_orders: bool,
        /// Another delivery fits.
        has_room: bool,
        /// Its health, 0 to 100.
        score: Option<u8>,
    },
    /// It has none.
    Gone {
        /// Since when.
        since: Duration,
    },
}

/// How an order is to be spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// Most at work at once.
    pub(super) parallel: Option<u32>,
    /// Targets of one batch.
    pub(super) batch: Option<u32>,
    /// Failures up to which it goes on.
    pub(super) max_fail: Option<u32>,
    /// How many targets are reached at the end of each wave; empty for no waves.
    pub(super) waves: Vec<usize>,
    /// How long those of a wave must be well before the next begins.
    pub(super) wave_pause: Duration,
    /// Absent nodes get it when they come back.
    pub(super) queue: bool,
    /// Not started before.
    pub(super) not_before: Timestamp,
    /// Not started from here on.
    pub(super) expires: Timestamp,
    /// Longest time of one run.
    pub(super) timeout: Duration,
    /// How long a node that is at work may be out of reach: [`WORD_TIMEOUT`], or [`until_undone`].
    pub(super) absence: Duration,
}

/// How long a node is waited for that may have cut itself off: by then it has undone the change, when its window to
/// confirm it was over, and has dialled again even after its longest wait.
pub(super) const fn until_undone(confirm_within: Duration) -> Duration {
    confirm_within.saturating_add(UNDO_GRACE).saturating_add(backoff::WAIT_MAX).saturating_add(WORD_TIMEOUT)
}

/// Where one target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Sent {
        at: Duration,
    },
    Running {
        at: Duration,
    },
    /// Without a word, but one may still come.
    Silent,
    Ended(TargetState),
}

/// One target.
#[derive(Debug, Clone)]
pub(super) struct Target {
    node: NodeId,
    phase: Phase,
    /// A delivery was begun, so the node may have it.
    was_sent: bool,
    /// It was sent before a restart: nobody remembers whether the node said that it has it.
    is_from_before: bool,
    /// Absent, to be reached when it comes back.
    is_queued: bool,
    delivery: Option<DeliveryMode>,
    /// Its session went while a delivery was under way: that delivery's end is not the next one's.
    orphaned: Option<Duration>,
    /// The node went away since it was sent.
    was_gone: bool,
    retry_at: Duration,
    retries: u32,
    /// Its part of the splay.
    begin: Timestamp,
    /// Its health when it was started.
    score: Option<u8>,
    /// It took back what the run changed.
    has_reverted: bool,
}

/// What is to be done next.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct Step {
    /// Deliver to these targets.
    pub(super) deliver: Vec<(usize, DeliveryMode)>,
    /// These have come to an end.
    pub(super) settled: Vec<(usize, Settled)>,
    /// Look again then at the latest.
    pub(super) look_at: Option<Duration>,
}

/// An order on its way through its targets.
#[derive(Debug, Clone)]
pub(super) struct Course {
    rules: Rules,
    targets: Vec<Target>,
    is_proposed: bool,
    is_withdrawn: bool,
    gate: wave::Gate,
}

/// What is known of a target from before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// A delivery may have been begun.
    pub(super) was_sent: bool,
    /// How it ended, if it is known.
    pub(super) state: Option<TargetState>,
}

impl Course {
    /// An order at its beginning, or where its records left it. `begin` is each target's part of the splay.
    pub(super) fn new(
        rules: Rules,
        targets: impl IntoIterator<Item = (NodeId, Known, Timestamp)>,
        is_proposed: bool,
        is_withdrawn: bool,
        up: Duration,
    ) -> Self {
        let targets = targets.into_iter().map(|(node, known, begin)| Target {
            node,
            phase: match known.state {
                Some(TargetState::Silent) if known.was_sent => Phase::Silent,
                Some(state) => Phase::Ended(state),
                None if known.was_sent => Phase::Sent { at: up },
                None => Phase::Waiting,
            },
            was_sent: known.was_sent,
            is_from_before: known.was_sent,
            is_queued: false,
            delivery: None,
            orphaned: None,
            was_gone: true,
            retry_at: Duration::ZERO,
            retries: 0,
            begin,
            score: None,
            has_reverted: false,
        });
        let targets: Vec<Target> = targets.collect();
        let gate = wave::Gate::new(&rules.waves, &targets);
        Self { rules, targets, is_proposed, is_withdrawn, gate }
    }

    /// What a target shows.
    pub(super) fn state(&self, index: usize) -> TargetState {
        self.targets[index].state()
    }

    /// What all of them show.
    pub(super) fn states(&self) -> impl Iterator<Item = TargetState> {
        self.targets.iter().map(Target::state)
    }

    /// To which of them it was sent.
    pub(super) fn sent(&self) -> impl Iterator<Item = bool> {
        self.targets.iter().map(|target| target.was_sent)
    }

    /// Its targets, counted.
    pub(super) fn counts(&self) -> TargetCounts {
        count(self.states())
    }

    /// The order as a whole. A withdrawn one is cancelled when nothing of it is at work any more.
    pub(super) fn order_state(&self) -> OrderState {
        if self.is_proposed {
            OrderState::Proposed
        } else if self.counts().pending > 0 {
            OrderState::Running
        } else if self.is_withdrawn {
            OrderState::Cancelled
        } else {
            OrderState::Done
        }
    }

    /// True when no target took back what the run changed, and none that may have the run gave no word.
    pub(super) fn is_known_to_be_harmless(&self) -> bool {
        let is_in_doubt = |target: &Target| target.was_sent && target.state() == TargetState::Silent;
        !self.targets.iter().any(|target| target.has_reverted || is_in_doubt(target))
    }

    /// True while there is anything left to do or to hear.
    pub(super) fn is_open(&self) -> bool {
        self.targets.iter().any(|target| !matches!(target.phase, Phase::Ended(_)))
    }

    /// True when all that is left is to hear of silent targets.
    pub(super) fn is_listening(&self) -> bool {
        self.is_open()
            && self.targets.iter().all(|target| matches!(target.phase, Phase::Ended(_) | Phase::Silent))
    }

    /// True when a delivery to the target is under way.
    pub(super) fn is_under_way(&self, index: usize) -> bool {
        self.targets[index].delivery.is_some()
    }

    /// Enough operators have signed.
    pub(super) fn approve(&mut self) {
        self.is_proposed = false;
    }

    /// Nothing of it is started from now on.
    pub(super) fn withdraw(&mut self) {
        self.is_withdrawn = true;
    }

    /// Late outcomes are no longer waited for.
    pub(super) fn stop_listening(&mut self) {
        for target in &mut self.targets {
            if target.phase == Phase::Silent {
                target.phase = Phase::Ended(TargetState::Silent);
            }
        }
    }

    /// The node says that it has the run. True when that changes what the target shows.
    pub(super) fn received(&mut self, index: usize, now: Moment) -> bool {
        let target = &mut self.targets[index];
        let is_new = matches!(target.phase, Phase::Sent { .. });
        if is_new {
            target.phase = Phase::Running { at: now.up };
            (target.is_queued, target.retries) = (false, 0);
        }
        is_new
    }

    /// What the run is about is on its way to the node.
    pub(super) fn preparing(&mut self, index: usize, now: Moment) {
        if let Phase::Sent { at } = &mut self.targets[index].phase {
            *at = now.up;
        }
    }

    /// The run's end. False when it was known already.
    pub(super) fn ended(&mut self, index: usize, state: TargetState) -> bool {
        let target = &mut self.targets[index];
        (target.delivery, target.orphaned) = (None, None);
        let is_new = target.was_sent
            && !matches!(
                target.phase,
                Phase::Ended(TargetState::Ok | TargetState::Failed | TargetState::Denied)
            );
        if is_new {
            (target.phase, target.is_queued) = (Phase::Ended(state), false);
        }
        is_new
    }

    /// Asked to report, the node knows nothing of the run: it was never started.
    pub(super) fn unknown(&mut self, index: usize, now: Moment) -> Option<Settled> {
        let target = &mut self.targets[index];
        (target.delivery, target.orphaned) = (None, None);
        let settled = match target.phase {
            Phase::Waiting | Phase::Ended(_) => return None,
            // It was to be started in time and was not; it is not started any more.
            Phase::Silent => {
                target.phase = Phase::Ended(TargetState::Silent);
                return None;
            }
            Phase::Running { .. } => Settled::Forgotten,
            Phase::Sent { .. } if self.is_withdrawn => Settled::Withdrawn,
            Phase::Sent { .. } if now.wall >= self.rules.expires => Settled::Expired,
            Phase::Sent { .. } => {
                (target.phase, target.was_sent, target.is_from_before) = (Phase::Waiting, false, false);
                return None;
            }
        };
        target.phase = Phase::Ended(settled.state());
        Some(settled)
    }

    /// A delivery broke, or could not be begun.
    pub(super) fn lost(&mut self, index: usize, now: Moment) {
        let target = &mut self.targets[index];
        if target.orphaned.take().is_some_and(|since| now.up < since + ORPHAN) && target.delivery.is_some() {
            return;
        }
        if target.delivery.take().is_some() {
            target.retry_at = now.up + RETRY_MIN.saturating_mul(1 << target.retries.min(10)).min(RETRY_MAX);
            target.retries += 1;
        }
    }

    /// The node's session began or ended: whatever was under way on the one before it is over.
    pub(super) fn session_changed(&mut self, index: usize, now: Moment) {
        let target = &mut self.targets[index];
        if target.delivery.take().is_some() {
            target.orphaned = Some(now.up);
        }
        (target.was_gone, target.retry_at, target.retries) = (true, Duration::ZERO, 0);
    }
}

impl Target {
    const fn state(&self) -> TargetState {
        match self.phase {
            Phase::Waiting | Phase::Sent { .. } if self.is_queued => TargetState::Queued,
            Phase::Waiting => TargetState::Waiting,
            Phase::Sent { .. } => TargetState::Sent,
            Phase::Running { .. } => TargetState::Running,
            Phase::Silent => TargetState::Silent,
            Phase::Ended(state) => state,
        }
    }
}

#[cfg(test)]
mod tests;
