//! When a schedule is due: five fields as in cron, or `@every`. Pure: the time zone's rules are data of the machine,
//! the time is an argument.
//!
//! The fields are minute, hour, day of month, month, day of week (0 or 7 is Sunday), each `*`, a value, a range, a list
//! or any of these with a step; months and days also by their English names. Where both days are restricted, either
//! suffices, as in every cron. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` stand for their five fields.
//!
//! Where clocks change: with fixed hours, a time that does not exist is due at the next one that does, and one that
//! comes twice is due the first time alone. With `*` hours the clock on the wall does not matter: times that do not
//! exist are left out, and those that come twice are due twice, so that `*/5 * * * *` goes on every five minutes.

use std::time::Duration;

use campanile_common::time::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// Longest text.
const TEXT_BYTES_MAX: usize = 256;
/// Shortest and longest interval of `@every`.
const EVERY_MIN: Duration = Duration::from_secs(60);
const EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);
/// A due time further away than any leap day is from the next is none: 29 February skips 2100.
const DAYS_MAX: usize = 8 * 366 + 1;
/// Days whose due times are looked at to find the shortest interval: a year with both changes of the clocks.
const INTERVAL_DAYS: usize = 370;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Text that says no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WhenError {
    /// A field cannot be read.
    #[error("the {field} `{text}`: {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it says.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// Not five fields and no `@every`.
    #[error("`{0}` is neither five fields as in cron, e.g. `30 3 * * sun`, nor `@every 15m`")]
    Form(String),
    /// An interval that cannot be read, or is too short or too long.
    #[error("`{0}` is no interval from 1m to 366d, e.g. `@every 90m`")]
    Every(String),
    /// No such day.
    #[error("`{0}` never comes: no such month has that day")]
    Never(String),
    /// No such time zone.
    #[error(
        "there is no time zone `{0}` on the aggregator; give one like `Europe/Rome`, or leave it out for UTC"
    )]
    TimeZone(String),
}

/// Values of one field, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// It began with `*`.
    is_any: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron(Box<Fields>),
    Every { interval: Duration, anchor: Timestamp },
}

/// When a schedule is due.
#[derive(Debug, Clone)]
pub(super) struct When {
    rule: Rule,
    zone: TimeZone,
}

