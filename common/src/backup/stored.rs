//! What a node and the backup store agree on beside the frames: kinds of objects, and which snapshots a policy keeps.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::time::Timestamp;

const DAY_MS: u64 = 86_400_000;

/// The number of the day, week or month that a time is in.
type Slot = fn(Timestamp) -> u64;

/// What a stored object is for. A lock is no such kind: the store takes one deletion of a node at a time by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StoredKind {
    /// The repository's one `config`, whose name is all zero.
    Config,
    /// A key file.
    Key,
    /// A snapshot.
    Snapshot,
    /// Where blobs lie in packs.
    Index,
    /// A pack of blobs.
    Pack,
}

impl StoredKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Config, Self::Key, Self::Snapshot, Self::Index, Self::Pack];

    /// In a word, for people and for journals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "key",
            Self::Snapshot => "snapshot",
            Self::Index => "index",
            Self::Pack => "pack",
        }
    }
}

impl fmt::Display for StoredKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kind and name of a stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoredObject {
    /// What it is for.
    pub kind: StoredKind,
    /// The hash of its bytes; all zero for `config`.
    pub id: Digest,
}

impl StoredObject {
    /// The repository's `config`.
    pub const CONFIG: Self = Self { kind: StoredKind::Config, id: Digest::from_bytes([0; Digest::BYTES]) };

    /// Of this kind and name.
    pub const fn new(kind: StoredKind, id: Digest) -> Self {
        Self { kind, id }
    }
}

impl fmt::Display for StoredObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            StoredKind::Config => f.write_str("config"),
            kind => write!(f, "{kind} {}", self.id),
        }
    }
}

/// Which snapshots a policy keeps: so many of the newest, and the newest of so many days, weeks and months in which
/// there is one. Days begin at midnight UTC, weeks on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct Retention {
    /// The newest so many; at least one is always kept.
    pub keep_last: u32,
    /// Days.
    pub daily: u32,
    /// Weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Whatever the rest says, nothing younger than so many days is let go, and what is let go can be brought back for
    /// as long.
    pub floor_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep_last: 3, daily: 7, weekly: 5, monthly: 12, floor_days: 30 }
    }
}

impl Retention {
    /// The floor in milliseconds.
    pub fn floor_ms(&self) -> u64 {
        u64::from(self.floor_days) * DAY_MS
    }

    /// Which of `times`, in order of time, the rules keep; the floor is not asked. The last is always among them.
    pub fn keeps(&self, times: &[Timestamp]) -> Vec<bool> {
        let mut kept = vec![false; times.len()];
        let last = usize::try_from(self.keep_last.max(1)).unwrap_or(usize::MAX);
        for place in kept.iter_mut().rev().take(last) {
            *place = true;
        }
        let slots: [(u32, Slot); 3] = [(self.daily, day), (self.weekly, week), (self.monthly, month)];
        for (count, slot) in slots {
            let mut seen = BTreeSet::new();
            for (place, time) in kept.iter_mut().zip(times).rev() {
                if seen.len() == usize::try_from(count).unwrap_or(usize::MAX) {
                    break;
                }
                if seen.insert(slot(*time)) {
                    *place = true;
                }
            }
        }
        kept
    }
}

fn day(time: Timestamp) -> u64 {
    time.as_millis() / DAY_MS
}

/// The first day of 1970 was a Thursday.
fn week(time: Timestamp) -> u64 {
    (day(time) + 3) / 7
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
    use super::*;

    fn at(days: u64, hours: u64) -> Timestamp {
        Timestamp::from_millis(days * DAY_MS + hours * 3_600_000)
    }

    fn none() -> Retention {
        Retention { keep_last: 0, daily: 0, weekly: 0, monthly: 0, floor_days: 0 }
    }

    #[test]
    fn the_newest_is_kept_even_by_rules_that_keep_nothing() {
        assert_eq!(none().keeps(&[at(1, 0), at(2, 0)]), [false, true]);
        assert_eq!(none().keeps(&[]), Vec::<bool>::new());
    }

    #[test]
    fn the_newest_of_each_day_counts_and_days_without_one_do_not() {
        let times = [at(1, 1), at(1, 2), at(5, 1), at(9, 1), at(9, 23)];
        let rules = Retention { daily: 3, ..none() };
        assert_eq!(rules.keeps(&times), [false, true, true, false, true]);
        let rules = Retention { daily: 2, ..none() };
        assert_eq!(rules.keeps(&times), [false, false, true, false, true]);
    }

    #[test]
    fn weeks_begin_on_monday() {
        // 2026-11-22 is a Sunday: day 20,779.
        let times = [at(20_778, 0), at(20_779, 0), at(20_780, 0)];
        let rules = Retention { weekly: 2, ..none() };
        assert_eq!(rules.keeps(&times), [false, true, true]);
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        // 2024-02-29 is day 19,782, the first of March follows; 2023-12-31 is day 19,722.
        assert_eq!(month(at(19_782, 23)) + 1, month(at(19_783, 0)));
        assert_eq!(month(at(19_722, 23)) + 1, month(at(19_723, 0)));
        assert_eq!(month(at(19_723, 0)), month(at(19_753, 23)));
        assert_eq!(month(at(19_753, 23)) + 1, month(at(19_754, 0)));
        let rules = Retention { monthly: 12, ..none() };
        let year: Vec<Timestamp> = (19_723..20_089).map(|day| at(day, 12)).collect();
        let kept = rules.keeps(&year).iter().filter(|is_kept| **is_kept).count();
        assert_eq!(kept, 12);
    }
}
