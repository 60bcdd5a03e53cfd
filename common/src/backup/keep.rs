//! Which snapshots rules keep. Pure; node and store come to the same, as `restic forget --keep-...` does.
//!
//! Going from the newest to the oldest, a rule such as "7 daily" keeps the newest snapshot of each of the last seven days
//! that have one, and the oldest of all while it has some left. Every rule counts for itself, and a snapshot stays when
//! any rule keeps it. Hours and days are those of UTC, weeks begin on Monday.

use std::time::Duration;

use super::policy::Keep;
use crate::time::Timestamp;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The number of the hour, day, week, month or year that a time is in.
type Slot = fn(Timestamp) -> u64;

impl Keep {
    /// Which of `times`, in order of time, the rules keep.
    pub fn keeps(&self, times: &[Timestamp]) -> Vec<bool> {
        let mut kept = vec![false; times.len()];
        let Some(newest) = times.last() else { return kept };
        let last = usize::try_from(self.last).unwrap_or(usize::MAX);
        for place in kept.iter_mut().rev().take(last) {
            *place = true;
        }
        if let Some(within) = self.within.filter(|within| !within.is_zero()) {
            for (place, time) in kept.iter_mut().zip(times) {
                *place |= newest.since(*time) < within;
            }
        }
        let rules: [(u32, Slot); 5] = [
            (self.hourly, hour),
            (self.daily, day),
            (self.weekly, week),
            (self.monthly, month),
            (self.yearly, year),
        ];
        for (count, slot) in rules {
            let (mut left, mut before) = (count, None);
            for (index, time) in times.iter().enumerate().rev() {
                if left == 0 {
                    break;
                }
                let found = slot(*time);
                if before != Some(found) || index == 0 {
                    (kept[index], before) = (true, Some(found));
                    left -= 1;
                }
            }
        }
        kept
    }

    /// Whether these rules keep all that `other` keeps, whatever there is.
    pub fn covers(&self, other: &Self) -> bool {
        self.raised_to(other) == *self
    }

    /// Rules that keep all that either keeps.
    #[must_use]
    pub fn raised_to(&self, other: &Self) -> Self {
        let within = |keep: &Self| keep.within.unwrap_or(Duration::ZERO);
        Self {
            last: self.last.max(other.last),
            hourly: self.hourly.max(other.hourly),
            daily: self.daily.max(other.daily),
            weekly: self.weekly.max(other.weekly),
            monthly: self.monthly.max(other.monthly),
            yearly: self.yearly.max(other.yearly),
            within: if within(other) > within(self) { other.within } else { self.within },
        }
    }
}

fn hour(time: Timestamp) -> u64 {
    time.as_millis() / HOUR_MS
}

fn day(time: Timestamp) -> u64 {
    time.as_millis() / DAY_MS
}

/// The first day of 1970 was a Thursday.
fn week(time: Timestamp) -> u64 {
    (day(time) + 3) / 7
}

fn year(time: Timestamp) -> u64 {
    month(time) / 12
}

