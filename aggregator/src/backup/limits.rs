//! How much a node may store: its quota, the space that stays free for others, objects in an hour.

use campanile_common::time::Timestamp;
use campanile_common::unit::ByteCount;
use campanile_common::wire::v1::store::StoreFailure;

use super::Failure;

const HOUR_MS: u64 = 3_600_000;

/// Limits of every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a node, with its trash.
    pub quota: ByteCount,
    /// So much of the disk stays free.
    pub free_floor: ByteCount,
    /// Most objects of a node in an hour.
    pub objects_per_hour: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            quota: ByteCount(1 << 40),
            free_floor: ByteCount(5 << 30),
            // A first backup of 1.6 TB in packs of 16 MiB within ten hours; a flood of small ones is told.
            objects_per_hour: 20_000,
        }
    }
}

/// What is known when an object comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes of the node, with its trash and with what is on its way.
    pub(super) used: u64,
    /// Free bytes of the disk, less what is on its way from all nodes.
    pub(super) free: u64,
}

impl Limits {
    /// Whether an object of `size` bytes finds room.
    pub(super) fn check(&self, room: Room, size: u64) -> Result<(), Failure> {
        if room.used.saturating_add(size) > self.quota.0 {
            let reason = format!(
                "{} are stored and the quota is {}; `quota` of the node's policies and `quota_bytes` of the \
                 aggregator's settings raise it",
                ByteCount(room.used),
                self.quota
            );
            return Err(Failure::new(StoreFailure::Full, reason));
        }
        if room.free < self.free_floor.0.saturating_add(size) {
            let reason = format!(
                "{} are free on the store's disk and {} stay free (`free_floor_bytes`); make room there",
                ByteCount(room.free),
                self.free_floor
            );
            return Err(Failure::new(StoreFailure::Full, reason));
        }
        Ok(())
    }
}

/// Counts objects in the running hour.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HourCount {
    hour: u64,
    count: u32,
}

impl HourCount {
    /// Counts one; false when it is over the limit.
    pub(super) fn take(&mut self, now: Timestamp, limit: u32) -> bool {
        let hour = now.as_millis() / HOUR_MS;
        if hour != self.hour {
            *self = Self { hour, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_and_the_floor_of_the_disk_are_kept_to_the_byte() {
        let limits = Limits { quota: ByteCount(100), free_floor: ByteCount(50), objects_per_hour: 1 };
        let room = |used, free| Room { used, free };
        assert!(limits.check(room(90, 60), 10).is_ok());
        for (room, reason) in [(room(91, 1000), "quota"), (room(0, 59), "free")] {
            let failure = limits.check(room, 10).unwrap_err();
            assert_eq!(failure.code, StoreFailure::Full);
            assert!(failure.reason.contains(reason), "{}", failure.reason);
        }
        assert!(limits.check(room(0, u64::MAX), u64::MAX).is_err());
    }

    #[test]
    fn an_hour_has_so_many_objects_and_the_next_begins_anew() {
        let mut count = HourCount::default();
        let now = Timestamp::from_millis(HOUR_MS * 5 + 7);
        let taken = (0..10).filter(|_| count.take(now, 4)).count();
        assert_eq!(taken, 4);
        assert!(count.take(Timestamp::from_millis(HOUR_MS * 6), 4));
    }
}
