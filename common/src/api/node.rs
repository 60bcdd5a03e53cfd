//! Nodes, connections, values, enrolment tokens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::confinement::Confinement;
use super::health::{Cause, NodeHealth};
use crate::id::{InstanceId, NodeId};
use crate::label::Labels;
use crate::time::Timestamp;

/// Sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// Messages come.
    Online,
    /// None for two seconds (a setting).
    Late,
    /// None for three seconds (a setting), or the agent said goodbye.
    Offline,
}

/// Whether a node belongs to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// In the roster: its key may connect.
    Active,
    /// Taken out for good: its key is refused, its id never used again.
    Retired,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// The machine's own host name.
    pub hostname: String,
    /// `PRETTY_NAME` of its os-release.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub architecture: String,
    /// Logical processors.
    pub cpus: u32,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
    /// When the machine booted.
    pub booted_at: Timestamp,
}

/// A node of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its identity, never reused.
    pub node_id: NodeId,
    /// What people call it; unique among active nodes.
    pub name: String,
    /// Labels from its token and operators.
    pub labels: Labels,
    /// Active or retired.
    pub state: NodeState,
    /// Sign of life.
    pub liveness: Liveness,
    /// Judgement of its health.
    pub status: NodeHealth,
    /// 0 to 100; null before anything was judged.
    pub score: Option<u8>,
    /// What the lost points are for, most expensive first.
    pub causes: Vec<Cause>,
    /// Version of its agent; null before its first session.
    pub agent_version: Option<String>,
    /// Last message; null before its first session.
    pub last_heartbeat: Option<Timestamp>,
    /// What it says of itself; null before its first session.
    pub facts: Option<NodeFacts>,
    /// How far its agent is confined; null while that is not known.
    #[serde(default)]
    pub confinement: Option<Confinement>,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When it was retired.
    pub retired_at: Option<Timestamp>,
    /// Until when its certificate is valid.
    pub certificate_expires_at: Timestamp,
    /// Changes with every change of name, labels or state; also the ETag.
    pub revision: u64,
}

/// A change of a node; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePatch {
    /// New name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels to set, or with null to remove.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Option<String>>,
}

/// An agent's session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Whose.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// `quic`, `tcp` or `tcp via proxy`.
    pub transport: String,
    /// Why it is what it is, as the agent says; empty where there is nothing to say.
    #[serde(default)]
    pub transport_reason: String,
    /// Address it comes from.
    pub remote_address: String,
    /// When the session began.
    pub connected_at: Timestamp,
    /// Smoothed round-trip time in milliseconds.
    pub rtt_ms: f64,
    /// Share of packets lost, in per cent.
    pub loss_percent: f64,
    /// Sessions of this node since the aggregator started, less one.
    pub reconnects: u64,
    /// Protocol version.
    pub protocol_version: u8,
    /// Version of the agent.
    pub agent_version: String,
    /// Bytes received in this session, UDP payload.
    pub received_bytes: u64,
    /// Bytes sent in this session, UDP payload.
    pub sent_bytes: u64,
}

/// One current value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SeriesValue {
    /// Metric name as node_exporter's.
    pub name: String,
    /// Labels without the node's.
    pub labels: BTreeMap<String, String>,
    /// Value in the metric's unit.
    pub value: f64,
}

/// Current values of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeValues {
    /// When they were read on the node; null when there are none.
    pub time: Option<Timestamp>,
    /// One per series.
    pub values: Vec<SeriesValue>,
}

/// Recent readings of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SeriesPoints {
    /// Metric name.
    pub name: String,
    /// Labels without the node's.
    pub labels: BTreeMap<String, String>,
    /// Pairs of seconds since the epoch and value.
    pub points: Vec<(f64, f64)>,
}

/// Are all seconds there? Accounts for every sampling tick of the retained time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// One entry per run of the agent, oldest first.
    pub runs: Vec<RunCoverage>,
    /// Ticks between the runs, when no agent ran.
    pub not_running: u64,
}

/// Coverage of one run of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunCoverage {
    /// The run.
    pub instance: InstanceId,
    /// Its first known tick.
    pub first: u64,
    /// Its last known tick.
    pub last: u64,
    /// Ticks whose samples are here.
    pub received: u64,
    /// Ticks the agent declared lost.
    pub gaps: u64,
    /// Ticks neither here nor declared: still in the agent's spool, or lost without a count.
    pub missing: u64,
    /// Time of the first known sample.
    pub first_time: Timestamp,
    /// Time of the last known sample.
    pub last_time: Timestamp,
}

/// One process of a node, as listed on demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProcessInfo {
    /// Process id.
    pub pid: u32,
    /// The kernel's name for it.
    pub name: String,
    /// Effective user id.
    pub uid: u32,
    /// State letter as in `ps`.
    pub state: String,
    /// Per cent of one core.
    pub cpu_percent: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// When it started.
    pub started_at: Timestamp,
}

/// Answer to `top`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TopProcesses {
    /// When they were listed.
    pub time: Timestamp,
    /// Heaviest first.
    pub processes: Vec<ProcessInfo>,
}

/// Request for an enrolment token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// Labels its nodes get.
    #[serde(default)]
    pub labels: Labels,
    /// Seconds until it expires, 60 to 2,592,000 (30 days).
    pub ttl_seconds: u64,
    /// How many nodes it may enrol, 1 to 10,000.
    pub uses: u32,
    /// The only name a node may take with it; for tokens of one use.
    #[serde(default)]
    pub name: Option<String>,
}

/// An enrolment token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentToken {
    /// What it is called in `token ls` and `token revoke`.
    pub token_id: String,
    /// Labels its nodes get.
    pub labels: Labels,
    /// The only name a node may take with it.
    pub name: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when it may be used.
    pub expires_at: Timestamp,
    /// How many nodes it may enrol in all.
    pub uses_max: u32,
    /// How many it has enrolled.
    pub uses: u32,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A new token; the only time its text is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    /// The text to carry to the node.
    pub token: String,
    /// Everything else about it.
    #[serde(flatten)]
    pub details: EnrollmentToken,
}
