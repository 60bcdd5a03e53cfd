//! Waves of a change over many nodes: who comes when, and whether the next may begin. Pure: numbers in, a value out.

use std::ops::Range;

/// How a change is spread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaveRules {
    /// Nodes of the first wave; 0 for none of its own.
    pub canary: u32,
    /// What has been reached after each further wave, in percent of all nodes, rising. The rest comes in one last wave.
    pub shares: Vec<u8>,
    /// Most nodes of one wave; none for no such limit.
    pub batch: Option<u32>,
    /// Nodes that may fail in all before no further wave begins.
    pub max_fail: u32,
}

/// Rules that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WaveError {
    /// Not a share.
    #[error("a share is 1% to 100%, not {0}%")]
    Share(u8),
    /// Not more than the one before.
    #[error("each share is of all nodes and more than the one before; {0}% is not")]
    NotRising(u8),
    /// No nodes.
    #[error("a batch has at least one node")]
    EmptyBatch,
}

impl WaveRules {
    /// The waves over `nodes` nodes, in their order: ranges that are not empty, one behind the other, and hold each
    /// node once.
    ///
    /// # Errors
    /// When the rules make no sense.
    pub fn plan(&self, nodes: u32) -> Result<Vec<Range<u32>>, WaveError> {
        self.check()?;
        let mut ends = vec![self.canary.min(nodes)];
        let share = |share: &u8| {
            let reached = (u64::from(nodes) * u64::from(*share)).div_ceil(100);
            u32::try_from(reached).unwrap_or(nodes)
        };
        ends.extend(self.shares.iter().map(share));
        ends.push(nodes);
        let batch = self.batch.unwrap_or(u32::MAX);
        let (mut waves, mut start) = (Vec::new(), 0);
        for end in ends {
            while start < end {
                let next = start.saturating_add(batch).min(end);
                waves.push(start..next);
                start = next;
            }
        }
        Ok(waves)
    }

    fn check(&self) -> Result<(), WaveError> {
        if self.batch == Some(0) {
            return Err(WaveError::EmptyBatch);
        }
        let mut before = 0;
        for share in self.shares.iter().copied() {
            if !(1..=100).contains(&share) {
                return Err(WaveError::Share(share));
            }
            if share <= before {
                return Err(WaveError::NotRising(share));
            }
            before = share;
        }
        Ok(())
    }
}

/// What is known of the waves so far, the one at hand among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaveFacts {
    /// Nodes that have been asked to change.
    pub begun: u32,
    /// Of them, those that have not said how it went.
    pub pending: u32,
    /// Of them, those where it failed and everything is as it was.
    pub failed: u32,
    /// Of them, those that took the change back because it cut them off.
    pub reverted: u32,
    /// Of them, those whose heartbeats stopped and have not come back.
    pub lost: u32,
    /// The fleet's score before the first wave.
    pub health_before: u8,
    /// The fleet's score now.
    pub health_now: u8,
}

/// Whether the next wave begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It does.
    Continue,
    /// Not yet: the wave at hand is not over.
    Wait,
    /// It does not, and none after it.
    Stop(StopReason),
}

/// Why no further wave begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// Nodes took the change back.
    #[error("{0} nodes took the change back because they did not reach the aggregator with it")]
    Reverted(u32),
    /// Nodes went silent.
    #[error("{0} nodes that were changed have stopped to send heartbeats")]
    Lost(u32),
    /// Too many failed.
    #[error("{failed} nodes failed, {most} may")]
    Failed {
        /// How many did.
        failed: u32,
        /// How many may.
        most: u32,
    },
    /// The fleet got worse.
    #[error("the health of the fleet fell from {before} to {now}")]
    Health {
        /// Score before the first wave.
        before: u8,
        /// Score now.
        now: u8,
    },
}

/// Points of the score that a fleet may lose while it is changed: services restart.
const HEALTH_SLACK: u8 = 5;