/// Months since the year 0: by the civil calendar, with years that begin in March so that a leap day ends them.
fn month(time: Timestamp) -> u64 {
    // Days since the first of March of the year 0, in eras of 400 years.
    let days = day(time) + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_based = (5 * of_year + 2) / 153;
    (era * 400 + year) * 12 + march_based + 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(days: u64, hours: u64) -> Timestamp {
        Timestamp::from_millis(days * DAY_MS + hours * HOUR_MS)
    }

    const NONE: Keep = Keep { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, within: None };

    /// The values that `backup/src/forget/tests.rs` holds the node's rules against: both sides come to the same.
    #[test]
    fn the_store_keeps_what_the_node_keeps() {
        let times = [
            "2026-05-03T10:14:00Z",
            "2026-05-03T10:01:00Z",
            "2026-05-03T09:59:00Z",
            "2026-05-02T23:00:00Z",
            "2026-04-30T12:00:00Z",
            "2026-04-26T12:00:00Z",
            "2025-12-31T12:00:00Z",
            "2025-12-29T12:00:00Z",
        ];
        let oldest_first: Vec<Timestamp> = times.iter().rev().map(|time| time.parse().unwrap()).collect();
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        for (keep, expected) in [
            (Keep { last: 2, ..NONE }, vec![0, 1]),
            (Keep { hourly: 3, ..NONE }, vec![0, 2, 3]),
            (Keep { daily: 2, ..NONE }, vec![0, 3]),
            (Keep { weekly: 3, ..NONE }, vec![0, 5, 6]),
            (Keep { monthly: 2, ..NONE }, vec![0, 4]),
            (Keep { yearly: 2, ..NONE }, vec![0, 6]),
            (Keep { yearly: 5, ..NONE }, vec![0, 6, 7]),
            (Keep { within: days(3), ..NONE }, vec![0, 1, 2, 3, 4]),
        ] {
            let kept = keep.keeps(&oldest_first).into_iter().rev().enumerate();
            let kept: Vec<usize> = kept.filter_map(|(index, is_kept)| is_kept.then_some(index)).collect();
            assert_eq!(kept, expected, "{keep:?}");
        }
    }

    #[test]
    fn the_newest_of_each_day_counts_and_days_without_one_do_not() {
        let times = [at(1, 1), at(1, 2), at(5, 1), at(9, 1), at(9, 23)];
        assert_eq!(Keep { daily: 3, ..NONE }.keeps(&times), [false, true, true, false, true]);
        assert_eq!(Keep { daily: 2, ..NONE }.keeps(&times), [false, false, true, false, true]);
        assert_eq!(Keep { hourly: 2, ..NONE }.keeps(&times), [false, false, false, true, true]);
    }

    #[test]
    fn the_oldest_stays_while_a_rule_has_some_left() {
        let times = [at(1, 1), at(1, 2), at(5, 1)];
        assert_eq!(Keep { daily: 3, ..NONE }.keeps(&times), [true, true, true]);
        assert_eq!(Keep { daily: 2, ..NONE }.keeps(&times), [false, true, true]);
        assert_eq!(Keep { yearly: 9, ..NONE }.keeps(&times), [true, false, true]);
    }

    #[test]
    fn weeks_begin_on_monday() {
        // 2026-11-22 is a Sunday: day 20,779.
        let times = [at(20_777, 0), at(20_778, 0), at(20_779, 0), at(20_780, 0)];
        assert_eq!(Keep { weekly: 2, ..NONE }.keeps(&times), [false, false, true, true]);
    }

    #[test]
    fn months_and_years_are_those_of_the_calendar() {
        // 2024-02-29 is day 19,782, the first of March follows; 2023-12-31 is day 19,722.
        assert_eq!(month(at(19_782, 23)) + 1, month(at(19_783, 0)));
        assert_eq!(month(at(19_722, 23)) + 1, month(at(19_723, 0)));
        assert_eq!(month(at(19_723, 0)), month(at(19_753, 23)));
        assert_eq!(month(at(19_753, 23)) + 1, month(at(19_754, 0)));
        assert_eq!((year(at(19_722, 23)), year(at(19_723, 0))), (2023, 2024));
        let days: Vec<Timestamp> = (19_723..20_089).map(|day| at(day, 12)).collect();
        let count = |keep: Keep| keep.keeps(&days).iter().filter(|is_kept| **is_kept).count();
        assert_eq!((count(Keep { monthly: 12, ..NONE }), count(Keep { yearly: 1, ..NONE })), (12, 1));
    }

    #[test]
    fn within_is_counted_from_the_newest_and_its_end_is_outside() {
        let times = [at(1, 0), at(1, 1), at(2, 23), at(3, 0)];
        let keep = Keep { within: Some(Duration::from_secs(48 * 3600)), ..NONE };
        assert_eq!(keep.keeps(&times), [false, true, true, true]);
        assert_eq!(Keep { within: Some(Duration::ZERO), last: 1, ..NONE }.keeps(&times).last(), Some(&true));
        assert!(keep.keeps(&[]).is_empty());
    }

    fn keeps() -> impl Strategy<Value = Keep> {
        let within = proptest::option::of((0_u64..400).prop_map(|hours| Duration::from_secs(hours * 3600)));
        (0_u32..6, 0_u32..6, 0_u32..6, 0_u32..6, 0_u32..6, 0_u32..3, within).prop_map(
            |(last, hourly, daily, weekly, monthly, yearly, within)| Keep {
                last,
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
                within,
            },
        )
    }

    proptest! {
        #[test]
        fn raised_rules_cover_both_and_keep_what_either_keeps(
            one in keeps(),
            other in keeps(),
            hours in proptest::collection::btree_set(0_u64..20_000, 0..60),
        ) {
            let times: Vec<Timestamp> = hours.into_iter().map(|hour| at(19_000, hour)).collect();
            let raised = one.raised_to(&other);
            prop_assert!(raised.covers(&one) && raised.covers(&other));
            let (kept, by_one, by_other) = (raised.keeps(&times), one.keeps(&times), other.keeps(&times));
            for ((kept, by_one), by_other) in kept.iter().zip(by_one).zip(by_other) {
                prop_assert!(*kept || !(by_one || by_other));
            }
        }
    }
}
