//! How many connections may be open, and which one makes way for another when all places are taken.
//!
//! Refusing whoever comes last would let a peer that opens a thousand connections and says nothing lock everybody
//! else out. So the connection on which nothing moved for the longest time goes, unless all of them are at work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::os::clock::Clock;

/// A connection on which something moved less long ago is at work: it is not closed for another.
const AT_WORK_MS: u64 = 1000;

/// Counts open connections.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    most: usize,
    clock: Clock,
    open: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: BTreeMap<u64, Arc<Place>>,
}

#[derive(Debug)]
struct Place {
    /// When something last moved, by the limit's clock.
    moved_ms: AtomicU64,
    closed: CancellationToken,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection {
    limit: Arc<ConnectionLimit>,
    number: u64,
    place: Arc<Place>,
}

impl ConnectionLimit {
    /// At most so many at once. `clock` must never go back.
    pub(super) fn new(most: usize, clock: Clock) -> Arc<Self> {
        Arc::new(Self { most, clock, open: Mutex::default() })
    }

    /// Takes a place, if need be that of the connection idle for longest; none when all are at work.
    pub(super) fn open(self: &Arc<Self>) -> Option<OpenConnection> {
        let now = self.now();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.taken.len() >= self.most {
            let moved = |place: &Arc<Place>| place.moved_ms.load(Ordering::Relaxed);
            let (number, since) =
                open.taken.iter().map(|(n, place)| (*n, moved(place))).min_by_key(|(_, since)| *since)?;
            if now.saturating_sub(since) < AT_WORK_MS {
                return None;
            }
            open.taken.remove(&number)?.closed.cancel();
        }
        let number = open.next;
        open.next += 1;
        let place = Arc::new(Place { moved_ms: AtomicU64::new(now), closed: CancellationToken::new() });
        open.taken.insert(number, Arc::clone(&place));
        Some(OpenConnection { limit: Arc::clone(self), number, place })
    }

    fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }
}

impl OpenConnection {
    /// Something moved on it.
    pub(super) fn touch(&self) {
        self.place.moved_ms.store(self.limit.now(), Ordering::Relaxed);
    }

    /// Cancelled when it has to make way.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.place.closed
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.limit.open.lock().unwrap_or_else(PoisonError::into_inner).taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::time::Timestamp;

    fn limit(most: usize) -> (Arc<ConnectionLimit>, Arc<AtomicU64>) {
        let time = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&time);
        let clock = Clock::from_fn(move || Timestamp::from_millis(told.load(Ordering::Relaxed)));
        (ConnectionLimit::new(most, clock), time)
    }

    #[test]
    fn the_connection_idle_for_longest_makes_way() {
        let (limit, time) = limit(2);
        let (first, second) = (limit.open().unwrap(), limit.open().unwrap());
        time.store(AT_WORK_MS - 1, Ordering::Relaxed);
        first.touch();
        time.store(AT_WORK_MS, Ordering::Relaxed);
        let third = limit.open().unwrap();
        assert!(second.closed().is_cancelled());
        assert!(!first.closed().is_cancelled() && !third.closed().is_cancelled());
    }

    #[test]
    fn connections_at_work_are_not_closed_for_another() {
        let (limit, time) = limit(1);
        let held = limit.open().unwrap();
        time.store(AT_WORK_MS - 1, Ordering::Relaxed);
        assert!(limit.open().is_none());
        assert!(!held.closed().is_cancelled());
    }

    #[test]
    fn a_closed_connection_leaves_its_place_and_no_other() {
        let (limit, time) = limit(1);
        let evicted = limit.open().unwrap();
        time.store(AT_WORK_MS, Ordering::Relaxed);
        let held = limit.open().unwrap();
        drop(evicted);
        assert!(limit.open().is_none(), "the place is the second one's");
        drop(held);
        assert!(limit.open().is_some());
    }
}
