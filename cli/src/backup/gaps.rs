//! How far apart snapshots came: what was promised to be lost at most, against what would have been. Pure.

use std::time::Duration;

use campanile_common::time::Timestamp;

/// How far back is looked.
pub(super) const WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// The times between snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gaps {
    /// The longest; the one since the newest snapshot counts as it is now.
    pub(super) worst: Duration,
    /// The one in the middle, of those that are over; none with a single snapshot.
    pub(super) median: Option<Duration>,
    /// How many snapshots came in the window.
    pub(super) snapshots: usize,
}

/// Of snapshots by when they were received, in any order. None when none is in the window and none before it.
pub(super) fn of(received: &[Timestamp], now: Timestamp) -> Option<Gaps> {
    let begin = now - WINDOW;
    let mut times: Vec<Timestamp> = received.iter().copied().filter(|time| *time <= now).collect();
    times.sort_unstable();
    let outside = times.partition_point(|time| *time < begin);
    let snapshots = times.len() - outside;
    // The last one before the window begins the gap that reaches into it.
    let times = &times[outside.saturating_sub(1)..];
    let newest = times.last()?;
    let mut over: Vec<Duration> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    over.sort_unstable();
    let worst = over.last().copied().unwrap_or_default().max(now.since(*newest));
    Some(Gaps { worst, median: over.get(over.len() / 2).copied(), snapshots })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_777_000_000_000);

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    fn gaps(ages_in_hours: &[u64]) -> Option<Gaps> {
        of(&ages_in_hours.iter().map(|age| NOW - hours(*age)).collect::<Vec<_>>(), NOW)
    }

    #[test]
    fn the_worst_and_the_middle_gap_are_told() {
        let found = gaps(&[1, 25, 49, 100, 124]).unwrap();
        assert_eq!((found.worst, found.median, found.snapshots), (hours(51), Some(hours(24)), 5));
    }

    #[test]
    fn a_policy_that_stopped_is_as_bad_as_it_is_now() {
        let found = gaps(&[200, 224, 248]).unwrap();
        assert_eq!((found.worst, found.median), (hours(200), Some(hours(24))));
    }

    #[test]
    fn a_gap_that_reaches_into_the_window_counts_and_older_ones_do_not() {
        let found = gaps(&[10, 800, 2000]).unwrap();
        assert_eq!((found.worst, found.snapshots), (hours(790), 1));
        assert_eq!(gaps(&[]), None);
        assert_eq!(gaps(&[5]).unwrap(), Gaps { worst: hours(5), median: None, snapshots: 1 });
    }
}
