//! Events: what changed, in order, for whoever listens.
//!
//! A bounded ring keeps the newest; a listener that names the last event it saw gets what came after, or is told
//! that it missed some.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

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
    pub node: Option<campanile_common::id::NodeId>,
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
    pub fn publish<T: Serialize>(
        &self,
        kind: &'static str,
        node: Option<campanile_common::id::NodeId>,
        body: &T,
    ) {
        let Ok(body) = serde_json::to_string(body) else { return };
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

    /// What came after `last` (all that is kept, without one), and a receiver of what comes. The flag is true
    /// when events after `last` are no longer kept.
    pub fn subscribe(&self, last: Option<u64>) -> (Vec<Event>, bool, broadcast::Receiver<Event>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        let Some(last) = last else { return (Vec::new(), false, receiver) };
        let backlog: Vec<Event> = ring.events.iter().filter(|event| event.id > last).cloned().collect();
        let oldest = ring.events.front().map_or(ring.next_id, |event| event.id);
        // An id from before a restart of the aggregator is past our newest, or older than our oldest.
        let has_missed = last + 1 < oldest || last >= ring.next_id;
        (backlog, has_missed, receiver)
    }
}
