//! No more than so many bytes a second are stored, or read.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use campanile_backup::backend::{Backend, BackendError, Listed, Object, ObjectKind};
use campanile_backup::id::ObjectId;

use crate::os::stopwatch::{Stopwatch, pause};

/// What was not used may be caught up with for so long; then it is lost.
const BURST: Duration = Duration::from_secs(1);

/// A backend whose writes are slowed down.
#[derive(Debug)]
pub(super) struct Limited {
    inner: Arc<dyn Backend>,
    rate: Rate,
}

impl Limited {
    pub(super) fn new(inner: Arc<dyn Backend>, bytes_per_second: NonZeroU64) -> Self {
        Self { inner, rate: Rate::new(bytes_per_second) }
    }
}

/// So many bytes a second.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_second: NonZeroU64,
    watch: Stopwatch,
    /// When all that went through so far is paid for.
    paid: Mutex<Duration>,
}

impl Rate {
    pub(super) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, watch: Stopwatch::start(), paid: Mutex::default() }
    }

    /// Waits until so many bytes more are within it.
    pub(super) fn wait(&self, bytes: u64) {
        let wait = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.watch.elapsed();
            *paid = pay(*paid, now, bytes, self.bytes_per_second);
            paid.saturating_sub(now)
        };
        pause(wait);
    }
}

/// When what is stored now is paid for.
fn pay(paid: Duration, now: Duration, bytes: u64, bytes_per_second: NonZeroU64) -> Duration {
    let millis = bytes.saturating_mul(1000) / bytes_per_second;
    paid.max(now.saturating_sub(BURST)).saturating_add(Duration::from_millis(millis))
}

impl Backend for Limited {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        self.rate.wait(bytes.len() as u64);
        self.inner.put(object, bytes)
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        self.inner.get(object, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        self.inner.list(kind)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        self.inner.remove(object)
    }

    // Not as put and remove do: what is behind it needs to know what belongs together.
    fn append(
        &self,
        snapshot: ObjectId,
        bytes: &[u8],
        packs: &BTreeSet<ObjectId>,
        label: Option<&str>,
    ) -> Result<(), BackendError> {
        self.rate.wait(bytes.len() as u64);
        self.inner.append(snapshot, bytes, packs, label)
    }

    fn remove_all(&self, objects: &[Object]) -> Result<Vec<(Object, String)>, BackendError> {
        self.inner.remove_all(objects)
    }

    fn remove_leftovers(&self) -> Result<u64, BackendError> {
        self.inner.remove_leftovers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_on_the_whole_and_an_idle_time_is_caught_up_with_for_a_second() {
        let rate = NonZeroU64::new(1000).unwrap();
        let at = Duration::from_secs;
        assert_eq!(pay(at(0), at(0), 500, rate), Duration::from_millis(500));
        assert_eq!(pay(at(5), at(3), 2000, rate), at(7));
        assert_eq!(pay(at(5), at(100), 2000, rate), at(101));
        assert_eq!(pay(at(0), at(0), u64::MAX, rate).as_secs(), u64::MAX / 1000 / 1000);
    }
}
