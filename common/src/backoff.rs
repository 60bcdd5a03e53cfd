//! Exponential back-off with full jitter. The random number is an argument.
//!
//! Full jitter (a wait drawn evenly between the floor and the current ceiling) spreads a fleet that lost its
//! aggregator at one moment better than a jittered fixed wait does; see "Exponential Backoff And Jitter", AWS
//! Architecture Blog, 2015.

use std::time::Duration;

/// Shortest wait before another attempt.
pub const WAIT_MIN: Duration = Duration::from_millis(500);
/// Longest wait before another attempt.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// A session that held this long was a good one: the next failure starts from the shortest wait again.
pub const GOOD_SESSION: Duration = Duration::from_secs(60);

/// Counts failed attempts and says how long to wait before the next.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Wait before the next attempt. `random` is any 64 bits; equal input gives equal output.
    #[must_use]
    pub fn next_wait(&mut self, random: u64) -> Duration {
        let ceiling = WAIT_MIN.saturating_mul(1 << self.failures.min(16)).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        let span = u64::try_from((ceiling - WAIT_MIN).as_millis()).unwrap_or(u64::MAX);
        // The first wait has no span to draw from: half of it is drawn, so that a fleet still spreads.
        if span == 0 {
            return WAIT_MIN / 2 + Duration::from_millis(random % 250);
        }
        WAIT_MIN + Duration::from_millis(random % (span + 1))
    }

    /// Tells how long the last session held.
    pub fn session_ended(&mut self, held: Duration) {
        if held >= GOOD_SESSION {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(randoms in proptest::collection::vec(any::<u64>(), 1..40)) {
            let mut backoff = Backoff::default();
            for random in randoms {
                let wait = backoff.next_wait(random);
                prop_assert!(wait >= WAIT_MIN / 2 && wait <= WAIT_MAX);
            }
        }
    }

    #[test]
    fn a_good_session_resets_and_a_short_one_does_not() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            let _wait = backoff.next_wait(u64::MAX);
        }
        backoff.session_ended(Duration::from_secs(59));
        assert!(backoff.next_wait(59_000) > Duration::from_secs(50));
        backoff.session_ended(GOOD_SESSION);
        assert!(backoff.next_wait(u64::MAX) <= WAIT_MIN);
    }
}
