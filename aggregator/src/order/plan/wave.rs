//! Waves: a few targets first, then more, and the next only while those before are well.
//!
//! A wave is over when each of its targets has ended. Then, for as long as the pause, its nodes and those before have
//! time to show what it did to them; at its end all that ended well must be connected and about as healthy as when they
//! were started. One that took the change back stops everything at once.

use std::time::Duration;

use campanile_common::api::TargetState;
use campanile_common::id::NodeId;

use super::{Contact, Course, Moment, Phase, Settled, Step, Target, WORD_TIMEOUT};

/// Points that a node may lose while it is changed: services restart.
const SCORE_SLACK: u8 = 5;
/// How often nodes are looked at while a wave waits for them.
const LOOK_STEP: Duration = Duration::from_secs(1);
/// No score is known.
const UNKNOWN: u8 = u8::MAX;

/// How far the waves are.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    /// The wave that may start.
    open: usize,
    /// Since when everything before the next is over.
    over: Option<Duration>,
}

/// Whether the next wave begins.
enum Verdict {
    Begin,
    Wait(Duration),
    Stop(Settled),
}

/// The wave of a target.
fn wave_of(waves: &[usize], index: usize) -> usize {
    waves.partition_point(|end| *end <= index)
}

impl Gate {
    /// Where the targets that were sent leave it.
    pub(super) fn new(waves: &[usize], targets: &[Target]) -> Self {
        let last = targets.iter().rposition(|target| target.was_sent);
        Self { open: last.map_or(0, |index| wave_of(waves, index)), over: None }
    }
}

impl Course {
    /// True when the order goes in waves.
    pub(in crate::order) fn has_waves(&self) -> bool {
        !self.rules.waves.is_empty()
    }

    /// The group of a target: those behind an open one wait.
    pub(super) fn group(&self, index: usize, batch: usize) -> usize {
        if self.has_waves() { wave_of(&self.rules.waves, index) } else { index / batch }
    }

    /// The target took back what the run changed.
    pub(in crate::order) fn reverted(&mut self, index: usize) {
        self.targets[index].has_reverted = true;
    }

    /// Each target's health when it was started, as it is stored.
    pub(in crate::order) fn scores(&self) -> Vec<u8> {
        if !self.has_waves() {
            return Vec::new();
        }
        self.targets.iter().map(|target| target.score.unwrap_or(UNKNOWN)).collect()
    }

    /// Takes over what [`Self::scores`] gave before a restart.
    pub(in crate::order) fn set_scores(&mut self, scores: &[u8]) {
        for (target, score) in self.targets.iter_mut().zip(scores) {
            target.score = (*score <= 100).then_some(*score);
        }
    }

    /// True when a target of this wave may start. Everything before it is over.
    pub(super) fn may_begin(
        &mut self,
        index: usize,
        now: Moment,
        contact: &dyn Fn(NodeId) -> Contact,
        step: &mut Step,
    ) -> bool {
        let wave = wave_of(&self.rules.waves, index);
        if !self.has_waves() || wave <= self.gate.open {
            return true;
        }
        match self.judge(index, now, contact) {
            Verdict::Begin => {
                self.gate = Gate { open: wave, over: None };
                true
            }
            Verdict::Wait(at) => {
                step.look(at);
                false
            }
            Verdict::Stop(settled) => {
                self.skip_rest(settled, step);
                false
            }
        }
    }

    /// What stops the waves whatever else holds.
    pub(super) fn has_reverted(&self) -> bool {
        self.has_waves() && self.targets.iter().any(|target| target.has_reverted)
    }

    fn judge(&mut self, index: usize, now: Moment, contact: &dyn Fn(NodeId) -> Contact) -> Verdict {
        let over = *self.gate.over.get_or_insert(now.up);
        let end = over + self.rules.wave_pause;
        if now.up < end {
            return Verdict::Wait(end.min(now.up + LOOK_STEP));
        }
        let well =
            self.targets[..index].iter().filter(|target| target.phase == Phase::Ended(TargetState::Ok));
        for target in well {
            match contact(target.node) {
                // It may be on its way back: a changed network takes a new session.
                Contact::Gone { since } if now.up < since.max(over) + WORD_TIMEOUT => {
                    return Verdict::Wait(now.up + LOOK_STEP);
                }
                Contact::Gone { .. } => return Verdict::Stop(Settled::WaveLost),
                Contact::Here { score, .. } => match target.score.zip(Some(score)) {
                    Some((before, Some(score))) if score.saturating_add(SCORE_SLACK) < before => {
                        return Verdict::Stop(Settled::WaveUnwell);
                    }
                    // It has a session, and nothing was heard in it yet.
                    Some((_, None)) if now.up < over + WORD_TIMEOUT => {
                        return Verdict::Wait(now.up + LOOK_STEP);
                    }
                    Some((_, None)) => return Verdict::Stop(Settled::WaveLost),
                    Some((_, Some(_))) | None => {}
                },
            }
        }
        Verdict::Begin
    }
}
