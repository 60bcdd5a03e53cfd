//! When a schedule is due: what recurs, in a time zone. Pure: the time zone's rules are data of the machine, the time is
//! an argument. The grammar is [`campanile_common::recurrence`]'s.
//!
//! Where clocks change: with fixed hours, a time that does not exist is due at the next one that does, and one that
//! comes twice is due the first time alone. With `*` hours the clock on the wall does not matter: times that do not
//! exist are left out, and those that come twice are due twice, so that `*/5 * * * *` goes on every five minutes.

use std::time::Duration;

use campanile_common::recurrence::{Calendar, Recurrence, RecurrenceError};
use campanile_common::time::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// A due time further away than any leap day is from the next is none: 29 February skips 2100.
const DAYS_MAX: usize = 8 * 366 + 1;
/// Days whose due times are looked at to find the shortest interval: a year with both changes of the clocks.
const INTERVAL_DAYS: usize = 370;

/// Text that says no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WhenError {
    /// It cannot be read, or never comes.
    #[error(transparent)]
    Recurrence(#[from] RecurrenceError),
    /// No such time zone.
    #[error(
        "there is no time zone `{0}` on the aggregator; give one like `Europe/Rome`, or leave it out for UTC"
    )]
    TimeZone(String),
}

/// When a schedule is due.
#[derive(Debug, Clone)]
pub(super) struct When {
    recurrence: Recurrence,
    /// Intervals count from it.
    anchor: Timestamp,
    zone: TimeZone,
}

impl When {
    /// Reads the text. Intervals count from `anchor`.
    ///
    /// # Errors
    /// When it says no time, or none that ever comes.
    pub(super) fn parse(text: &str, zone: Option<&str>, anchor: Timestamp) -> Result<Self, WhenError> {
        let zone = match zone {
            None | Some("UTC") => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| WhenError::TimeZone(name.to_owned()))?,
        };
        Ok(Self { recurrence: Recurrence::parse(text)?, anchor, zone })
    }

    /// The first due time after this one; none when there is none within eight years.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.recurrence {
            Recurrence::Every(interval) => {
                // Nothing has passed before the anchor.
                let passed = millis(after.since(self.anchor)) / millis(*interval);
                Some(self.anchor + interval.checked_mul(u32::try_from(passed + 1).ok()?)?)
            }
            Recurrence::Calendar(calendar) => {
                // A day earlier: where the clock skips a day, its due times move into the next.
                let first = self.date(after)?.yesterday().ok()?;
                first
                    .series(jiff::Span::new().days(1))
                    .take(DAYS_MAX)
                    .find_map(|date| self.due_on(calendar, date).into_iter().find(|due| *due > after))
            }
        }
    }

    /// The last due time after `after` and not after `until`.
    pub(super) fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        if until <= after {
            return None;
        }
        match &self.recurrence {
            Recurrence::Every(interval) => {
                let count = millis(until.since(self.anchor)) / millis(*interval);
                let due = self.anchor + interval.checked_mul(u32::try_from(count).ok()?)?;
                (count > 0 && due > after && due <= until).then_some(due)
            }
            Recurrence::Calendar(calendar) => {
                let last = self.date(until)?.tomorrow().ok()?;
                let first = self.date(after)?.yesterday().ok()?;
                let days = last.series(jiff::Span::new().days(-1)).take(DAYS_MAX);
                days.take_while(|date| *date >= first).find_map(|date| {
                    let due = self.due_on(calendar, date);
                    due.into_iter().rev().find(|due| *due > after && *due <= until)
                })
            }
        }
    }

    /// The shortest time between two due times in the year after `from`; none when there is at most one in it.
    pub(super) fn shortest_interval(&self, from: Timestamp) -> Option<Duration> {
        let calendar = match &self.recurrence {
            Recurrence::Every(interval) => return Some(*interval),
            Recurrence::Calendar(calendar) => calendar,
        };
        let first = self.date(from)?;
        let (mut shortest, mut last) = (None, None);
        for date in first.series(jiff::Span::new().days(1)).take(INTERVAL_DAYS) {
            for due in self.due_on(calendar, date) {
                if let Some(last) = last.filter(|last| *last < due) {
                    let gap = due.since(last);
                    shortest = Some(shortest.map_or(gap, |known: Duration| known.min(gap)));
                }
                last = Some(due);
            }
            // A field of minutes cannot do better.
            if shortest == Some(Duration::from_secs(60)) {
                break;
            }
        }
        shortest
    }

    fn date(&self, at: Timestamp) -> Option<Date> {
        let at = jiff::Timestamp::from_millisecond(i64::try_from(at.as_millis()).ok()?).ok()?;
        Some(self.zone.to_datetime(at).date())
    }

    /// Due times of one day on the wall, in order, each once.
    fn due_on(&self, calendar: &Calendar, date: Date) -> Vec<Timestamp> {
        let weekday = date.weekday().to_sunday_zero_offset().unsigned_abs();
        if !calendar.has_day(date.month().unsigned_abs(), date.day().unsigned_abs(), weekday) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (hour, minute) in calendar.times() {
            let time = Time::constant(hour.cast_signed(), minute.cast_signed(), 0, 0);
            self.instants(date.to_datetime(time), calendar.is_any_hour(), &mut due);
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// The instants at which the wall shows this.
    fn instants(&self, wall: DateTime, is_any_hour: bool, due: &mut Vec<Timestamp>) {
        let found = self.zone.to_ambiguous_timestamp(wall);
        let mut push = |offset: jiff::tz::Offset| due.extend(offset.to_timestamp(wall).ok().and_then(ours));
        match found.offset() {
            AmbiguousOffset::Unambiguous { offset } => push(offset),
            AmbiguousOffset::Fold { before, after } => {
                push(before);
                if is_any_hour {
                    push(after);
                }
            }
            AmbiguousOffset::Gap { .. } if is_any_hour => {}
            AmbiguousOffset::Gap { before, .. } => {
                // Read with the offset from before, it is so long after the change as the time is after the gap began.
                let inside = before.to_timestamp(wall).ok();
                let change = inside.and_then(|inside| {
                    self.zone.preceding(inside + jiff::SignedDuration::from_secs(1)).next()
                });
                due.extend(change.and_then(|change| ours(change.timestamp())));
            }
        }
    }
}

fn ours(at: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(at.as_millisecond()).ok().map(Timestamp::from_millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
