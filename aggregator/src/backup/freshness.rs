//! Whether a policy's newest snapshot is fresh enough. Pure: when the store received it, and the time now, are given, so
//! a node that is dead or lies about its clock is judged like any other.
//!
//! A snapshot that is older than the policy's `max_age` is late, which is a warning; at twice that age it is critical. A
//! policy without any snapshot is waited for as long, from when the aggregator first knew of it on that node.

use std::time::Duration;

use campanile_common::time::Timestamp;

/// How much somebody should mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `max_age` has passed.
    Warning,
    /// Twice as much has.
    Critical,
}

/// How a policy of a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Its newest snapshot is as young as it should be.
    Fresh {
        /// Since it was received.
        age: Duration,
    },
    /// Its newest snapshot is too old.
    Late {
        /// Since it was received.
        age: Duration,
        /// How much too old.
        severity: Severity,
    },
    /// It has no snapshot, and should have.
    Missing {
        /// Since it is waited for.
        waited: Duration,
        /// How much too long.
        severity: Severity,
    },
    /// It has no snapshot yet, and need not have.
    Unknown {
        /// Since it is waited for.
        waited: Duration,
    },
}

impl Freshness {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh { .. } => "fresh",
            Self::Late { .. } => "late",
            Self::Missing { .. } => "missing",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// How much somebody should mind; none where nobody need.
    pub const fn severity(self) -> Option<Severity> {
        match self {
            Self::Late { severity, .. } | Self::Missing { severity, .. } => Some(severity),
            Self::Fresh { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// Judges a policy. `received`: when the store received its newest snapshot; `since`: when the aggregator first knew that
/// the node has the policy, or the node was enrolled if that was later.
pub fn judge(max_age: Duration, received: Option<Timestamp>, since: Timestamp, now: Timestamp) -> Freshness {
    let age = now.since(received.unwrap_or(since));
    let severity = if age > max_age.saturating_mul(2) {
        Some(Severity::Critical)
    } else {
        (age > max_age).then_some(Severity::Warning)
    };
    match (received, severity) {
        (Some(_), None) => Freshness::Fresh { age },
        (Some(_), Some(severity)) => Freshness::Late { age, severity },
        (None, None) => Freshness::Unknown { waited: age },
        (None, Some(severity)) => Freshness::Missing { waited: age, severity },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MAX_AGE: Duration = Duration::from_secs(36 * 3600);
    const SINCE: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn at(hours: u32) -> Timestamp {
        SINCE + HOUR * hours
    }

    fn judged(received: Option<u32>, now: u32) -> Freshness {
        judge(MAX_AGE, received.map(at), SINCE, at(now))
    }

    #[test]
    fn a_snapshot_is_fresh_then_late_then_critical() {
        assert_eq!(judged(Some(10), 10), Freshness::Fresh { age: Duration::ZERO });
        assert_eq!(judged(Some(10), 46), Freshness::Fresh { age: MAX_AGE });
        assert_eq!(judged(Some(10), 47), Freshness::Late { age: HOUR * 37, severity: Severity::Warning });
        assert_eq!(judged(Some(10), 82).severity(), Some(Severity::Warning));
        assert_eq!(judged(Some(10), 83), Freshness::Late { age: HOUR * 73, severity: Severity::Critical });
    }

    #[test]
    fn a_policy_without_a_snapshot_is_waited_for_and_then_missed() {
        assert_eq!(judged(None, 36), Freshness::Unknown { waited: MAX_AGE });
        assert_eq!(judged(None, 37), Freshness::Missing { waited: HOUR * 37, severity: Severity::Warning });
        assert_eq!(judged(None, 73).severity(), Some(Severity::Critical));
    }

    #[test]
    fn a_snapshot_of_before_the_policy_was_known_counts_and_one_of_later_than_now_is_new() {
        assert_eq!(judge(MAX_AGE, Some(SINCE - HOUR), SINCE, at(1)), Freshness::Fresh { age: HOUR * 2 });
        assert_eq!(judged(Some(10), 9), Freshness::Fresh { age: Duration::ZERO });
        let longest = judge(Duration::MAX, None, SINCE, at(1000));
        assert_eq!(longest.as_str(), "unknown");
    }
}
