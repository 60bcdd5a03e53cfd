//! What sessions and the node task say to each other.

use campanile_common::api::Node;
use campanile_common::authority::RunId;
use campanile_common::health::BackupTrouble;
use campanile_common::id::{InstanceId, NodeId};
use campanile_common::time::Timestamp;
use campanile_common::wire::hello::Refusal;
use campanile_common::wire::v1::config::{ConfigOffer, ConfigPhase, ConfigReport};
use campanile_common::wire::v1::control::{Control, Facts, GoodbyeReason, TransportReport};
use campanile_common::wire::v1::order::{Deliver, JournalPosition, Outcome, OutputChunk};
use campanile_common::wire::v1::request::{Reply, Request};
use tokio::sync::{mpsc, oneshot};

use super::task::NodeTaskSettings;

/// Figures of a session's connection.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinkStats {
    /// Smoothed round-trip time in milliseconds.
    pub rtt_ms: f64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Of them lost.
    pub lost_packets: u64,
    /// UDP payload received, in bytes.
    pub received_bytes: u64,
    /// UDP payload sent, in bytes.
    pub sent_bytes: u64,
}

/// A session that wants to begin.
#[derive(Debug)]
pub struct SessionSeed {
    /// Whose.
    pub node: NodeId,
    /// Told apart from every other session of this aggregator's run.
    pub session: u64,
    /// The run of the agent.
    pub instance: InstanceId,
    /// Where it comes from.
    pub remote_address: String,
    /// What carries it.
    pub transport: &'static str,
    /// Protocol version.
    pub protocol_version: u8,
    /// Version of the agent.
    pub agent_version: String,
    /// The agent takes orders.
    pub takes_orders: bool,
    /// How to reach it.
    pub commands: mpsc::Sender<SessionCommand>,
}

/// What a session is asked to do.
#[derive(Debug)]
pub enum SessionCommand {
    /// Send this control message.
    Send(Control),
    /// Ask the agent and pass its answer on.
    Ask {
        /// What.
        request: Request,
        /// Where the answer goes.
        answer: oneshot::Sender<Reply>,
    },
    /// Ask the agent and pass on every reply until there are no more. Dropping the receiver stops the agent.
    AskStream {
        /// What.
        request: Request,
        /// Gets the replies; full means that the agent waits. A stream that breaks ends with [`Reply::Failed`].
        replies: mpsc::Sender<Reply>,
    },
    /// Deliver a run of an order on a stream of its own, and report what comes of it.
    Deliver(DeliverySlip),
    /// Offer a generation of the configuration on a stream of its own, and serve what the agent wants of it.
    Offer {
        /// What.
        offer: Box<ConfigOffer>,
        /// Told how it ended; dropped when the session ends first.
        answer: oneshot::Sender<OfferEnd>,
    },
    /// End.
    Close(GoodbyeReason),
}

/// A run to deliver, and where to report.
#[derive(Debug)]
pub struct DeliverySlip {
    /// What is sent.
    pub deliver: Box<Deliver>,
    /// Which run it is.
    pub run: RunId,
    /// The generation that the run is about: offered first, so that the node has it.
    pub offer: Option<Box<ConfigOffer>>,
    /// Gets every [`DeliveryReport`]; full means that whoever delivers waits.
    pub reports: mpsc::Sender<DeliveryReport>,
}

/// How an offer of a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferEnd {
    /// The node has everything of it.
    Ready,
    /// The node does not take it; why.
    Refused(String),
    /// It came to no end; why.
    Lost(String),
}

/// What came of a delivery.
#[derive(Debug)]
pub struct DeliveryReport {
    /// To whom.
    pub node: NodeId,
    /// Which run.
    pub run: RunId,
    /// What.
    pub event: DeliveryEvent,
}

