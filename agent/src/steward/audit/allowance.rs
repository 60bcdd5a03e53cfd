//! How many refusals are written one by one. Pure.

use campanile_common::time::Timestamp;

/// Refusals that may come at once: an attack of a hundred thousand forged orders leaves each of them.
const BURST: u64 = 200_000;
/// Refusals a second from then on: tens of megabytes a day.
const A_SECOND: u64 = 2;

/// Counts them.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u64,
    since: Timestamp,
    suppressed: u64,
}

impl Allowance {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { left: BURST, since: now, suppressed: 0 }
    }

    /// Whether one more is written: how many were only counted before it, if so.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<u64> {
        let seconds = now.since(self.since).as_secs();
        if seconds > 0 || now < self.since {
            self.left = self.left.saturating_add(seconds.saturating_mul(A_SECOND)).min(BURST);
            self.since = now;
        }
        if self.left == 0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_burst_refusals_are_counted_and_the_count_is_told() {
        let start = Timestamp::from_millis(1_000_000);
        let mut allowance = Allowance::new(start);
        assert!((0..BURST).all(|_| allowance.take(start) == Some(0)));
        assert!((0..7).all(|_| allowance.take(start).is_none()));
        let later = Timestamp::from_millis(1_001_000);
        assert_eq!(allowance.take(later), Some(7));
        assert_eq!(allowance.take(later), Some(0));
        assert_eq!(allowance.take(later), None);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_allowance() {
        let mut allowance = Allowance::new(Timestamp::from_millis(1_000_000));
        allowance.left = 0;
        assert_eq!(allowance.take(Timestamp::from_millis(5_000)), None);
        assert_eq!(allowance.take(Timestamp::from_millis(6_000)), Some(1));
    }
}
