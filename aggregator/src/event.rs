//! Events: what changed, in order, for whoever listens.
//!
//! A bounded ring keeps the newest; a listener that names the last event it saw gets what came after, or is told
//! that it missed some. Publishing never waits: a listener that lags loses events and is told so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use campanile_common::id::NodeId;
use serde::Serialize;
use tokio::sync::broadcast;

/// Events kept for listeners that come back; about ten minutes of a restless fleet.
const EVENTS_MAX: usize = 1024;
/// Events a slow listener may lag behind before it is told to start over.
const LAG_MAX: usize = 256;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Rises by one; from 1 at each start of the aggregator.
    pub id: u64,
    /// Past tense, e.g. `node.liveness-changed`, `fleet.judged`.
    pub kind: &'static str,
    /// JSON.
    pub body: Arc<str>,
    /// The node it is about, for filtering by role; none when about the fleet.
    pub node: Option<NodeId>,
}

/// What a listener starts with.
#[derive(Debug)]
pub struct Subscription {
    /// Events after the last one seen, oldest first.
    pub backlog: Vec<Event>,
    /// True when events after the last one seen are no longer kept: what the listener knows is out of date.
    pub has_missed: bool,
    /// Id of the newest event so far; 0 before the first.
    pub newest: u64,
    /// What comes, beginning right after `newest`.
    pub receiver: broadcast::Receiver<Event>,
}

#[derive(Debug)]
struct Ring {
    next_id: u64,
    events: VecDeque<Event>,
}

/// Handle of the event bus.
#[derive(Debug, Clone)]
pub struct Events {
    ring: Arc<Mutex<Ring>>,
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        let ring = Ring { next_id: 1, events: VecDeque::new() };
        Self { ring: Arc::new(Mutex::new(ring)), sender: broadcast::Sender::new(LAG_MAX) }
    }
}

impl Events {
    /// Publishes one event. Never waits.
    pub fn publish<T: Serialize>(&self, kind: &'static str, node: Option<NodeId>, body: &T) {
        let body = match serde_json::to_string(body) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(kind, %error, "event cannot be written as JSON");
                return;
            }
        };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event { id: ring.next_id, kind, body: body.into(), node };
        ring.next_id += 1;
        if ring.events.len() == EVENTS_MAX {
            ring.events.pop_front();
        }
        ring.events.push_back(event.clone());
        // Sent under the lock, so that a subscriber sees each event once: in its backlog or in its receiver.
        drop(self.sender.send(event));
    }

    /// Begins to listen, after the event `last` where one is named, otherwise from now on.
    pub fn subscribe(&self, last: Option<u64>) -> Subscription {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        let newest = ring.next_id - 1;
        let Some(last) = last else {
            return Subscription { backlog: Vec::new(), has_missed: false, newest, receiver };
        };
        let oldest = ring.events.front().map_or(ring.next_id, |event| event.id);
        // An id from before a restart of the aggregator may be past our newest.
        let has_missed = last.saturating_add(1) < oldest || last > newest;
        let backlog = if has_missed {
            Vec::new()
        } else {
            ring.events.iter().filter(|event| event.id > last).cloned().collect()
        };
        Subscription { backlog, has_missed, newest, receiver }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(count: u64) -> Events {
        let events = Events::default();
        for number in 0..count {
            events.publish("node.changed", None, &number);
        }
        events
    }

    #[test]
    fn a_new_listener_gets_only_what_comes() {
        let events = published(3);
        let mut subscription = events.subscribe(None);
        assert!(subscription.backlog.is_empty() && !subscription.has_missed);
        assert_eq!(subscription.newest, 3);
        events.publish("node.changed", None, &"x");
        assert_eq!(subscription.receiver.try_recv().unwrap().id, 4);
    }

    #[test]
    fn a_listener_that_comes_back_gets_each_event_once() {
        let events = published(5);
        let mut subscription = events.subscribe(Some(2));
        let ids: Vec<u64> = subscription.backlog.iter().map(|event| event.id).collect();
        assert_eq!(ids, [3, 4, 5]);
        assert!(!subscription.has_missed);
        assert!(subscription.receiver.try_recv().is_err());
    }

    #[test]
    fn a_listener_that_saw_everything_missed_nothing() {
        assert!(!published(3).subscribe(Some(3)).has_missed);
        assert!(!published(0).subscribe(Some(0)).has_missed);
    }

    #[test]
    fn a_listener_is_told_when_events_are_gone_or_its_id_is_of_another_run() {
        let events = published(EVENTS_MAX as u64 + 10);
        assert!(events.subscribe(Some(9)).has_missed);
        assert!(!events.subscribe(Some(10)).has_missed);
        assert!(published(3).subscribe(Some(4)).has_missed);
        assert!(published(3).subscribe(Some(u64::MAX)).has_missed);
    }

    #[test]
    fn memory_is_bounded_and_a_slow_listener_stops_nobody() {
        let events = Events::default();
        let mut slow = events.subscribe(None).receiver;
        for number in 0..EVENTS_MAX * 2 {
            events.publish("node.changed", None, &number);
        }
        assert_eq!(events.ring.lock().unwrap().events.len(), EVENTS_MAX);
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
    }
}
