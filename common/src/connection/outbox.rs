//! Keeps samples at the agent until the aggregator says that they are on its disk.
//!
//! Invariant: a sample leaves the outbox by acknowledgement or by being spilled to the spool, never by both and
//! never otherwise.

use std::collections::VecDeque;

use crate::sample::{Position, Sample};
use crate::wire::v1::control::Ack;

/// Unacknowledged samples kept in memory while a session stands. The aggregator acknowledges every few seconds;
/// when so many wait it is slow or stuck, and the oldest are spilled to disk.
pub const OUTBOX_SAMPLES_MAX: usize = 60;

/// What to do with a sample.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum OutboxEffect {
    /// Send it on the live stream.
    Send(Sample),
    /// Append it to the spool.
    Spill(Sample),
}

/// Samples sent and not yet acknowledged.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Sample>,
    is_open: bool,
}

impl Outbox {
    /// A session stands.
    pub fn opened(&mut self) {
        self.is_open = true;
    }

    /// The session ended: what was not acknowledged goes to the spool, oldest first.
    pub fn closed(&mut self) -> Vec<OutboxEffect> {
        self.is_open = false;
        self.waiting.drain(..).map(OutboxEffect::Spill).collect()
    }

    /// A new sample.
    pub fn push(&mut self, sample: Sample) -> Vec<OutboxEffect> {
        if !self.is_open {
            return vec![OutboxEffect::Spill(sample)];
        }
        let mut effects = Vec::with_capacity(1);
        if self.waiting.len() == OUTBOX_SAMPLES_MAX {
            effects.extend(self.waiting.pop_front().map(OutboxEffect::Spill));
        }
        self.waiting.push_back(sample.clone());
        effects.push(OutboxEffect::Send(sample));
        effects
    }

    /// The newest sample could not be handed to the link: it goes to the spool instead.
    pub fn take_back_newest(&mut self) -> Option<OutboxEffect> {
        self.waiting.pop_back().map(OutboxEffect::Spill)
    }

    /// The aggregator has these on its disk.
    pub fn acked(&mut self, ack: &Ack) {
        while self.waiting.front().is_some_and(|oldest| {
            oldest.position.instance == ack.instance && oldest.position.sequence <= ack.sequence
        }) {
            self.waiting.pop_front();
        }
    }

    /// Ticks that wait for acknowledgement, oldest first.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.waiting.iter().map(|sample| sample.position)
    }

    /// How many wait for acknowledgement.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True when none wait.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InstanceId;
    use crate::time::Timestamp;
    use crate::wire::v1::control::Lane;
    use proptest::prelude::*;

    const RUN: InstanceId = InstanceId::from_bytes([1; 8]);

    fn sample(sequence: u64) -> Sample {
        Sample {
            position: Position { instance: RUN, sequence },
            time: Timestamp::from_millis(sequence * 1000),
            schema: std::sync::Arc::default(),
            readings: vec![],
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Open,
        Close,
        Ack(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => Just(Step::Push),
            1 => Just(Step::Open),
            1 => Just(Step::Close),
            2 => (0_u64..10).prop_map(Step::Ack),
        ]
    }

    proptest! {
        #[test]
        fn every_sample_is_acknowledged_or_spilled_or_waiting(
            steps in proptest::collection::vec(step(), 0..300),
        ) {
            let mut outbox = Outbox::default();
            let (mut next, mut spilled, mut acknowledged) = (0, Vec::new(), 0);
            for step in steps {
                let effects = match step {
                    Step::Push => {
                        next += 1;
                        outbox.push(sample(next - 1))
                    }
                    Step::Open => {
                        outbox.opened();
                        vec![]
                    }
                    Step::Close => outbox.closed(),
                    Step::Ack(back) => {
                        let before = outbox.len();
                        let sequence = next.saturating_sub(back + 1);
                        outbox.acked(&Ack { lane: Lane::Control, instance: RUN, sequence });
                        acknowledged += before - outbox.len();
                        vec![]
                    }
                };
                for effect in effects {
                    if let OutboxEffect::Spill(sample) = effect {
                        spilled.push(sample.position.sequence);
                    }
                }
                prop_assert!(outbox.len() <= OUTBOX_SAMPLES_MAX);
            }
            prop_assert!(spilled.is_sorted(), "the spool gets samples in order");
            prop_assert_eq!(spilled.len() + acknowledged + outbox.len(), usize::try_from(next).unwrap());
        }
    }
}
