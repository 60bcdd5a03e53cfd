//! The wall clock.

use std::time::SystemTime;

use campanile_common::time::Timestamp;

/// The time now; the epoch when the clock is set before it.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
