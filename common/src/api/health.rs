//! Health of nodes and the fleet.

use serde::{Deserialize, Serialize};

use super::node::ProcessInfo;
use crate::id::NodeId;
use crate::time::Timestamp;

/// Judgement of a node's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum NodeHealth {
    /// No threshold is crossed.
    Healthy,
    /// A warning threshold is crossed, or the node is late.
    Warning,
    /// A critical threshold is crossed.
    Critical,
    /// Nothing is heard of it.
    Offline,
}

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Look at it in working hours.
    Warning,
    /// Look at it now.
    Critical,
}

/// Why points are missing from a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// Points lost.
    pub points: f64,
    /// Stable name of what is wrong, e.g. `disk`, `memory`, `offline`.
    pub name: String,
    /// Which one, e.g. a mount point; empty where there is only one.
    pub subject: String,
    /// How bad.
    pub severity: Severity,
    /// One line for people.
    pub summary: String,
}

/// A crossed threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ActiveAlert {
    /// Where.
    pub node_id: NodeId,
    /// The node's name.
    pub node_name: String,
    /// Stable name of the threshold, e.g. `disk`.
    pub name: String,
    /// Which one, e.g. a mount point; empty where there is only one.
    pub subject: String,
    /// How bad.
    pub severity: Severity,
    /// Since when.
    pub since: Timestamp,
    /// The value that crossed; null where there is none (an offline node).
    pub value: Option<f64>,
    /// What it crossed; null where there is none.
    pub threshold: Option<f64>,
    /// One line for people.
    pub summary: String,
}

/// Work a node's services do. Null until a check or scrape gives a source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodePerformance {
    /// Requests per second.
    pub processing_rate: Option<f64>,
    /// 95th percentile of response times in milliseconds.
    pub latency_p95_ms: Option<f64>,
    /// Failed requests in per cent.
    pub error_rate_percent: Option<f64>,
    /// Waiting requests.
    pub queue_depth: Option<f64>,
}

/// What a node uses of what it has.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResourceUsage {
    /// Processor time not idle, per cent of all processors.
    pub cpu_percent: Option<f64>,
    /// Memory not available, per cent.
    pub memory_percent: Option<f64>,
    /// Fullest file system, per cent.
    pub disk_percent: Option<f64>,
    /// Traffic of the busiest interface and direction, bits per second.
    pub network_bits_per_second: Option<f64>,
    /// Load average over one minute.
    pub load1: Option<f64>,
    /// Number of processes.
    pub processes: Option<f64>,
}

/// One node in [`SystemHealthMetrics`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Which node.
    pub node_id: NodeId,
    /// What people call it.
    pub name: String,
    /// Judgement.
    pub status: NodeHealth,
    /// Last message; null before the first.
    pub last_heartbeat: Option<Timestamp>,
    /// What its services do.
    pub performance_metrics: NodePerformance,
    /// What it uses.
    pub resource_usage: ResourceUsage,
    /// Heaviest processes, listed when a threshold was last crossed; null when none was.
    pub active_processes: Option<Vec<ProcessInfo>>,
}

/// Figures of the whole fleet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FleetPerformance {
    /// Readings that the aggregator took into memory in the last full second.
    pub memory_processing_rate: Option<f64>,
    /// Median of the agents' round-trip times in milliseconds.
    pub system_latency: Option<f64>,
    /// Mean over online nodes of the largest of their processor, memory and disk use, in per cent.
    pub resource_utilization: Option<f64>,
    /// Null until there are probes to derive it from.
    pub user_satisfaction_score: Option<f64>,
}

/// `GET /api/v1/health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SystemHealthMetrics {
    /// Every node that is not retired.
    pub node_status: Vec<NodeStatus>,
    /// 0 to 100; 100 for a fleet without nodes.
    pub overall_system_health: u8,
    /// Crossed thresholds, worst first.
    pub active_alerts: Vec<ActiveAlert>,
    /// Figures of the whole fleet.
    pub performance_metrics: FleetPerformance,
    /// What the points lost from `overallSystemHealth` are for, most expensive first.
    pub causes: Vec<FleetCause>,
    /// Nodes whose agents are not confined: for information, it costs no points.
    #[serde(default)]
    pub unconfined: Vec<UnconfinedNode>,
}

/// A node whose agent is not confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct UnconfinedNode {
    /// Which node.
    pub node_id: NodeId,
    /// Its name.
    pub node_name: String,
    /// How far it is.
    pub confinement: super::Confinement,
}

/// Why points are missing from the fleet's score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FleetCause {
    /// Which node.
    pub node_id: NodeId,
    /// Its name.
    pub node_name: String,
    /// What is wrong there; `points` are the fleet's points.
    #[serde(flatten)]
    pub cause: Cause,
}

/// `GET /api/v1/status`: the fleet at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// Name of the fleet.
    pub fleet: String,
    /// Its id.
    pub fleet_id: crate::id::FleetId,
    /// Version of the aggregator.
    pub aggregator_version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// How far the aggregator is confined.
    #[serde(default)]
    pub confinement: super::Confinement,
    /// Nodes in the roster.
    pub nodes: usize,
    /// Of them online.
    pub online: usize,
    /// Of them late.
    pub late: usize,
    /// Of them offline.
    pub offline: usize,
    /// Nodes judged healthy.
    pub healthy: usize,
    /// Nodes judged warning.
    pub warning: usize,
    /// Nodes judged critical.
    pub critical: usize,
    /// 0 to 100.
    pub overall_system_health: u8,
    /// Authority version in force.
    pub authority_version: u64,
    /// When the authority expires.
    pub authority_expires_at: Timestamp,
    /// Present while every change is refused: why, by whom and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<super::Freeze>,
    /// Present while agents run releases that this aggregator does not promise to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported_agents: Option<UnsupportedAgents>,
}

/// Agents of releases that are newer than the aggregator's, or older than the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct UnsupportedAgents {
    /// Agents that are newer.
    pub newer: usize,
    /// Agents that are older.
    pub older: usize,
    /// The first of them by name, as `NAME VERSION`; 20 at most.
    pub first: Vec<String>,
}
