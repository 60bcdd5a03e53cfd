//! Keeps reading below a rate.

#![expect(clippy::disallowed_methods, reason = "a rate is kept by looking at the clock and waiting")]

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What was not read while there was nothing to read may be made up for, so much of it.
const SLACK: Duration = Duration::from_millis(100);

/// A rate that is shared by all threads of a save.
#[derive(Debug)]
pub(super) struct Throttle {
    bytes_per_second: NonZeroU64,
    /// When all that was let through so far is due at that rate.
    due: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(super) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, due: Mutex::new(None) }
    }

    /// Waits until so many bytes, which have been read, are within the rate.
    pub(super) fn wait(&self, bytes: u64) {
        let now = Instant::now();
        let wait = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let next = next_due(*due, now, cost(bytes, self.bytes_per_second));
            *due = Some(next);
            next.saturating_duration_since(now)
        };
        if !wait.is_zero() {
            thread::sleep(wait);
        }
    }
}

fn cost(bytes: u64, bytes_per_second: NonZeroU64) -> Duration {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.get());
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

fn next_due(due: Option<Instant>, now: Instant, cost: Duration) -> Instant {
    let earliest = now.checked_sub(SLACK).unwrap_or(now);
    let from = due.map_or(now, |due| due.max(earliest));
    from.checked_add(cost).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_due_at_the_rate_and_idle_time_is_made_up_for_a_little() {
        let second = Duration::from_secs(1);
        assert_eq!(cost(1_500_000, NonZeroU64::new(1_000_000).unwrap()), second * 3 / 2);
        let start = Instant::now();
        let first = next_due(None, start, second);
        assert_eq!(first, start + second);
        assert_eq!(next_due(Some(first), start, second), start + second * 2);
        assert_eq!(next_due(Some(first), start + second * 60, second), start + second * 61 - SLACK);
    }
}
