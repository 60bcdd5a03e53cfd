//! skeleton of the node registry

pub mod vitals;

use std::sync::Arc;

use campanile_common::api::{
    ActiveAlert, Connection, CreatedToken, EnrollmentToken, FleetCause, Node, NodePatch, NodePerformance,
    ProcessInfo, ResourceUsage, TokenRequest, TopProcesses,
};
use campanile_common::id::NodeId;

use crate::state::StateError;

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

/// Handle of the node registry.
#[derive(Debug, Clone)]
pub struct Nodes {}

impl Nodes {
    /// The fleet as of the last round. Cheap: shared, not copied.
    pub fn fleet(&self) -> Arc<FleetView> {
        unimplemented!()
    }
    /// Renames or labels; `revision` must still be the node's, where given.
    pub async fn update(
        &self,
        _actor: &str,
        _node: NodeId,
        _patch: NodePatch,
        _revision: Option<u64>,
    ) -> Result<Node, NodeError> {
        unimplemented!()
    }
    /// Takes a node out for good and ends its session.
    pub async fn retire(&self, _actor: &str, _node: NodeId) -> Result<Node, NodeError> {
        unimplemented!()
    }
    /// Asks a node for its heaviest processes.
    pub async fn top(&self, _node: NodeId, _count: u16) -> Result<TopProcesses, NodeError> {
        unimplemented!()
    }
    /// Makes an enrolment token.
    pub async fn create_token(
        &self,
        _actor: &str,
        _request: TokenRequest,
    ) -> Result<CreatedToken, NodeError> {
        unimplemented!()
    }
    /// All enrolment tokens, newest first.
    pub async fn tokens(&self) -> Result<Vec<EnrollmentToken>, NodeError> {
        unimplemented!()
    }
    /// Revokes one.
    pub async fn revoke_token(&self, _actor: &str, _token_id: &str) -> Result<EnrollmentToken, NodeError> {
        unimplemented!()
    }
}