/// Decides whether the next wave begins. A reason to stop counts at once; to go on, everybody has answered.
pub fn judge(rules: &WaveRules, facts: &WaveFacts) -> Verdict {
    if facts.reverted > 0 {
        return Verdict::Stop(StopReason::Reverted(facts.reverted));
    }
    if facts.failed > rules.max_fail {
        return Verdict::Stop(StopReason::Failed { failed: facts.failed, most: rules.max_fail });
    }
    if facts.pending > 0 {
        return Verdict::Wait;
    }
    // While a node is at work it may be restarting what it speaks through; afterwards it has no excuse.
    if facts.lost > 0 {
        return Verdict::Stop(StopReason::Lost(facts.lost));
    }
    if facts.health_now.saturating_add(HEALTH_SLACK) < facts.health_before {
        return Verdict::Stop(StopReason::Health { before: facts.health_before, now: facts.health_now });
    }
    Verdict::Continue
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(canary: u32, shares: &[u8], batch: Option<u32>) -> WaveRules {
        WaveRules { canary, shares: shares.to_vec(), batch, max_fail: 1 }
    }

    #[test]
    fn a_canary_comes_first_and_then_shares_of_all_nodes() {
        assert_eq!(rules(1, &[10, 50, 100], None).plan(28), Ok(vec![0..1, 1..3, 3..14, 14..28]));
        assert_eq!(rules(2, &[], None).plan(5), Ok(vec![0..2, 2..5]));
        assert_eq!(rules(0, &[], Some(2)).plan(5), Ok(vec![0..2, 2..4, 4..5]));
        assert_eq!(rules(1, &[50], Some(3)).plan(10), Ok(vec![0..1, 1..4, 4..5, 5..8, 8..10]));
        assert_eq!(rules(9, &[1], None).plan(2).unwrap().as_slice(), std::slice::from_ref(&(0..2)));
        assert_eq!(rules(1, &[50], None).plan(0), Ok(vec![]));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        assert_eq!(rules(0, &[0], None).plan(9), Err(WaveError::Share(0)));
        assert_eq!(rules(0, &[101], None).plan(9), Err(WaveError::Share(101)));
        assert_eq!(rules(0, &[50, 50], None).plan(9), Err(WaveError::NotRising(50)));
        assert_eq!(rules(0, &[], Some(0)).plan(9), Err(WaveError::EmptyBatch));
    }

    proptest! {
        #[test]
        fn waves_hold_every_node_once_and_keep_their_limits(
            nodes in 0_u32..2000,
            canary in 0_u32..50,
            shares in prop::collection::btree_set(1_u8..=100, 0..6),
            batch in prop::option::of(1_u32..300),
        ) {
            let rules = WaveRules { canary, shares: shares.into_iter().collect(), batch, max_fail: 0 };
            let waves = rules.plan(nodes).unwrap();
            let mut next = 0;
            for wave in &waves {
                prop_assert_eq!(wave.start, next);
                prop_assert!(wave.start < wave.end);
                prop_assert!(batch.is_none_or(|batch| wave.end - wave.start <= batch));
                next = wave.end;
            }
            prop_assert_eq!(next, nodes);
            if canary > 0 && nodes > 0 {
                prop_assert!(waves[0].end <= canary);
            }
        }
    }

    #[test]
    fn a_wave_goes_on_waits_or_stops_for_a_reason_that_is_told() {
        let rules = rules(1, &[], None);
        let good = WaveFacts { begun: 9, health_before: 98, health_now: 95, ..WaveFacts::default() };
        assert_eq!(judge(&rules, &good), Verdict::Continue);
        assert_eq!(judge(&rules, &WaveFacts { pending: 1, ..good }), Verdict::Wait);
        assert_eq!(judge(&rules, &WaveFacts { pending: 1, lost: 1, ..good }), Verdict::Wait);
        assert_eq!(judge(&rules, &WaveFacts { failed: 1, ..good }), Verdict::Continue);
        let stop = |facts| match judge(&rules, &facts) {
            Verdict::Stop(reason) => reason.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(stop(WaveFacts { failed: 2, pending: 3, ..good }), "2 nodes failed, 1 may");
        assert!(stop(WaveFacts { reverted: 1, pending: 3, ..good }).contains("took the change back"));
        assert!(stop(WaveFacts { lost: 1, ..good }).contains("heartbeats"));
        assert!(stop(WaveFacts { health_now: 92, ..good }).contains("fell from 98 to 92"));
    }
}
