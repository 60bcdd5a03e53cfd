//! Quantities that carry their unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// So many binary mebibytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }
}

const PREFIXES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// With a binary prefix and one decimal, e.g. `1.5 MiB`.
impl fmt::Display for ByteCount {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is printed")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut prefix = 0;
        while value >= 1024.0 && prefix + 1 < PREFIXES.len() {
            value /= 1024.0;
            prefix += 1;
        }
        if prefix == 0 { write!(f, "{} B", self.0) } else { write!(f, "{value:.1} {}", PREFIXES[prefix]) }
    }
}

/// Text that is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size: give a whole number and one of B, KiB, MiB, GiB, TiB and PiB, e.g. `100 MiB`")]
pub struct ByteCountError(String);

/// Reads a whole number with its unit, e.g. `100 MiB`; the blank may be left out.
impl FromStr for ByteCount {
    type Err = ByteCountError;

    fn from_str(text: &str) -> Result<Self, ByteCountError> {
        let read = || {
            let text = text.trim();
            let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            let power = PREFIXES.iter().position(|prefix| *prefix == unit.trim_start())?;
            let factor = 1024_u64.checked_pow(u32::try_from(power).ok()?)?;
            count.parse::<u64>().ok()?.checked_mul(factor).map(Self)
        };
        read().ok_or_else(|| ByteCountError(text.to_owned()))
    }
}

/// Reads a time as `90m`, `1h30m` or `2d`: whole numbers of weeks, days, hours, minutes and seconds, one after the other.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        let seconds = match rest[digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(count.checked_mul(seconds)?))?;
        rest = &rest[digits + 1..];
    }
    Some(total)
}

/// Writes a time as [`parse_duration`] reads it, to the second.
pub fn format_duration(duration: Duration) -> String {
    let mut left = duration.as_secs();
    let mut text = String::new();
    for (seconds, unit) in [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
        if left >= seconds {
            text.push_str(&format!("{}{unit}", left / seconds));
            left %= seconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Writes an age for people, in one unit and rounded down: `40 s`, `90 min`, `30 h`, `3 d`.
pub fn format_age(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(2 * 86_400, 86_400, "d"), (2 * 3600, 3600, "h"), (120, 60, "min")];
    let unit = units.into_iter().find(|(from, _, _)| seconds >= *from);
    let (_, length, unit) = unit.unwrap_or((0, 1, "s"));
    format!("{} {unit}", seconds / length)
}

/// A share of a whole, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(f64);

impl Percent {
    /// `part` of `whole` in per cent, within 0 and 100; none when the whole is zero or less.
    pub fn of(part: f64, whole: f64) -> Option<Self> {
        (whole > 0.0 && part.is_finite()).then(|| Self((part / whole * 100.0).clamp(0.0, 100.0)))
    }

    /// The number, 0 to 100.
    pub const fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_print_with_binary_prefixes() {
        assert_eq!(ByteCount(999).to_string(), "999 B");
        assert_eq!(ByteCount(1536).to_string(), "1.5 KiB");
        assert_eq!(ByteCount::mebibytes(32).to_string(), "32.0 MiB");
    }

    #[test]
    fn an_age_has_one_unit_and_is_rounded_down() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7199, "119 min"),
            (7200, "2 h"),
            (172_799, "47 h"),
            (300_000, "3 d"),
        ] {
            assert_eq!(format_age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn sizes_are_read_with_their_unit_alone() {
        for (text, bytes) in [("100 MiB", 100 << 20), ("1KiB", 1024), (" 0 B ", 0), ("3 TiB", 3 << 40)] {
            assert_eq!(text.parse(), Ok(ByteCount(bytes)), "{text}");
        }
        for text in ["", "100", "MiB", "1.5 GiB", "-1 B", "1 MB", "1 mib", "99999999999 PiB", "1 MiB x"] {
            assert!(text.parse::<ByteCount>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, seconds) in [("90m", 5400), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), ("0s", 0)] {
            let read = parse_duration(text).unwrap();
            assert_eq!(read.as_secs(), seconds, "{text}");
            assert_eq!(parse_duration(&format_duration(read)), Some(read), "{text}");
        }
        for text in ["", "5", "m", "-5m", "5x", "99999999999999999999d", "1 h", "1h "] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(format_duration(Duration::from_secs(129_600)), "1d12h");
    }

    #[test]
    fn a_share_of_nothing_is_unknown() {
        assert_eq!(Percent::of(1.0, 0.0), None);
        assert_eq!(Percent::of(1.0, 4.0).map(Percent::get), Some(25.0));
    }
}