/// One step of a delivery. The last is an outcome or `Lost`.
#[derive(Debug)]
pub enum DeliveryEvent {
    /// What the run is about is on its way to the node.
    Preparing,
    /// The run is in the node's journal.
    Received(JournalPosition),
    /// Output came.
    Output(OutputChunk),
    /// It ended.
    Outcome {
        /// How.
        outcome: Outcome,
        /// Told once the outcome is on disk; dropped when it could not be stored, and it comes again later.
        durable: oneshot::Sender<()>,
    },
    /// The node is not connected, or the stream broke before the end: deliver again when it is back.
    Lost,
}

/// How a node stands to its configuration, as far as its health depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConfigState {
    /// Resources that differ by another hand.
    pub drifted: u32,
    /// Number of the generation that it tried last, where that was undone.
    pub reverted: Option<u64>,
}

impl ConfigState {
    /// What a report says of it.
    pub fn of(report: &ConfigReport) -> Self {
        let tried = report.tried.filter(|_| report.phase == ConfigPhase::Reverted);
        Self { drifted: report.drifted_count, reverted: tried.map(|(number, _)| number) }
    }
}

/// What happens to nodes.
#[derive(Debug)]
pub enum NodeEvent {
    /// A session asks to begin; it is refused while another one of the same node lives.
    Begin {
        /// The session.
        seed: SessionSeed,
        /// The decision.
        answer: oneshot::Sender<Result<(), Refusal>>,
    },
    /// A live sample came: a sign of life.
    Heartbeat {
        /// Whose.
        node: NodeId,
        /// By which session.
        session: u64,
        /// Time of the sample on the node's clock.
        sampled: Timestamp,
        /// Figures of the connection.
        stats: LinkStats,
    },
    /// The node told what it is.
    Facts {
        /// Whose.
        node: NodeId,
        /// Version of its agent.
        agent_version: String,
        /// What it said.
        facts: Facts,
    },
    /// The node told what carries its session, and why.
    Transport {
        /// Whose.
        node: NodeId,
        /// Which.
        session: u64,
        /// What it said.
        told: TransportReport,
    },
    /// The node told how it stands to its configuration.
    Config {
        /// Whose.
        node: NodeId,
        /// What of it is for its health.
        state: ConfigState,
    },
    /// What is wrong with the node's backups changed.
    Backups {
        /// Whose.
        node: NodeId,
        /// All that is wrong.
        troubles: Vec<BackupTrouble>,
    },
    /// A session ended.
    Ended {
        /// Whose.
        node: NodeId,
        /// Which.
        session: u64,
        /// The agent said goodbye, so it is offline now; otherwise silence will tell.
        is_orderly: bool,
    },
    /// A node was enrolled, or its record changed: show it.
    Changed {
        /// Which.
        node: NodeId,
        /// Kind of the event to publish.
        kind: &'static str,
        /// Gets the node as everybody sees it now.
        answer: oneshot::Sender<Option<Node>>,
    },
    /// End a node's session, if it has one.
    CloseSession {
        /// Whose.
        node: NodeId,
        /// Why.
        reason: GoodbyeReason,
    },
    /// Ask a node; the answer's channel is dropped when it is not connected.
    Ask {
        /// Whom.
        node: NodeId,
        /// What.
        request: Request,
        /// Where the answer goes.
        answer: oneshot::Sender<Reply>,
    },
    /// Ask a node for several replies; the only one is [`Reply::Failed`] when it is not connected.
    AskStream {
        /// Whom.
        node: NodeId,
        /// What.
        request: Request,
        /// Gets the replies; closed after the last.
        replies: mpsc::Sender<Reply>,
    },
    /// Deliver a run; reported as lost at once when the node is not connected.
    Deliver {
        /// To whom.
        node: NodeId,
        /// What, and where to report.
        slip: DeliverySlip,
    },
    /// Offer a generation; the answer's channel is dropped when the node is not connected.
    Offer {
        /// To whom.
        node: NodeId,
        /// What.
        offer: Box<ConfigOffer>,
        /// Told how it ended.
        answer: oneshot::Sender<OfferEnd>,
    },
    /// Send a message to every connected agent.
    Broadcast(Control),
    /// Judge by other settings from now on.
    Settings(NodeTaskSettings),
}
