//! Who is at it, when a node turns bad.

use campanile_common::id::NodeId;
use campanile_common::wire::v1::request::{PROCESSES_MAX, Reply, Request};
use tokio::sync::oneshot;

use super::NodeTask;
use crate::node::view;

/// Processes listed when a node's status turns bad.
const CULPRITS: u16 = 5;

impl NodeTask {
    /// Lists the heaviest processes of a node whose status turned bad, for whoever looks at it later.
    pub(super) fn ask_for_culprits(&mut self, node: NodeId) {
        let (answer, reply) = oneshot::channel();
        self.ask(node, Request::TopProcesses { count: CULPRITS.min(PROCESSES_MAX) }, answer);
        let sender = self.own_sender.clone();
        // Ends by itself: the session answers or drops the channel within its own deadline.
        tokio::spawn(async move {
            if let Ok(Reply::TopProcesses(processes)) = reply.await {
                let processes = processes.iter().map(view::process).collect();
                drop(sender.try_send((node, processes)));
            }
        });
    }
}
