//! The grammar of what happens again and again: five fields as in cron, or `@every`. Pure, and without a time zone:
//! whoever asks for instants knows what the clock on the wall shows.
//!
//! The fields are minute, hour, day of month, month, day of week (0 or 7 is Sunday), each `*`, a value, a range, a list
//! or any of these with a step; months and days also by their English names. Where both days are restricted, either
//! suffices, as in every cron. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` stand for their five fields.

use std::time::Duration;

use crate::time::{civil_from_days, days_from_civil};
use crate::unit::parse_duration;

/// Longest text.
const TEXT_BYTES_MAX: usize = 256;
/// Shortest and longest interval of `@every`.
const EVERY_MIN: Duration = Duration::from_secs(60);
const EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// After 28 years the days of the week fall on the same days of the year, leap days included.
const CYCLE_YEARS: u64 = 28;
/// Some year of which the next 28 have no exception.
const CYCLE_FIRST: u64 = 2001;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Text that says no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecurrenceError {
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
}

/// What happens again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recurrence {
    /// When the clock on the wall and the calendar say so.
    Calendar(Calendar),
    /// After so much time.
    Every(Duration),
}

/// Values of one field, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// It began with `*`.
    is_any: bool,
}

/// Five fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Recurrence {
    /// Reads the text.
    ///
    /// # Errors
    /// When it says no time, or none that ever comes.
    pub fn parse(text: &str) -> Result<Self, RecurrenceError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(RecurrenceError::Form(text.chars().take(32).collect()));
        }
        let trimmed = text.trim();
        if let Some(interval) = trimmed.strip_prefix("@every ") {
            let interval = parse_duration(interval.trim());
            let interval = interval.filter(|interval| (EVERY_MIN..=EVERY_MAX).contains(interval));
            return interval.map(Self::Every).ok_or_else(|| RecurrenceError::Every(trimmed.to_owned()));
        }
        let fields = match trimmed {
            "@hourly" => "0 * * * *",
            "@daily" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" => "0 0 1 1 *",
            other => other,
        };
        Calendar::parse(fields).map(Self::Calendar)
    }

    /// The longest time between two occurrences while the clocks do not change.
    pub fn longest_gap(&self) -> Duration {
        match self {
            Self::Every(interval) => *interval,
            Self::Calendar(calendar) => calendar.longest_gap(),
        }
    }
}

impl Calendar {
    fn parse(text: &str) -> Result<Self, RecurrenceError> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else {
            return Err(RecurrenceError::Form(text.to_owned()));
        };
        let calendar = Self {
            minute: Field::parse("minute", minute, (0, 59), &[])?,
            hour: Field::parse("hour", hour, (0, 23), &[])?,
            day: Field::parse("day of the month", day, (1, 31), &[])?,
            month: Field::parse("month", month, (1, 12), &MONTHS)?,
            weekday: Field::parse("day of the week", weekday, (0, 7), &WEEKDAYS)?.with_one_sunday(),
        };
        if calendar.day.is_any || !calendar.weekday.is_any || calendar.has_any_day() {
            Ok(calendar)
        } else {
            Err(RecurrenceError::Never(text.to_owned()))
        }
    }

    /// True when one of the months has one of the days, in a leap year.
    fn has_any_day(&self) -> bool {
        let longest = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31_u8];
        (1_u8..)
            .zip(longest)
            .any(|(month, longest)| self.month.has(month) && (1..=longest).any(|day| self.day.has(day)))
    }

    /// Whether it falls on a day: month from 1, day of the month from 1, day of the week from 0, which is Sunday.
    pub const fn has_day(&self, month: u8, day: u8, weekday: u8) -> bool {
        let by_day = self.day.has(day);
        let by_weekday = self.weekday.has(weekday);
        let is_day = match (self.day.is_any, self.weekday.is_any) {
            (false, false) => by_day || by_weekday,
            // One of them begins with `*`, perhaps with a step: both must hold.
            _ => by_day && by_weekday,
        };
        is_day && self.month.has(month)
    }

    /// Whether it falls on the day so many days after 1970-01-01.
    pub fn has_day_number(&self, days: u64) -> bool {
        let (_, month, day) = civil_from_days(days);
        // 1970-01-01 was a Thursday.
        let weekday = (days + 4) % 7;
        let small = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
        self.has_day(small(month), small(day), small(weekday))
    }

    /// Whether the hours do not matter.
    pub const fn is_any_hour(&self) -> bool {
        self.hour.is_any
    }

    /// Hour and minute of its times on a day that it falls on, rising; there is one at least.
    pub fn times(&self) -> impl Iterator<Item = (u8, u8)> {
        let hours = (0..24).filter(|hour| self.hour.has(*hour));
        hours.flat_map(|hour| {
            (0..60).filter(|minute| self.minute.has(*minute)).map(move |minute| (hour, minute))
        })
    }

    fn longest_gap(&self) -> Duration {
        let minutes: Vec<u32> =
            self.times().map(|(hour, minute)| u32::from(hour) * 60 + u32::from(minute)).collect();
        let within_a_day = minutes.windows(2).map(|pair| MINUTE * (pair[1] - pair[0])).max();
        let (first, last) = (minutes.first().copied().unwrap_or(0), minutes.last().copied().unwrap_or(0));
        let start = days_from_civil(CYCLE_FIRST, 1, 1).unwrap_or(0);
        let end = days_from_civil(CYCLE_FIRST + CYCLE_YEARS, 1, 1).unwrap_or(0);
        let days: Vec<u64> = (start..end).filter(|day| self.has_day_number(*day)).collect();
        // The cycle begins anew: the first day of the next is as far from its beginning as that of this one.
        let again = days.first().map(|day| day + (end - start));
        let following = days.iter().copied().skip(1).chain(again);
        let days_apart =
            days.iter().zip(following).map(|(day, next)| next - day).max().unwrap_or(end - start);
        let days_apart = DAY.saturating_mul(u32::try_from(days_apart).unwrap_or(u32::MAX));
        let over_night = days_apart.saturating_sub(MINUTE * (last - first));
        within_a_day.map_or(over_night, |gap| gap.max(over_night))
    }
}

