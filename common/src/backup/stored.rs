//! What a node and the backup store agree on beside the frames: kinds of objects, and what the store keeps by itself.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::Keep;
use crate::id::Digest;
use crate::time::Timestamp;

const DAY_MS: u64 = 86_400_000;
const DAY: Duration = Duration::from_secs(86_400);

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

/// Which snapshots the store keeps where no policy says it: so many of the newest, and the newest of so many hours, days,
/// weeks, months and years in which there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct Retention {
    /// The newest so many; at least one is always kept.
    pub keep_last: u32,
    /// Hours.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
    /// All that are at most so many days older than the newest.
    pub within_days: u32,
    /// Whatever the rest and any policy says, nothing younger than so many days is let go, and what is let go can be
    /// brought back for as long.
    pub floor_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_last: 3,
            hourly: 0,
            daily: 7,
            weekly: 5,
            monthly: 12,
            yearly: 0,
            within_days: 0,
            floor_days: 30,
        }
    }
}

impl Retention {
    /// The floor in milliseconds.
    pub fn floor_ms(&self) -> u64 {
        u64::from(self.floor_days) * DAY_MS
    }

    /// The floor.
    pub fn floor(&self) -> Duration {
        DAY * self.floor_days
    }

    /// The same rules as a policy has them.
    pub fn keep(&self) -> Keep {
        Keep {
            last: self.keep_last.max(1),
            hourly: self.hourly,
            daily: self.daily,
            weekly: self.weekly,
            monthly: self.monthly,
            yearly: self.yearly,
            within: (self.within_days > 0).then(|| DAY * self.within_days),
        }
    }

    /// Which of `times`, in order of time, the rules keep; the floor is not asked. The last is always among them.
    pub fn keeps(&self, times: &[Timestamp]) -> Vec<bool> {
        self.keep().keeps(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_kept_even_by_rules_that_keep_nothing() {
        let none = Retention { keep_last: 0, daily: 0, weekly: 0, monthly: 0, ..Retention::default() };
        let at = |days| Timestamp::from_millis(days * DAY_MS);
        assert_eq!(none.keeps(&[at(1), at(2)]), [false, true]);
        assert_eq!(none.keeps(&[]), Vec::<bool>::new());
        let within = Retention { within_days: 3, ..none };
        assert_eq!(within.keeps(&[at(1), at(2), at(4)]), [false, true, true]);
    }
}
