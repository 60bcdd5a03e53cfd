//! Durations as people write them (`90s`, `1h`, `7d`, `1h30m`), and ages as tables show them (`3s`, `2h`).

use std::time::Duration;

/// Longest duration that is taken: a hundred years.
const SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// Units by their letter, in seconds, longest first.
const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration; write one like 90s, 15m, 1h, 7d or 1h30m")]
pub struct DurationError(String);

/// Reads a duration: numbers each with one of w, d, h, m, s.
///
/// # Errors
/// When it is something else, zero, or longer than a century.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    seconds(text)
        .filter(|seconds| (1..=SECONDS_MAX).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| DurationError(text.to_owned()))
}

fn seconds(text: &str) -> Option<u64> {
    let (mut total, mut number) = (0_u64, None::<u64>);
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(digit))?);
        } else {
            let (_, unit) = UNITS.iter().find(|(letter, _)| *letter == c)?;
            total = total.checked_add(number.take()?.checked_mul(*unit)?)?;
        }
    }
    // A number without its unit says nothing.
    number.is_none().then_some(total)
}

/// The age in its largest whole unit, as tables show it.
pub fn short(age: Duration) -> String {
    let seconds = age.as_secs();
    for (letter, unit) in UNITS {
        // Weeks say less than the number of days.
        if letter != 'w' && seconds >= unit {
            return format!("{}{letter}", seconds / unit);
        }
    }
    "0s".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, seconds) in
            [("90s", 90), ("1h", 3600), ("7d", 604_800), ("1h30m", 5400), ("2w", 1_209_600)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_examples() {
        for text in ["", "5", "h", "1x", "-1h", "0s", "1h5", "99999999999999999999s", "9999999w", "1.5h"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("5").unwrap_err().to_string().contains("like 90s"));
    }

    #[test]
    fn ages_show_their_largest_unit() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_400, "1d"), (900_000, "10d")]
        {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
