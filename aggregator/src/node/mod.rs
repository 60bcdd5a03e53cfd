//! Nodes: the roster, enrolment, liveness, and the fleet as everybody sees it.
//!
//! `registry` is the roster in the state store, `task` owns what lives (sessions, heartbeats, judgements) and
//! publishes a [`FleetView`] each second and whenever a node's liveness changes; [`Nodes`] is the handle of both.

mod enrollment;
mod liveness;
pub mod presence;
mod record;
mod registry;
mod restored;
mod session;
mod sessions;
mod skew;
mod task;
mod token;
mod view;
pub mod vitals;

use std::sync::Arc;
use std::time::Duration;

use campanile_common::api::{
    ActiveAlert, Connection, CreatedToken, EnrollmentToken, FleetCause, Node, NodePatch, NodePerformance,
    ProcessInfo, ResourceUsage, TokenRequest, TopProcesses,
};
use campanile_common::id::{Digest, FleetId, NodeId};
use campanile_common::token::Token;
use campanile_common::wire::v1::control::{Control, GoodbyeReason};
use campanile_common::wire::v1::request::{Reply, Request};
use tokio::sync::{mpsc, oneshot, watch};

use crate::os::clock::Clock;
use crate::state::StateError;

pub use liveness::LivenessSettings;
pub use record::{NodeRecord, TokenRecord};
pub use registry::Registry;
pub use restored::{Restored, Validity};
pub use session::{
    ConfigState, DeliveryEvent, DeliveryReport, DeliverySlip, LinkStats, NodeEvent, OfferEnd, SessionCommand,
    SessionSeed,
};
pub use sessions::{SessionAbilities, SessionChange, Sessions};
pub use skew::unsupported;
pub use task::{NodeTask, NodeTaskSettings};

/// Longest wait for a node's answer to a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Pieces of an answer that wait for whoever asked: 128 KiB. Full means that the node waits.
const REPLIES_MAX: usize = 8;

/// A node with everything that is judged and measured of it, as of the last round.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// As the API shows it.
    pub node: Node,
    /// What it uses.
    pub usage: ResourceUsage,
    /// What its services do.
    pub performance: NodePerformance,
    /// Crossed thresholds.
    pub alerts: Vec<ActiveAlert>,
    /// Heaviest processes when a threshold was last crossed.
    pub processes: Option<Vec<ProcessInfo>>,
    /// Its session, while there is one.
    pub connection: Option<Connection>,
    /// Samples taken in since the aggregator started.
    pub samples_total: u64,
    /// Ticks its agent declared lost, since the aggregator started.
    pub gap_ticks_total: u64,
}

/// The whole fleet as of the last round; replaced every second and at once when a node's liveness changes.
#[derive(Debug, Clone, Default)]
pub struct FleetView {
    /// Every node, retired ones included, in order of their names.
    pub nodes: Vec<NodeView>,
    /// 0 to 100.
    pub score: u8,
    /// What the lost points are for.
    pub causes: Vec<FleetCause>,
    /// Readings taken in during the last full second.
    pub readings_per_second: Option<f64>,
}

/// Why a node cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No such node.
    #[error("no node `{0}`")]
    NotFound(String),
    /// The node is retired.
    #[error("node `{0}` is retired")]
    Retired(String),
    /// The name is taken.
    #[error("a node named `{0}` exists")]
    NameTaken(String),
    /// The request is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// It was changed since it was read.
    #[error("the node was changed since it was read; read it again")]
    Conflict,
    /// The node is not connected.
    #[error("node `{0}` is not connected")]
    NotConnected(String),
    /// The node did not answer in time, or said it cannot.
    #[error("node `{node}` gave no answer: {detail}")]
    NoAnswer {
        /// Which.
        node: String,
        /// Why.
        detail: String,
    },
    /// The store failed.
    #[error("node records cannot be reached")]
    State(#[from] StateError),
}

/// What every new token carries.
#[derive(Debug, Clone)]
pub struct TokenPins {
    /// The fleet.
    pub fleet: FleetId,
    /// `host:port` of the aggregators.
    pub addresses: Vec<String>,
    /// SHA-256 of the CA's key.
    pub ca_key: Digest,
    /// Digest of the authority in force, as of now.
    pub authority: watch::Receiver<Digest>,
}

/// Handle of the node registry and of everything that lives.
#[derive(Debug, Clone)]
pub struct Nodes {
    registry: Registry,
    events: mpsc::Sender<NodeEvent>,
    fleet: watch::Receiver<Arc<FleetView>>,
    pins: TokenPins,
    clock: Clock,
}

impl Nodes {
    /// A handle on the registry and the task that these channels lead to.
    pub const fn new(
        registry: Registry,
        events: mpsc::Sender<NodeEvent>,
        fleet: watch::Receiver<Arc<FleetView>>,
        pins: TokenPins,
        clock: Clock,
    ) -> Self {
        Self { registry, events, fleet, pins, clock }
    }

    /// The fleet as of the last round. Cheap: shared, not copied.
    pub fn fleet(&self) -> Arc<FleetView> {
        Arc::clone(&self.fleet.borrow())
    }

    /// The roster, for the listener.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Tells the task something; waits while it is behind, for ever never: it only computes.
    pub async fn tell(&self, event: NodeEvent) {
        // A closed channel means that the aggregator stops.
        drop(self.events.send(event).await);
    }

