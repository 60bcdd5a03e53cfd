//! When the next backup is due, in UTC.

use std::time::Duration;

use campanile_common::recurrence::Recurrence;
use campanile_common::time::Timestamp;

const DAY_S: u64 = 86_400;
/// A day further away is none: 29 February skips 2100.
const DAYS_MAX: u64 = 8 * 366 + 1;

/// The first due time after this one; none when there is none within eight years.
pub fn next(schedule: &Recurrence, after: Timestamp) -> Option<Timestamp> {
    let calendar = match schedule {
        Recurrence::Every(interval) => return Some(after + *interval),
        Recurrence::Calendar(calendar) => calendar,
    };
    let first = after.as_secs() / DAY_S;
    let days = (first..first + DAYS_MAX).filter(|day| calendar.has_day_number(*day));
    days.flat_map(|day| {
        calendar.times().map(move |(hour, minute)| {
            let seconds = day * DAY_S + u64::from(hour) * 3600 + u64::from(minute) * 60;
            Timestamp::from_millis(0) + Duration::from_secs(seconds)
        })
    })
    .find(|due| *due > after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_of(schedule: &str, after: &str) -> Option<String> {
        let schedule = Recurrence::parse(schedule).unwrap();
        next(&schedule, after.parse().unwrap()).map(|due| due.to_string())
    }

    #[test]
    fn a_time_of_the_day_is_due_today_or_tomorrow() {
        let due = |after| next_of("30 3 * * *", after).unwrap();
        assert_eq!(due("2026-05-03T03:29:59.999Z"), "2026-05-03T03:30:00.000Z");
        assert_eq!(due("2026-05-03T03:30:00.000Z"), "2026-05-04T03:30:00.000Z");
    }

    #[test]
    fn days_of_the_week_and_leap_days_are_found() {
        let sunday = next_of("0 0 * * sun", "2026-05-03T00:00:00.000Z").unwrap();
        assert_eq!(sunday, "2026-05-10T00:00:00.000Z");
        let leap = next_of("0 0 29 feb *", "2026-05-03T00:00:00.000Z").unwrap();
        assert_eq!(leap, "2028-02-29T00:00:00.000Z");
    }

    #[test]
    fn an_interval_counts_from_the_last() {
        let due = next_of("@every 6h", "2026-05-03T05:00:00.000Z").unwrap();
        assert_eq!(due, "2026-05-03T11:00:00.000Z");
    }
}
