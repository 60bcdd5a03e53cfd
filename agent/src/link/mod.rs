//! The link to the aggregator: dials, holds one session at a time, comes back.
//!
//! `task` dials and waits, `driver` runs one session over QUIC, `stream` serves what the aggregator opens; nobody else
//! knows QUIC. What carries it is `route`'s: UDP, or where a network drops that TCP, until UDP works again; `network` and
//! `memory` know what worked where. Whoever uses the link sees channels, and answers as [`Duties`]. `store` is apart: the
//! backup process's way to its store, a connection of its own.

mod driver;
mod endpoint;
mod memory;
mod network;
pub mod probe;
mod route;
mod store;
mod stream;
mod task;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::authority::{RunId, SignedAuthority, SignedCatalogue};
use campanile_common::connection::LaneItem;
use campanile_common::id::{FleetId, InstanceId, NodeId};
use campanile_common::sample::Sample;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::{ConfigOffer, ConfigReport, ConfigUp, PartPiece};
use campanile_common::wire::v1::control::{Ack, Checkpoint, Facts, GoodbyeReason};
use campanile_common::wire::v1::order::{Deliver, OrderReply};
use campanile_common::wire::v1::proof::ProofReport;
use campanile_common::wire::v1::request::{Reply, Request};
use campanile_daemon::watchdog::Pulse;
use campanile_tunnel::{Transport, Ways};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub use memory::newest_network;
pub use network::{Network, Winner};
pub use store::{IdentitySource, StoreBackend, StoreError};
pub use task::run;

/// Who dials, and whom.
#[derive(Debug, Clone)]
pub struct LinkIdentity {
    /// The fleet.
    pub fleet: FleetId,
    /// This node.
    pub node: NodeId,
    /// `host:port` of the aggregators, in the order to try.
    pub addresses: Vec<String>,
    /// Certificates and pins.
    pub tls: Arc<rustls::ClientConfig>,
    /// Authority version reached.
    pub authority_version: u64,
}

/// What stays the same over all sessions of one run.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// This run.
    pub instance: InstanceId,
    /// Time between two samples.
    pub interval: Duration,
    /// What the node is.
    pub facts: Facts,
    /// Ways to the aggregator.
    pub ways: LinkWays,
}

/// Which ways may be gone, and what is remembered of them.
#[derive(Debug, Clone)]
pub struct LinkWays {
    /// QUIC, TCP or both, and a proxy.
    pub ways: Ways,
    /// First wait before QUIC is tried again where TCP is in use.
    pub quic_retry: Duration,
    /// Where it is kept what won on which network.
    pub state_dir: Option<PathBuf>,
}

impl Default for LinkWays {
    fn default() -> Self {
        Self { ways: Ways::default(), quic_retry: Duration::from_secs(30), state_dir: None }
    }
}

/// What the link tells the rest of the agent.
#[derive(Debug)]
pub enum LinkEvent {
    /// A session stands.
    Opened {
        /// Live samples go here; full means a stalled link.
        live: mpsc::Sender<Sample>,
        /// Time between two samples that the aggregator wants.
        interval: Duration,
        /// Up to where the aggregator has this run's samples, if it has any.
        durable: Option<u64>,
        /// The certificate has expired: renew it, nothing else is accepted.
        must_renew: bool,
        /// When it was dialled: everything that it stands on was reached since.
        dialled: Instant,
        /// What carries it.
        transport: Transport,
    },
    /// The session ended.
    Closed,
    /// Samples are durable.
    Acked(Ack),
    /// The session has room for late samples.
    NextBatch(oneshot::Sender<Vec<LaneItem>>),
    /// A new certificate came.
    Certificate {
        /// DER.
        certificate: Vec<u8>,
        /// Its last second.
        not_after: Timestamp,
    },
    /// An authority version came; not verified yet.
    Authority(SignedAuthority),
    /// A point of the aggregator's audit chain came.
    Checkpoint(Checkpoint),
    /// A catalogue came; not verified yet.
    Catalogue(SignedCatalogue),
}

/// What the rest of the agent asks of the link.
#[derive(Debug)]
pub enum LinkCommand {
    /// Ask for a certificate for this request (DER).
    Renew(Vec<u8>),
    /// Tell how this node stands to its configuration; lost without a session.
    Config(Box<ConfigReport>),
    /// Tell how this node proved that its backups restore; lost without a session.
    Proof(Box<ProofReport>),
    /// End the session in order; unless stopping, dial again at once.
    Goodbye(GoodbyeReason),
}

/// What the agent does for the aggregator on streams that the aggregator opens.
pub trait Duties: Send + Sync {
    /// Answers a request of tier 0, with one reply or, for a journal, several. It is abandoned when nobody takes them.
    fn answer(
        &self,
        request: Request,
        replies: mpsc::Sender<Reply>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Takes a run of an order. The replies end with an outcome; without one the aggregator delivers again.
    fn deliver(&self, deliver: Box<Deliver>) -> mpsc::Receiver<OrderReply>;

    /// The outcome of a run is durable in the aggregator.
    fn reported(&self, run: RunId);

    /// Takes a generation of the configuration.
    fn offer(&self, offer: ConfigOffer) -> Intake;
}

/// A generation on its way to the steward. Ending either side gives it up.
#[derive(Debug)]
pub struct Intake {
    /// What the steward says: it wants parts until it is ready or refuses.
    pub answers: mpsc::Receiver<ConfigUp>,
    /// Pieces of what it wants; full means that it writes.
    pub pieces: mpsc::Sender<PartPiece>,
}

/// Ends of the channels that the link works on.
pub struct LinkChannels {
    /// Latest identity; a change takes effect with the next session.
    pub identity: watch::Receiver<LinkIdentity>,
    /// To the rest of the agent.
    pub events: mpsc::Sender<LinkEvent>,
    /// From the rest of the agent.
    pub commands: mpsc::Receiver<LinkCommand>,
    /// Serves the streams of the aggregator.
    pub duties: Arc<dyn Duties>,
    /// Shows that the link goes round.
    pub pulse: Pulse,
}
