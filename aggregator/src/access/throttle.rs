//! Bounds how much of the audit log failures and denials can fill. Pure.
//!
//! Each action has a bucket; what does not fit is counted, and the next that does carries the count.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::time::Timestamp;

/// Records of one action in a row.
const BURST: u32 = 20;
/// One more record each.
const REFILL: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    refilled: Timestamp,
    suppressed: u64,
}

/// The buckets; one per action, and actions are constants of the program.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    buckets: BTreeMap<&'static str, Bucket>,
}

impl Throttle {
    /// Whether one more may be recorded, and how many were not since the last that was.
    pub(super) fn admit(&mut self, now: Timestamp, action: &'static str) -> Option<u64> {
        let bucket =
            self.buckets.entry(action).or_insert(Bucket { left: BURST, refilled: now, suppressed: 0 });
        let passed = now.since(bucket.refilled).as_millis() / REFILL.as_millis();
        let gained = u32::try_from(passed).unwrap_or(u32::MAX);
        // A clock that was set back starts the wait anew.
        if gained > 0 || now < bucket.refilled {
            bucket.left = bucket.left.saturating_add(gained).min(BURST);
            bucket.refilled = now;
        }
        if bucket.left == 0 {
            bucket.suppressed += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.suppressed))
    }

    /// Takes the counts of what was not recorded, so that they can be recorded by themselves.
    pub(super) fn take_suppressed(&mut self) -> Vec<(&'static str, u64)> {
        let counts = self.buckets.iter_mut().filter(|(_, bucket)| bucket.suppressed > 0);
        counts.map(|(action, bucket)| (*action, std::mem::take(&mut bucket.suppressed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_the_count_comes_with_the_next_record() {
        let (mut throttle, start) = (Throttle::default(), Timestamp::from_millis(1_000_000));
        let admitted = (0..100).filter(|_| throttle.admit(start, "session.start").is_some()).count();
        assert_eq!(admitted, 20);
        assert_eq!(throttle.admit(start, "node.retire"), Some(0));
        assert_eq!(throttle.admit(start + REFILL, "session.start"), Some(80));
        assert_eq!(throttle.admit(start + REFILL, "session.start"), None);
        assert_eq!(throttle.take_suppressed(), [("session.start", 1)]);
        assert_eq!(throttle.take_suppressed(), []);
        assert_eq!(throttle.admit(start, "session.start"), None, "set back");
        assert_eq!(throttle.admit(start + REFILL, "session.start"), Some(1));
    }
}
