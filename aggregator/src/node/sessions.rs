//! Who is connected, told as it changes.
//!
//! The node task writes; whoever reads gets each change, or is told that it lags and then reads everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use campanile_common::id::NodeId;
use tokio::sync::broadcast;

/// Changes a slow reader may lag behind: a thousand nodes that come back at once.
const CHANGES_MAX: usize = 1024;

/// A session began or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionChange {
    /// Whose.
    pub node: NodeId,
    /// What its agent takes from now on; none when it is not connected any more.
    pub session: Option<SessionAbilities>,
}

/// What an agent said that it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionAbilities {
    /// It takes orders.
    pub takes_orders: bool,
}

/// Handle of the connected nodes. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Sessions {
    connected: Arc<Mutex<BTreeMap<NodeId, SessionAbilities>>>,
    changes: broadcast::Sender<SessionChange>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { connected: Arc::default(), changes: broadcast::Sender::new(CHANGES_MAX) }
    }
}

impl Sessions {
    /// A session began, or took the place of another of the same node.
    pub fn began(&self, node: NodeId, abilities: SessionAbilities) {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected.insert(node, abilities);
        // Under the lock, so that changes come in the order of what is read here.
        drop(self.changes.send(SessionChange { node, session: Some(abilities) }));
    }

    /// A node's session ended.
    pub fn ended(&self, node: NodeId) {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if connected.remove(&node).is_some() {
            drop(self.changes.send(SessionChange { node, session: None }));
        }
    }

    /// Who is connected now, and every change from then on.
    pub fn subscribe(&self) -> (BTreeMap<NodeId, SessionAbilities>, broadcast::Receiver<SessionChange>) {
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        (connected.clone(), self.changes.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 8]);
    const ABLE: SessionAbilities = SessionAbilities { takes_orders: true };

    #[test]
    fn a_reader_gets_who_is_there_and_what_changes_after() {
        let sessions = Sessions::default();
        sessions.began(NODE, ABLE);
        let (connected, mut changes) = sessions.subscribe();
        assert_eq!(connected, BTreeMap::from([(NODE, ABLE)]));
        assert!(changes.try_recv().is_err());
        sessions.ended(NODE);
        assert_eq!(changes.try_recv().unwrap(), SessionChange { node: NODE, session: None });
        sessions.ended(NODE);
        assert!(changes.try_recv().is_err(), "it was not there any more");
    }

    #[test]
    fn a_slow_reader_is_told_that_it_lags() {
        let sessions = Sessions::default();
        let (_, mut changes) = sessions.subscribe();
        for _ in 0..=CHANGES_MAX {
            sessions.began(NODE, ABLE);
        }
        assert!(matches!(changes.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
    }
}