    /// Sends a message to every connected agent.
    pub async fn broadcast(&self, message: Control) {
        self.tell(NodeEvent::Broadcast(message)).await;
    }

    /// Judges nodes by other settings from now on.
    pub async fn set_settings(&self, settings: NodeTaskSettings) {
        self.tell(NodeEvent::Settings(settings)).await;
    }

    /// Renames or labels; `revision` must still be the node's, where given.
    ///
    /// # Errors
    /// When there is no such active node, the name is taken, or it changed since `revision`.
    pub async fn update(
        &self,
        actor: &str,
        node: NodeId,
        patch: NodePatch,
        revision: Option<u64>,
    ) -> Result<Node, NodeError> {
        self.registry.update(actor, node, patch, revision).await?;
        self.changed(node, "node.changed").await
    }

    /// Takes a node out for good and ends its session.
    ///
    /// # Errors
    /// When there is no such active node.
    pub async fn retire(&self, actor: &str, node: NodeId) -> Result<Node, NodeError> {
        self.registry.retire(actor, node).await?;
        self.tell(NodeEvent::CloseSession { node, reason: GoodbyeReason::Retired }).await;
        self.changed(node, "node.retired").await
    }

    /// The node as it is after a change, once everybody sees it.
    async fn changed(&self, node: NodeId, kind: &'static str) -> Result<Node, NodeError> {
        let (answer, view) = oneshot::channel();
        self.tell(NodeEvent::Changed { node, kind, answer }).await;
        view.await.ok().flatten().ok_or_else(|| NodeError::NotFound(node.to_string()))
    }

    /// Asks a node for its heaviest processes.
    ///
    /// # Errors
    /// When it is not connected or does not answer in time.
    pub async fn top(&self, node: NodeId, count: u16) -> Result<TopProcesses, NodeError> {
        match self.ask(node, Request::TopProcesses { count }).await? {
            Reply::TopProcesses(processes) => Ok(TopProcesses {
                time: self.clock.now(),
                processes: processes.iter().map(view::process).collect(),
            }),
            _ => Err(self.unexpected(node)),
        }
    }

    /// Asks a node for one thing. A denial is an answer; a failure is none.
    ///
    /// # Errors
    /// When the node is unknown or not connected, cannot say, or does not answer in time.
    pub async fn ask(&self, node: NodeId, request: Request) -> Result<Reply, NodeError> {
        let name = self.name(node)?;
        let (answer, reply) = oneshot::channel();
        self.tell(NodeEvent::Ask { node, request, answer }).await;
        match tokio::time::timeout(ANSWER_TIMEOUT, reply).await {
            Ok(Ok(Reply::Failed(detail))) => Err(NodeError::NoAnswer { node: name, detail }),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(NodeError::NotConnected(name)),
            Err(_) => Err(NodeError::NoAnswer { node: name, detail: "it took too long".to_owned() }),
        }
    }

    /// Asks a node for something that comes in pieces, a unit's journal. Dropping the receiver stops the node; a
    /// stream that breaks ends with [`Reply::Failed`].
    ///
    /// # Errors
    /// When the node is unknown or not connected.
    pub async fn ask_stream(
        &self,
        node: NodeId,
        request: Request,
    ) -> Result<mpsc::Receiver<Reply>, NodeError> {
        let name = self.name(node)?;
        let is_connected = self
            .fleet
            .borrow()
            .nodes
            .iter()
            .any(|view| view.node.node_id == node && view.connection.is_some());
        if !is_connected {
            return Err(NodeError::NotConnected(name));
        }
        let (replies, receiver) = mpsc::channel(REPLIES_MAX);
        self.tell(NodeEvent::AskStream { node, request, replies }).await;
        Ok(receiver)
    }

    /// The error for a node that answered something that was not asked.
    pub fn unexpected(&self, node: NodeId) -> NodeError {
        let name = self.name(node).unwrap_or_else(|_| node.to_string());
        NodeError::NoAnswer { node: name, detail: "it answered something else".to_owned() }
    }

    fn name(&self, node: NodeId) -> Result<String, NodeError> {
        let held = self.registry.get(node).ok_or_else(|| NodeError::NotFound(node.to_string()))?;
        Ok(held.record.name)
    }

    /// Makes an enrolment token.
    ///
    /// # Errors
    /// When the request is out of range or the store fails.
    pub async fn create_token(&self, actor: &str, request: TokenRequest) -> Result<CreatedToken, NodeError> {
        let authority = *self.pins.authority.borrow();
        let (record, secret) = self.registry.create_token(actor, request, authority).await?;
        let token = Token {
            fleet: self.pins.fleet,
            secret,
            addresses: self.pins.addresses.clone(),
            ca_key: self.pins.ca_key,
            authority,
        };
        Ok(CreatedToken { token: token.to_text(), details: record.to_api() })
    }

    /// All enrolment tokens, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tokens(&self) -> Result<Vec<EnrollmentToken>, NodeError> {
        self.registry.tokens().await
    }

    /// Revokes one.
    ///
    /// # Errors
    /// When there is none of this id or the store fails.
    pub async fn revoke_token(&self, actor: &str, token_id: &str) -> Result<EnrollmentToken, NodeError> {
        self.registry.revoke_token(actor, token_id).await
    }
}
