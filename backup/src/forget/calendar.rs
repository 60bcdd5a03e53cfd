//! Hours, days, weeks, months and years of UTC, and how long before.

use std::fmt;

use time::{Date, Duration, Month, OffsetDateTime, Time};

use super::Period;
use crate::tree::FileTime;

/// A length of time by the calendar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

impl Span {
    /// Whether it is no time at all: the rule is not used then.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { years, months, days, hours } = *self;
        for (number, unit) in [(years, 'y'), (months, 'm'), (days, 'd'), (hours, 'h')] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

/// A moment of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(OffsetDateTime);

impl Moment {
    /// A moment outside of the years 1 to 9999 is the nearest within.
    pub(super) fn new(time: FileTime) -> Self {
        let seconds = time.seconds.clamp(-62_135_596_800, 253_402_300_799);
        let moment = OffsetDateTime::from_unix_timestamp(seconds).expect("a year from 1 to 9999");
        let nanoseconds = time.nanoseconds.min(999_999_999);
        Self(moment.replace_nanosecond(nanoseconds).expect("less than a second"))
    }

    /// So long before. A day that its month does not have is counted on into the next: a month before 31 March is 3
    /// March. What would be before the year 1 is its beginning.
    pub(super) fn before(self, span: Span) -> Self {
        let beginning = Self::new(FileTime { seconds: i64::MIN, nanoseconds: 0 });
        self.checked_before(span).unwrap_or(beginning)
    }

    fn checked_before(self, span: Span) -> Option<Self> {
        let date = self.0.date();
        let zero_based = u8::from(date.month()).checked_sub(1)?;
        let months = i64::from(date.year()) * 12 + i64::from(zero_based)
            - i64::from(span.years) * 12
            - i64::from(span.months);
        let year = i32::try_from(months.div_euclid(12)).ok().filter(|year| *year >= 1)?;
        let month = Month::try_from(u8::try_from(months.rem_euclid(12)).ok()? + 1).ok()?;
        let first = Date::from_calendar_date(year, month, 1).ok()?;
        let days = i64::from(date.day()) - 1 - i64::from(span.days);
        let date = first.checked_add(Duration::days(days))?;
        let moment =
            OffsetDateTime::new_utc(date, self.time()).checked_sub(Duration::hours(span.hours.into()))?;
        (moment.year() >= 1).then_some(Self(moment))
    }

    fn time(self) -> Time {
        self.0.time()
    }

    /// The same for all moments of a period; `each` stands for [`Period::Each`].
    pub(super) fn number(self, period: Period, each: usize) -> u64 {
        let date = self.0.date();
        let (iso_year, week, _) = date.to_iso_week_date();
        let positive = |year: i32| u64::from(year.unsigned_abs());
        let month = positive(date.year()) * 100 + u64::from(u8::from(date.month()));
        let day = month * 100 + u64::from(date.day());
        match period {
            Period::Each => each as u64,
            Period::Hour => day * 100 + u64::from(self.0.hour()),
            Period::Day => day,
            Period::Week => positive(iso_year) * 100 + u64::from(week),
            Period::Month => month,
            Period::Year => positive(date.year()),
        }
    }
}
