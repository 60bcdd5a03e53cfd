//! One step of an order: the clocks are asked, what broke is delivered again, what is next in turn is started.

use std::time::Duration;

use campanile_common::api::TargetState;
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::DeliveryMode;

use super::{
    Contact, Course, LATE_OUTCOME, Moment, Phase, REPORT_GRACE, Settled, Step, Target, WORD_TIMEOUT,
};

impl Step {
    pub(super) fn look(&mut self, at: Duration) {
        self.look_at = Some(self.look_at.map_or(at, |other| other.min(at)));
    }

    fn look_wall(&mut self, now: Moment, at: Timestamp) {
        self.look(now.up + at.since(now.wall));
    }
}

/// What the clocks say of a target.
enum Word {
    /// Nothing to wait for.
    None,
    /// Look again then.
    At(Duration),
    /// Look again when the wall clock says so.
    AtWall(Timestamp),
    /// Its time is over.
    Over(Settled),
}

/// What limits how many are at work.
struct Places {
    at_work: usize,
    most: usize,
}

impl Places {
    const fn is_free(&self) -> bool {
        self.at_work < self.most
    }
}

fn most(limit: Option<u32>) -> usize {
    limit.map_or(usize::MAX, |limit| limit.max(1) as usize)
}

impl Course {
    /// The next step. What is to be delivered counts as sent from here on.
    pub(in crate::order) fn step(
        &mut self,
        now: Moment,
        is_frozen: bool,
        contact: &dyn Fn(NodeId) -> Contact,
    ) -> Step {
        let mut step = Step::default();
        if self.is_proposed && now.wall >= self.rules.expires {
            (self.is_proposed, self.is_withdrawn) = (false, true);
            for (index, target) in
                self.targets.iter_mut().enumerate().filter(|(_, t)| t.phase == Phase::Waiting)
            {
                target.phase = Phase::Ended(TargetState::Skipped);
                step.settled.push((index, Settled::NotApproved));
            }
        }
        for index in 0..self.targets.len() {
            let contact = contact(self.targets[index].node);
            self.settle(index, now, contact, &mut step);
        }
        let mut places = Places {
            at_work: self.targets.iter().filter(|target| target.is_at_work()).count(),
            most: most(self.rules.parallel).min(most(self.rules.batch)),
        };
        for index in 0..self.targets.len() {
            let contact = contact(self.targets[index].node);
            self.deliver_again(index, now, contact, is_frozen, &mut places, &mut step);
        }
        if !self.is_proposed {
            self.start(now, is_frozen, contact, &mut places, &mut step);
        }
        step
    }

    /// Judges one target by the clocks.
    fn settle(&mut self, index: usize, now: Moment, contact: Contact, step: &mut Step) {
        let gone = match contact {
            Contact::Here { .. } => None,
            Contact::Gone { since } => Some(since),
        };
        self.note_absence(index, now, gone.is_some());
        match self.word(index, now, gone) {
            Word::None => {}
            Word::At(at) => step.look(at),
            Word::AtWall(at) => step.look_wall(now, at),
            Word::Over(settled) => {
                let target = &mut self.targets[index];
                let was_silent = target.phase == Phase::Silent;
                target.is_queued = false;
                // What may have reached the node may still be heard of.
                target.phase = match settled.state() {
                    TargetState::Silent if target.was_sent && !was_silent => Phase::Silent,
                    state => Phase::Ended(state),
                };
                if !was_silent {
                    step.settled.push((index, settled));
                }
                if target.phase == Phase::Silent {
                    step.look_wall(now, self.rules.expires + LATE_OUTCOME);
                }
            }
        }
    }

    fn note_absence(&mut self, index: usize, now: Moment, is_gone: bool) {
        let may_start = self.rules.queue && !self.is_withdrawn && now.wall < self.rules.expires;
        let target = &mut self.targets[index];
        target.was_gone |= is_gone;
        if matches!(target.phase, Phase::Sent { .. }) {
            // One that came back stays queued until it has a place again.
            target.is_queued = may_start && (is_gone || target.is_queued);
        }
    }

    fn word(&self, index: usize, now: Moment, gone: Option<Duration>) -> Word {
        let target = &self.targets[index];
        let is_expired = now.wall >= self.rules.expires;
        let away = gone.filter(|_| !self.rules.queue || is_expired || self.is_withdrawn);
        let (deadline, settled) = match target.phase {
            Phase::Ended(_) => return Word::None,
            Phase::Waiting if self.is_withdrawn => return Word::Over(Settled::Withdrawn),
            Phase::Waiting if is_expired => return Word::Over(Settled::Expired),
            Phase::Waiting => return Word::AtWall(self.rules.expires),
            Phase::Sent { .. } if target.is_queued => return Word::AtWall(self.rules.expires),
            Phase::Sent { at } => {
                let settled = if is_expired { Settled::Expired } else { Settled::Silent };
                let is_at_work = target.is_from_before && away.is_some();
                let patience = if is_at_work { self.rules.absence } else { WORD_TIMEOUT };
                (away.unwrap_or(at).max(at) + patience, settled)
            }
            Phase::Running { at } => {
                let own = at + self.rules.timeout + REPORT_GRACE;
                let without = away.map(|since| since.max(at) + self.rules.absence);
                (without.map_or(own, |without| own.min(without)), Settled::Silent)
            }
            Phase::Silent => {
                let end = self.rules.expires + LATE_OUTCOME;
                return if now.wall >= end { Word::Over(Settled::Silent) } else { Word::AtWall(end) };
            }
        };
        if now.up >= deadline { Word::Over(settled) } else { Word::At(deadline) }
    }