impl When {
    /// Reads the text. Intervals count from `anchor`.
    ///
    /// # Errors
    /// When it says no time, or none that ever comes.
    pub(super) fn parse(text: &str, zone: Option<&str>, anchor: Timestamp) -> Result<Self, WhenError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(WhenError::Form(text.chars().take(32).collect()));
        }
        let zone = match zone {
            None | Some("UTC") => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| WhenError::TimeZone(name.to_owned()))?,
        };
        let trimmed = text.trim();
        if let Some(interval) = trimmed.strip_prefix("@every ") {
            let every = || WhenError::Every(trimmed.to_owned());
            let interval = parse_interval(interval.trim()).ok_or_else(every)?;
            return Ok(Self { rule: Rule::Every { interval, anchor }, zone });
        }
        let fields = match trimmed {
            "@hourly" => "0 * * * *",
            "@daily" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" => "0 0 1 1 *",
            other => other,
        };
        let rule = Rule::Cron(Box::new(Fields::parse(fields)?));
        Ok(Self { rule, zone })
    }

    /// The first due time after this one; none when there is none within eight years.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every { interval, anchor } => {
                // Nothing has passed before the anchor.
                let passed = millis(after.since(*anchor)) / millis(*interval);
                Some(*anchor + interval.checked_mul(u32::try_from(passed + 1).ok()?)?)
            }
            Rule::Cron(fields) => {
                // A day earlier: where the clock skips a day, its due times move into the next.
                let first = self.date(after)?.yesterday().ok()?;
                first
                    .series(jiff::Span::new().days(1))
                    .take(DAYS_MAX)
                    .find_map(|date| self.due_on(fields, date).into_iter().find(|due| *due > after))
            }
        }
    }

    /// The last due time after `after` and not after `until`.
    pub(super) fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        if until <= after {
            return None;
        }
        match &self.rule {
            Rule::Every { interval, anchor } => {
                let count = millis(until.since(*anchor)) / millis(*interval);
                let due = *anchor + interval.checked_mul(u32::try_from(count).ok()?)?;
                (count > 0 && due > after && due <= until).then_some(due)
            }
            Rule::Cron(fields) => {
                let last = self.date(until)?.tomorrow().ok()?;
                let first = self.date(after)?.yesterday().ok()?;
                let days = last.series(jiff::Span::new().days(-1)).take(DAYS_MAX);
                days.take_while(|date| *date >= first).find_map(|date| {
                    let due = self.due_on(fields, date);
                    due.into_iter().rev().find(|due| *due > after && *due <= until)
                })
            }
        }
    }

    /// The shortest time between two due times in the year after `from`; none when there is at most one in it.
    pub(super) fn shortest_interval(&self, from: Timestamp) -> Option<Duration> {
        let fields = match &self.rule {
            Rule::Every { interval, .. } => return Some(*interval),
            Rule::Cron(fields) => fields,
        };
        let first = self.date(from)?;
        let (mut shortest, mut last) = (None, None);
        for date in first.series(jiff::Span::new().days(1)).take(INTERVAL_DAYS) {
            for due in self.due_on(fields, date) {
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
    fn due_on(&self, fields: &Fields, date: Date) -> Vec<Timestamp> {
        if !fields.has_day(date) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for hour in (0..24_i8).filter(|hour| fields.hour.has(*hour)) {
            for minute in (0..60_i8).filter(|minute| fields.minute.has(*minute)) {
                let time = Time::constant(hour, minute, 0, 0);
                self.instants(date.to_datetime(time), fields.hour.is_any, &mut due);
            }
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

/// `90m`, `1h30m`, `2d`.
fn parse_interval(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        let seconds = match rest[digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(count.checked_mul(seconds)?))?;
        rest = &rest[digits + 1..];
    }
    (EVERY_MIN..=EVERY_MAX).contains(&total).then_some(total)
}

impl Fields {
    fn parse(text: &str) -> Result<Self, WhenError> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else {
            return Err(WhenError::Form(text.to_owned()));
        };
        let fields = Self {
            minute: Field::parse("minute", minute, (0, 59), &[])?,
            hour: Field::parse("hour", hour, (0, 23), &[])?,
            day: Field::parse("day of the month", day, (1, 31), &[])?,
            month: Field::parse("month", month, (1, 12), &MONTHS)?,
            weekday: Field::parse("day of the week", weekday, (0, 7), &WEEKDAYS)?.with_one_sunday(),
        };
        if fields.day.is_any || !fields.weekday.is_any || fields.has_any_day() {
            Ok(fields)
        } else {
            Err(WhenError::Never(text.to_owned()))
        }
    }

    /// True when one of the months has one of the days, in a leap year.
    fn has_any_day(&self) -> bool {
        let longest = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31_i8];
        (1_i8..)
            .zip(longest)
            .any(|(month, longest)| self.month.has(month) && (1..=longest).any(|day| self.day.has(day)))
    }

    fn has_day(&self, date: Date) -> bool {
        let by_day = self.day.has(date.day());
        let by_weekday = self.weekday.has(date.weekday().to_sunday_zero_offset());
        let is_day = match (self.day.is_any, self.weekday.is_any) {
            (false, false) => by_day || by_weekday,
            // One of them begins with `*`, perhaps with a step: both must hold.
            _ => by_day && by_weekday,
        };
        is_day && self.month.has(date.month())
    }
}

impl Field {
    const fn has(self, value: i8) -> bool {
        value >= 0 && self.bits >> value & 1 == 1
    }

    /// Sunday is 0 and 7.
    const fn with_one_sunday(self) -> Self {
        Self { bits: (self.bits | self.bits >> 7 & 1) & 0x7f, is_any: self.is_any }
    }

    /// `names` begin with the least value.
    fn parse(
        field: &'static str,
        text: &str,
        (least, most): (u8, u8),
        names: &[&str],
    ) -> Result<Self, WhenError> {
        let broken = |problem: String| WhenError::Field { field, text: text.to_owned(), problem };
        let value = |word: &str| {
            let lower = word.to_ascii_lowercase();
            let named = (least..).zip(names).find(|(_, name)| **name == lower).map(|(value, _)| value);
            let number = || word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()));
            let value: Option<u8> = named.or_else(number);
            value.filter(|value| (least..=most).contains(value)).ok_or_else(|| {
                let names = if names.is_empty() { "" } else { " or a name of three letters" };
                broken(format!("`{word}` is no number from {least} to {most}{names}"))
            })
        };
        let mut bits = 0_u64;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    let step = step.parse().ok().filter(|step| (1..=most).contains(step));
                    (range, Some(step.ok_or_else(|| broken(format!("a step is 1 to {most}")))?))
                }
                None => (part, None),
            };
            let (first, last) = match (range, range.split_once('-')) {
                ("*", _) => (least, most),
                (_, Some((first, last))) => (value(first)?, value(last)?),
                // `5/15` is from 5 on, as cron has it.
                (single, None) => (value(single)?, if step.is_some() { most } else { value(single)? }),
            };
            if first > last {
                return Err(broken(format!("`{range}` runs backwards; write it as two ranges")));
            }
            for value in (first..=last).step_by(usize::from(step.unwrap_or(1))) {
                bits |= 1 << value;
            }
        }
        Ok(Self { bits, is_any: text.starts_with('*') })
    }
}

#[cfg(test)]
mod tests;
