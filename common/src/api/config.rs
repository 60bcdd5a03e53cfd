//! Configuration: generations, what they change on nodes, how nodes stand to them.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, NodeId};
use crate::time::Timestamp;

/// The generation that the fleet is meant to be at. Its `digest` is the ETag that a new release must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigHead {
    /// Its number.
    pub number: u64,
    /// Its digest.
    pub digest: Digest,
}

/// A generation, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GenerationSummary {
    /// Its number.
    pub number: u64,
    /// Its digest.
    pub digest: Digest,
    /// The release before it.
    pub parent: Option<Digest>,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub author: String,
    /// Operators whose signatures counted when it was submitted.
    pub operators: Vec<String>,
    /// How many further operators must sign before it counts; 0 once it does.
    #[serde(default)]
    pub signatures_missing: u32,
    /// Why.
    pub message: String,
    /// `draft` or `release`.
    pub purpose: String,
    /// Its layers.
    pub layers: Vec<LayerSummary>,
    /// Names of its secrets.
    pub secrets: Vec<String>,
    /// Nodes that are listed in it.
    pub members: u32,
    /// Nodes that report it as theirs now.
    pub nodes: u32,
}

/// A layer, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LayerSummary {
    /// `fleet`, `group` or `node`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Of a group: whom it is for.
    pub selector: Option<String>,
    /// Of a group: the higher one wins.
    pub priority: i32,
    /// Its part.
    pub digest: Digest,
}

/// Parts that somebody wants to submit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PartsQuery {
    /// Their digests.
    pub digests: Vec<Digest>,
}

/// Those of them that the aggregator lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PartsMissing {
    /// Their digests.
    pub missing: Vec<Digest>,
}

/// How a node stands to its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeConfig {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// True while it is connected: else this is what it reported last.
    pub connected: bool,
    /// `unconfigured`, `applied`, `applying`, `confirming`, `failed`, `reverted`; `unknown` before its first report.
    pub phase: String,
    /// Generation that is applied.
    pub current: Option<ConfigHead>,
    /// Since when.
    pub applied: Option<Timestamp>,
    /// Generation that was tried last, where it is another.
    pub tried: Option<ConfigHead>,
    /// It was undone twice and is tried no more without an order.
    pub given_up: bool,
    /// What went wrong last.
    pub detail: String,
    /// Why it follows no generations; empty when it does.
    pub denied: String,
    /// Resources that differ by another hand.
    pub drifted: Vec<DriftedResource>,
    /// How many differ.
    pub drifted_count: u32,
    /// Recipient to which secrets of this node are sealed.
    pub sealing_key: Option<String>,
    /// When it reported.
    pub reported: Option<Timestamp>,
}

/// A resource that differs by another hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DriftedResource {
    /// `KIND:NAME`.
    pub resource: String,
    /// When it was found.
    pub found: Timestamp,
    /// What differs, and by whom where that is known.
    pub detail: String,
    /// It was put right.
    pub enforced: bool,
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeVerb {
    /// It comes into being.
    Create,
    /// It is changed.
    Update,
    /// It goes.
    Remove,
    /// A command runs, a service restarts or reloads.
    Run,
}

/// One change of a plan. What a node prints for `config plan` and `config apply`: one [`PlanLine`] in JSON a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// `KIND:NAME`.
    pub resource: String,
    /// What is done.
    pub verb: ChangeVerb,
    /// In a few words each: `mode 0644 -> 0600`, `restart`, `content`.
    pub what: Vec<String>,
    /// Unified diff of content; none where there is none or where it holds a secret.
    pub diff: Option<String>,
    /// It takes effect for good only once the node has reached its aggregator anew.
    pub confirmed: bool,
}

/// A line of a node's output for a plan or an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "line")]
pub enum PlanLine {
    /// A change that is planned, or is about to be made.
    Change(PlannedChange),
    /// How far an apply has come: `staged`, `snapshot`, `applied`, `confirming`, `confirmed`, `reverting`.
    Step {
        /// Which.
        step: String,
    },
    /// A warning or an error, in a sentence.
    Problem {
        /// `KIND:NAME`, where it is about one.
        resource: Option<String>,
        /// What is wrong and what to do.
        message: String,
    },
    /// The last line.
    Summary {
        /// Number of the generation.
        number: u64,
        /// Changes that are planned, or were made.
        changes: u32,
        /// Resources that are as they should be.
        unchanged: u32,
        /// `planned`, `applied`, `failed`, `reverted`.
        result: String,
        /// What was undone could not be undone in full: these were left.
        left: Vec<String>,
    },
}

/// Exit code of a node's plan when nothing would change.
pub const EXIT_UNCHANGED: u8 = 0;
/// Exit code of a node's plan when changes pend.
pub const EXIT_PENDING: u8 = 10;
/// Exit code of a node's plan or apply that failed; all is as it was before.
pub const EXIT_FAILED: u8 = 1;
/// Exit code of a node's apply that was not confirmed; all is as it was before.
pub const EXIT_REVERTED: u8 = 7;
