//! Passes on to a node's session what is asked of the node.
//!
//! Never waits: a session that is gone, or stuck with a full channel, is told to whoever asked.

use campanile_common::id::NodeId;
use campanile_common::wire::v1::request::{Reply, Request};
use tokio::sync::{mpsc, oneshot};

use super::NodeTask;
use crate::node::session::{DeliveryEvent, DeliveryReport, DeliverySlip, SessionCommand};

impl NodeTask {
    /// One request, one reply. Where it cannot be passed on, the dropped channel says so.
    pub(super) fn ask(&self, node: NodeId, request: Request, answer: oneshot::Sender<Reply>) {
        drop(self.pass(node, SessionCommand::Ask { request, answer }));
    }

    /// One request, several replies. Where it cannot be passed on, the only reply says so.
    pub(super) fn ask_stream(&self, node: NodeId, request: Request, replies: mpsc::Sender<Reply>) {
        let left = self.pass(node, SessionCommand::AskStream { request, replies });
        if let Err(SessionCommand::AskStream { replies, .. }) = left {
            // Full or closed: then nobody waits for it.
            drop(replies.try_send(Reply::Failed("the node is not connected".to_owned())));
        }
    }

    /// Hands a run to the node's session; where there is none, or a stuck one, it is lost at once.
    pub(super) fn deliver(&self, node: NodeId, slip: DeliverySlip) {
        if let Err(SessionCommand::Deliver(DeliverySlip { run, reports, .. })) =
            self.pass(node, SessionCommand::Deliver(slip))
        {
            // Whoever delivers keeps room for as many reports as it has deliveries under way.
            drop(reports.try_send(DeliveryReport { node, run, event: DeliveryEvent::Lost }));
        }
    }

    /// Gives the command back when there is no session that takes it now.
    pub(super) fn pass(&self, node: NodeId, command: SessionCommand) -> Result<(), SessionCommand> {
        match self.live.get(&node).and_then(|live| live.session.as_ref()) {
            Some(session) => {
                session.commands.try_send(command).map_err(mpsc::error::TrySendError::into_inner)
            }
            None => Err(command),
        }
    }
}
