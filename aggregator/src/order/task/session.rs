//! Nodes that come and go: whatever was under way to them is over, and may be delivered again.

use campanile_common::id::NodeId;
use tokio::sync::broadcast;

use super::{OrderTask, SessionAbilities, SessionChange};

impl OrderTask {
    pub(super) fn session_changed(&mut self, change: Result<SessionChange, broadcast::error::RecvError>) {
        match change {
            Ok(SessionChange { node, session }) => self.note_session(node, session),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                let (here, receiver) = self.parts.sessions.subscribe();
                self.sessions = receiver;
                let left: Vec<NodeId> =
                    self.here.keys().filter(|node| !here.contains_key(*node)).copied().collect();
                left.into_iter().for_each(|node| self.note_session(node, None));
                here.into_iter().for_each(|(node, session)| self.note_session(node, Some(session)));
            }
            // The sender lives as long as this task's own handle of it.
            Err(broadcast::error::RecvError::Closed) => {}
        }
    }

    pub(super) fn note_session(&mut self, node: NodeId, session: Option<SessionAbilities>) {
        let now = self.now();
        match session {
            Some(abilities) => {
                self.here.insert(node, abilities);
                self.gone.remove(&node);
            }
            None => {
                self.here.remove(&node);
                self.gone.insert(node, now.up);
            }
        }
        self.under_way.remove(&node);
        for run in self.by_node.get(&node).cloned().unwrap_or_default() {
            let Some(live) = self.live.get_mut(&run) else { continue };
            if let Ok(index) = live.nodes.binary_search(&node) {
                live.course.session_changed(index, now);
                self.touched.insert(run);
            }
        }
    }
}
