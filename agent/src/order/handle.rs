//! How the rest of the agent reaches the steward.

use std::sync::Arc;

use campanile_common::authority::{RunId, SignedAuthority, SignedCatalogue};
use campanile_common::wire::v1::order::{Deliver, OrderReply};
use campanile_common::wire::v1::request::{Reply, Request};
use tokio::sync::{mpsc, watch};

/// Commands that wait for the task, which only passes them on. Full means a flood: the stream that it came by ends, and
/// the aggregator comes again.
const COMMANDS_MAX: usize = 32;
/// Replies of one run that wait for its stream: four pieces of output are 64 KiB. Full means that the steward waits.
const REPLIES_MAX: usize = 4;

/// What the node was told of who may order what; the steward verifies all of it again.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The authority chain from the node's pin on.
    pub authority: Arc<[SignedAuthority]>,
    /// The newest catalogue that came.
    pub catalogue: Option<SignedCatalogue>,
}

/// What the task is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Hand a run to the steward.
    Deliver(Box<Deliver>, mpsc::Sender<OrderReply>),
    /// The outcome of a run is durable in the aggregator.
    Reported(RunId),
    /// Ask the steward.
    Ask(Request, mpsc::Sender<Reply>),
}

/// Handle of the task that holds the connection to the steward.
#[derive(Debug, Clone)]
pub struct OrderHandle {
    commands: mpsc::Sender<Command>,
    standing: watch::Sender<Standing>,
}

impl OrderHandle {
    /// A handle, and the ends of its channels for the task.
    pub(super) fn new(standing: Standing) -> (Self, mpsc::Receiver<Command>, watch::Receiver<Standing>) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (standing, receiver) = watch::channel(standing);
        (Self { commands, standing }, inbox, receiver)
    }

    /// Hands a run to the steward. The replies end with an outcome; ending without one means that it is not known, and
    /// that the run has to be delivered again.
    pub fn deliver(&self, deliver: Box<Deliver>) -> mpsc::Receiver<OrderReply> {
        let (replies, receiver) = mpsc::channel(REPLIES_MAX);
        // Full: the dropped sender ends the replies.
        drop(self.commands.try_send(Command::Deliver(deliver, replies)));
        receiver
    }

    /// Tells the steward that the outcome of a run is durable in the aggregator.
    pub fn reported(&self, run: RunId) {
        // Lost, it keeps the output for longer, that is all.
        drop(self.commands.try_send(Command::Reported(run)));
    }

    /// Passes a request of tier 0 on. The replies end when the steward has said all, or nobody takes them any more.
    pub fn ask(&self, request: Request, replies: mpsc::Sender<Reply>) {
        if let Err(error) = self.commands.try_send(Command::Ask(request, replies))
            && let Command::Ask(_, replies) = error.into_inner()
        {
            drop(
                replies.try_send(Reply::Failed("too many requests wait for this node's steward".to_owned())),
            );
        }
    }

    /// A version of the authority was followed.
    pub fn authority(&self, chain: &[SignedAuthority]) {
        self.standing.send_modify(|standing| standing.authority = chain.into());
    }

    /// A catalogue came.
    pub fn catalogue(&self, catalogue: SignedCatalogue) {
        self.standing.send_modify(|standing| standing.catalogue = Some(catalogue));
    }
}