    /// Delivers once more what broke.
    fn deliver_again(
        &mut self,
        index: usize,
        now: Moment,
        contact: Contact,
        is_frozen: bool,
        places: &mut Places,
        step: &mut Step,
    ) {
        let is_over = self.is_withdrawn || is_frozen || now.wall >= self.rules.expires;
        let target = &mut self.targets[index];
        let is_here = matches!(contact, Contact::Here { takes_orders: true, has_room: true, .. });
        if target.delivery.is_some() || !is_here {
            return;
        }
        let mode = match target.phase {
            Phase::Waiting | Phase::Ended(_) => return,
            Phase::Sent { .. } if !is_over => DeliveryMode::Start,
            Phase::Sent { .. } | Phase::Running { .. } | Phase::Silent => DeliveryMode::Report,
        };
        if now.up < target.retry_at {
            step.look(target.retry_at);
            return;
        }
        if target.is_queued {
            if !places.is_free() {
                return;
            }
            places.at_work += 1;
            target.is_queued = false;
        }
        if let Phase::Sent { at } = &mut target.phase
            && std::mem::take(&mut target.was_gone)
        {
            *at = now.up;
            step.look(now.up + WORD_TIMEOUT);
        }
        target.delivery = Some(mode);
        step.deliver.push((index, mode));
    }

    /// Starts what is next in turn.
    fn start(
        &mut self,
        now: Moment,
        is_frozen: bool,
        contact: &dyn Fn(NodeId) -> Contact,
        places: &mut Places,
        step: &mut Step,
    ) {
        let batch = most(self.rules.batch);
        let most_failures = self.rules.max_fail.map_or(usize::MAX, |most| most as usize);
        let mut failures = self.targets.iter().filter(|target| target.has_failed()).count();
        // The batch that is not done: those behind it wait.
        let mut open_batch = None;
        if self.has_reverted() {
            self.skip_rest(Settled::WaveReverted, step);
        }
        for index in 0..self.targets.len() {
            let group = self.group(index, batch);
            if failures > most_failures || open_batch.is_some_and(|open| group > open) {
                break;
            }
            if self.targets[index].phase == Phase::Waiting && !is_frozen {
                if !self.may_begin(index, now, contact, step) {
                    break;
                }
                let contact = contact(self.targets[index].node);
                self.start_one(index, now, contact, places, step);
                failures += usize::from(self.targets[index].has_failed());
            }
            if self.targets[index].is_pending() && open_batch.is_none() {
                open_batch = Some(group);
            }
        }
        if failures > most_failures {
            self.skip_rest(Settled::TooManyFailed, step);
        }
    }

    fn start_one(
        &mut self,
        index: usize,
        now: Moment,
        contact: Contact,
        places: &mut Places,
        step: &mut Step,
    ) {
        let begin = self.rules.not_before.max(self.targets[index].begin);
        let (is_queue, target) = (self.rules.queue, &mut self.targets[index]);
        target.is_queued = false;
        if now.wall < begin {
            step.look_wall(now, begin);
            return;
        }
        match contact {
            Contact::Here { takes_orders: false, .. } => {
                target.phase = Phase::Ended(TargetState::Denied);
                step.settled.push((index, Settled::AgentTooOld));
            }
            Contact::Here { has_room: true, score, .. } if places.is_free() && now.up >= target.retry_at => {
                places.at_work += 1;
                (target.phase, target.was_sent) = (Phase::Sent { at: now.up }, true);
                (target.was_gone, target.score) = (false, score);
                target.delivery = Some(DeliveryMode::Start);
                step.deliver.push((index, DeliveryMode::Start));
                step.look(now.up + WORD_TIMEOUT);
            }
            Contact::Here { .. } => step.look(target.retry_at.max(now.up + WORD_TIMEOUT)),
            Contact::Gone { .. } if is_queue => target.is_queued = true,
            Contact::Gone { since } if now.up >= since + WORD_TIMEOUT => {
                target.phase = Phase::Ended(TargetState::Silent);
                step.settled.push((index, Settled::Absent));
            }
            Contact::Gone { since } => step.look(since + WORD_TIMEOUT),
        }
    }

    pub(super) fn skip_rest(&mut self, why: Settled, step: &mut Step) {
        for (index, target) in self.targets.iter_mut().enumerate() {
            if target.phase == Phase::Waiting {
                (target.phase, target.is_queued) = (Phase::Ended(TargetState::Skipped), false);
                step.settled.push((index, why));
            }
        }
    }
}

impl Target {
    /// Takes up one of the places of `parallel`.
    fn is_at_work(&self) -> bool {
        matches!(self.state(), TargetState::Sent | TargetState::Running)
    }

    /// Holds its batch open.
    fn is_pending(&self) -> bool {
        matches!(self.state(), TargetState::Waiting | TargetState::Sent | TargetState::Running)
    }

    fn has_failed(&self) -> bool {
        matches!(self.state(), TargetState::Failed | TargetState::Denied | TargetState::Silent)
    }
}
