//! Waiting for something to become true, with a deadline instead of a fixed time.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// How long a thing may take that normally takes `usual`: these tests also run on machines that do much else.
pub fn patience(usual: Duration) -> Duration {
    usual * 4 + Duration::from_secs(15)
}

/// The first `Some` of `look`; none when `limit` has passed.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(LOOK);
    }
}

/// Waits until `look` holds.
///
/// # Panics
/// When `limit` has passed before.
pub fn until(what: &str, limit: Duration, mut look: impl FnMut() -> bool) {
    assert!(within(limit, || look().then_some(())).is_some(), "not within {limit:?}: {what}");
}
