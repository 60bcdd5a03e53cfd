//! Which snapshot is meant: `latest`, a time, or the begin of a name; times of the operator's clock become UTC. Pure but
//! for [`Zone::system`].

use campanile_common::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// As few digits as a name may be shortened to.
const PREFIX_DIGITS_MIN: usize = 4;
/// Digits of a whole name.
const NAME_DIGITS: usize = 64;

/// Text that means no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// Nothing that is known.
    #[error(
        "`{0}` is no snapshot: give `latest`, a time like 2026-05-03T10:14:00Z or '2026-05-03 10:14', or the begin of a \
         snapshot's name, at least {PREFIX_DIGITS_MIN} digits"
    )]
    Unknown(String),
    /// A day has many snapshots.
    #[error("`{0}` is a whole day; give the time too, like '{0} 10:14'")]
    Day(String),
    /// The clock was set back or forward over it.
    #[error(
        "the clock showed `{0}` twice, or never, that day; give the time with its offset, like 2026-10-25T02:30:00+01:00"
    )]
    Ambiguous(String),
}

/// Whose clock times without an offset are of.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// That of this machine, or of the variable `TZ`.
    pub fn system() -> Self {
        Self(TimeZone::system())
    }

    /// What a node is told for `text`.
    ///
    /// # Errors
    /// When it means no snapshot.
    pub fn snapshot(&self, text: &str) -> Result<String, MomentError> {
        let text = text.trim();
        if text == "latest" {
            return Ok(text.to_owned());
        }
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return utc(at).ok_or_else(|| MomentError::Unknown(text.to_owned()));
        }
        let is_name = text.len() >= PREFIX_DIGITS_MIN
            && text.len() <= NAME_DIGITS
            && text.chars().all(|c| c.is_ascii_hexdigit());
        if is_name {
            return Ok(text.to_lowercase());
        }
        if text.parse::<jiff::civil::Date>().is_ok() && !text.contains(':') {
            return Err(MomentError::Day(text.to_owned()));
        }
        let shown: DateTime = text.parse().map_err(|_| MomentError::Unknown(text.to_owned()))?;
        let at = self.0.to_ambiguous_timestamp(shown).unambiguous();
        let at = at.map_err(|_| MomentError::Ambiguous(text.to_owned()))?;
        utc(at).ok_or_else(|| MomentError::Unknown(text.to_owned()))
    }
}

fn utc(at: jiff::Timestamp) -> Option<String> {
    let millis = u64::try_from(at.as_millisecond()).ok()?;
    Some(Timestamp::from_millis(millis).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rome() -> Zone {
        Zone(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap())
    }

    #[test]
    fn a_time_of_the_wall_clock_becomes_utc() {
        let zone = rome();
        for (text, said) in [
            ("latest", "latest"),
            ("2026-05-03 10:14", "2026-05-03T08:14:00.000Z"),
            ("2026-01-03T10:14:05", "2026-01-03T09:14:05.000Z"),
            ("2026-05-03T10:14:00Z", "2026-05-03T10:14:00.000Z"),
            ("2026-05-03T10:14:00-03:00", "2026-05-03T13:14:00.000Z"),
            ("4F0C2a91", "4f0c2a91"),
        ] {
            assert_eq!(zone.snapshot(text).as_deref(), Ok(said), "{text}");
        }
    }

    #[test]
    fn what_the_clock_showed_twice_or_never_is_asked_again() {
        for text in ["2026-10-25 02:30", "2026-03-29 02:30"] {
            assert_eq!(rome().snapshot(text), Err(MomentError::Ambiguous(text.to_owned())));
        }
        assert!(rome().snapshot("2026-10-25T02:30:00+01:00").is_ok());
    }

    #[test]
    fn a_day_alone_and_what_is_nothing_are_refused_with_examples() {
        assert_eq!(rome().snapshot("2026-05-03"), Err(MomentError::Day("2026-05-03".to_owned())));
        for wrong in ["", "yesterday", "abc", "--in-place", "2026-13-03 10:14", &"a".repeat(65)] {
            assert!(matches!(rome().snapshot(wrong), Err(MomentError::Unknown(_))), "{wrong}");
        }
    }
}