impl Field {
    const fn has(self, value: u8) -> bool {
        value < 64 && self.bits >> value & 1 == 1
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
    ) -> Result<Self, RecurrenceError> {
        let broken = |problem: String| RecurrenceError::Field { field, text: text.to_owned(), problem };
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
mod tests {
    use super::*;

    fn gap_hours(text: &str) -> u64 {
        Recurrence::parse(text).unwrap().longest_gap().as_secs() / 3600
    }

    #[test]
    fn the_longest_gap_spans_nights_week_ends_and_leap_years() {
        for (text, hours) in [
            ("@every 6h", 6),
            ("@hourly", 1),
            ("@daily", 24),
            ("0 8-18 * * *", 14),
            ("0 3 * * mon-fri", 72),
            ("30 2 * * sun", 7 * 24),
            ("@monthly", 31 * 24),
            ("0 0 31 * *", 61 * 24),
            ("@yearly", 366 * 24),
            ("0 0 29 2 *", 1461 * 24),
        ] {
            assert_eq!(gap_hours(text), hours, "{text}");
        }
        assert_eq!(Recurrence::parse("*/5 * * * *").unwrap().longest_gap(), MINUTE * 5);
        assert_eq!(Recurrence::parse("0,50 * * * *").unwrap().longest_gap(), MINUTE * 50);
    }

    #[test]
    fn a_day_is_known_by_its_number() {
        // 2026-11-22 is a Sunday.
        let day = days_from_civil(2026, 11, 22).unwrap();
        let has = |text: &str, day| match Recurrence::parse(text).unwrap() {
            Recurrence::Calendar(calendar) => calendar.has_day_number(day),
            Recurrence::Every(_) => panic!("a calendar"),
        };
        assert!(has("0 0 * * sun", day) && !has("0 0 * * sun", day + 1));
        assert!(has("0 0 22 * *", day) && !has("0 0 22 * *", day + 1));
        assert!(has("0 0 1 * 7", day), "either day suffices");
    }

    #[test]
    fn what_says_no_time_is_refused_with_the_reason() {
        let error = |text: &str| Recurrence::parse(text).unwrap_err();
        assert!(matches!(error("0 0 31 feb *"), RecurrenceError::Never(_)));
        assert!(matches!(error("daily"), RecurrenceError::Form(_)));
        assert!(matches!(error("@every 5"), RecurrenceError::Every(_)));
        assert!(error("20-10 0 * * *").to_string().contains("the minute `20-10`"));
    }
}
