//! The machine's clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use campanile_common::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// The wall clock, UTC.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Time since the machine started, sleep included. Nobody sets this clock, and all processes see the same.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Names this run of the kernel; another one after each start of the machine. Empty where the kernel does not tell.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
