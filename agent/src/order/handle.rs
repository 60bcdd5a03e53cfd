//! How the rest of the agent reaches the steward.

use std::sync::Arc;

use campanile_common::authority::{RunId, SignedAuthority, SignedCatalogue};
use campanile_common::wire::v1::config::{ConfigOffer, ConfigReport, ConfigUp, PartPiece};
use campanile_common::wire::v1::order::{Deliver, OrderReply};
use campanile_common::wire::v1::proof::ProofReport;
use campanile_common::wire::v1::request::{Reply, Request};
use tokio::sync::{mpsc, watch};

/// Commands that wait for the task, which only passes them on. Full means a flood: the stream that it came by ends, and
/// the aggregator comes again.
const COMMANDS_MAX: usize = 32;
/// Replies of one run that wait for its stream: four pieces of output are 64 KiB. Full means that the steward waits.
const REPLIES_MAX: usize = 4;
/// Pieces of a generation that wait for the steward, each up to 48 KiB. Full means that the aggregator waits.
const PIECES_MAX: usize = 2;

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
    /// Hand a generation of the configuration to the steward.
    Offer(ConfigOffer, mpsc::Sender<ConfigUp>, mpsc::Receiver<PartPiece>),
    /// The aggregator was reached anew.
    Reached(u64),
    /// Show it what came and cannot be right: it judges for itself, and takes note.
    Show(Offer),
}

/// What the aggregator offered.
#[derive(Debug)]
pub enum Offer {
    /// A version of the authority.
    Authority(SignedAuthority),
    /// A catalogue.
    Catalogue(SignedCatalogue),
}

/// What the steward told last, of its own accord.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// How this node stands to its configuration.
    pub report: Option<Box<ConfigReport>>,
    /// How this node proved that its backups restore.
    pub proof: Option<Box<ProofReport>>,
    /// It wants to know whether a new session comes about, and calls the question by this number.
    pub reach: Option<u64>,
}

/// Handle of the task that holds the connection to the steward.
#[derive(Debug, Clone)]
pub struct OrderHandle {
    commands: mpsc::Sender<Command>,
    standing: watch::Sender<Standing>,
    told: watch::Receiver<Told>,
}

/// The task's ends of the channels of a handle.
pub(super) struct Ends {
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) told: watch::Sender<Told>,
}

impl OrderHandle {
    /// A handle, and the ends of its channels for the task.
    pub(super) fn new(standing: Standing) -> (Self, Ends) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (standing, receiver) = watch::channel(standing);
        let (teller, told) = watch::channel(Told::default());
        (Self { commands, standing, told }, Ends { inbox, standing: receiver, told: teller })
    }

    /// What the steward tells of its own accord.
    pub fn told(&self) -> watch::Receiver<Told> {
        self.told.clone()
    }

    /// Hands a generation to the steward: what it says, and where pieces of what it wants go. A later one takes its
    /// place.
    pub fn offer(&self, offer: ConfigOffer) -> (mpsc::Receiver<ConfigUp>, mpsc::Sender<PartPiece>) {
        let (answers, receiver) = mpsc::channel(REPLIES_MAX);
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        // Full: the dropped sender ends the answers.
        drop(self.commands.try_send(Command::Offer(offer, answers, pieces)));
        (receiver, sender)
    }

    /// Tells the steward that a session came about that was begun after it asked by this number.
    pub fn reached(&self, number: u64) {
        // Lost, it asks again, or undoes what cannot be confirmed.
        drop(self.commands.try_send(Command::Reached(number)));
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
        let version = |signed: &SignedCatalogue| signed.read().map_or(0, |document| document.version);
        let known = self.standing.borrow().catalogue.clone();
        match known {
            Some(known) if known == catalogue => {}
            Some(known) if version(&known) >= version(&catalogue) => self.show(Offer::Catalogue(catalogue)),
            _ => self.standing.send_modify(|standing| standing.catalogue = Some(catalogue)),
        }
    }

    /// Shows the steward an offer that this process does not believe, so that the attempt is in its audit chain.
    pub fn show(&self, offer: Offer) {
        // Full: a flood of them, of which the chain has enough.
        drop(self.commands.try_send(Command::Show(offer)));
    }
}
