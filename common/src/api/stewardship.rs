//! What a node's steward shows: what it would accept, units, its audit chain.

use serde::{Deserialize, Serialize};

use crate::authority::Policy;
use crate::id::Digest;
use crate::time::Timestamp;

/// What a node would accept and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeStewardship {
    /// Highest tier, 0 to 3.
    pub highest_tier: u8,
    /// Sentences for people.
    pub explanation: Vec<String>,
    /// Where the policy was read, or why the built-in one is in force.
    pub policy_source: String,
    /// The policy, as the node has it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub policy: Policy,
    /// Authority version that the steward has reached.
    pub authority_version: u64,
    /// Version of the catalogue in force.
    pub catalogue_version: Option<u64>,
    /// As whom commands run that name nobody.
    pub user: String,
    /// True when commands run in transient units of systemd.
    pub transient_units: bool,
    /// True when the journal takes orders.
    pub journal_writable: bool,
    /// Orders that run now.
    pub running: u32,
}

/// State of a unit of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ServiceState {
    /// The node's name.
    pub node: String,
    /// Full name of the unit.
    pub unit: String,
    /// For people.
    pub description: String,
    /// `loaded`, `not-found`, `masked`...
    pub load: String,
    /// `active`, `inactive`, `failed`...
    pub active: String,
    /// `running`, `dead`, `exited`...
    pub sub: String,
    /// `enabled`, `disabled`, `static`...
    pub enabled: String,
    /// Main process.
    pub main_pid: Option<u32>,
    /// Automatic restarts since it was started.
    pub restarts: u32,
    /// Since when it is in this state.
    pub since: Option<Timestamp>,
    /// How its last run ended.
    pub result: String,
}

/// Answer of one node to a ping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Pong {
    /// The node's name.
    pub node: String,
    /// Milliseconds from the aggregator to the agent and back; null when it did not answer.
    pub rtt_ms: Option<f64>,
}

/// A part of a node's own audit chain, and the checkpoints it keeps of the aggregator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeAudit {
    /// Entries after the sequence asked for, oldest first.
    pub entries: Vec<super::AuditEntry>,
    /// The newest point of the node's chain that came with an outcome: sequence and hash.
    pub witnessed: Option<AuditPoint>,
}

/// A point of an audit chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditPoint {
    /// Sequence of the entry.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

/// A signed point of the aggregator's audit chain, as a node keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditCheckpoint {
    /// Sequence of the entry.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
    /// When the checkpoint was made.
    pub time: Timestamp,
    /// Signature of the aggregator's audit key, in standard base64.
    pub signature: String,
}
