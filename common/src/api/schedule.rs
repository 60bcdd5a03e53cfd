//! Schedules, and the freeze that holds them.

use serde::{Deserialize, Serialize};

use super::{DispatchOptions, SignedText, TargetCounts};
use crate::id::{NodeId, OrderId};
use crate::time::Timestamp;

/// Whether the fleet is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// True while every change is refused.
    pub frozen: bool,
    /// Why.
    pub reason: Option<String>,
    /// By whom.
    pub by: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// Request to freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeRequest {
    /// Why, for everybody who is refused.
    pub reason: String,
}

/// What a schedule does when its time passed while the aggregator was away or frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum MissedPolicy {
    /// Nothing; the next time counts.
    Skip,
    /// One run as soon as possible, however many were missed.
    Once,
}

/// What a schedule does when its last run is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum OverlapPolicy {
    /// This run is left out.
    Skip,
    /// Both run.
    Allow,
}

/// A new schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleRequest {
    /// What it is called.
    pub name: String,
    /// Five fields as in cron, or `@every 15m`.
    pub when: String,
    /// Time zone of the five fields, e.g. `Europe/Rome`; UTC when absent.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Nodes start spread over so many seconds.
    #[serde(default)]
    pub splay_seconds: u32,
    /// When a time was missed.
    pub missed: MissedPolicy,
    /// When the last run is not over.
    pub overlap: OverlapPolicy,
    /// The standing order that each run delivers.
    pub grant: SignedText,
    /// The leaves, where its targets are a tree.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
    /// How each run is spread over its targets.
    #[serde(default)]
    pub dispatch: DispatchOptions,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// What it is called.
    pub name: String,
    /// Five fields as in cron, or `@every 15m`.
    pub when: String,
    /// Time zone of the five fields.
    pub time_zone: String,
    /// Nodes start spread over so many seconds.
    pub splay_seconds: u32,
    /// When a time was missed.
    pub missed: MissedPolicy,
    /// When the last run is not over.
    pub overlap: OverlapPolicy,
    /// The standing order.
    pub order_id: OrderId,
    /// What it does, in one line.
    pub action: String,
    /// 0 to 3.
    pub tier: u8,
    /// Operators who signed the grant, by name.
    pub signed_by: Vec<String>,
    /// Until when the grant holds.
    pub expires_at: Timestamp,
    /// How many nodes it is for.
    pub nodes: u32,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Due time of its last run.
    pub last_run: Option<Timestamp>,
    /// How its last run ended: counts of its targets.
    pub last_counts: Option<TargetCounts>,
    /// Due time of its next run; null when the grant has expired.
    pub next_run: Option<Timestamp>,
}
