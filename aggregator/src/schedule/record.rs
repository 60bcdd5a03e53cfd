//! A schedule as it is stored.

use std::time::Duration;

use campanile_common::api::{
    DispatchOptions, MissedPolicy, OverlapPolicy, Schedule, SignedText, TargetCounts,
};
use campanile_common::authority::{Order, SignedOrder, Standing, Targets};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::{self, Facts};
use super::when::When;
use crate::state::{Record, Revision, StateError};

/// A schedule as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ScheduleRecord {
    pub(super) name: String,
    pub(super) when: String,
    pub(super) time_zone: String,
    pub(super) splay_seconds: u32,
    pub(super) missed: MissedPolicy,
    pub(super) overlap: OverlapPolicy,
    pub(super) grant: SignedText,
    /// The leaves, where the grant's targets are a tree.
    pub(super) nodes: Vec<NodeId>,
    pub(super) dispatch: DispatchOptions,
    /// Operators who signed the grant, when it was made.
    pub(super) signed_by: Vec<String>,
    pub(super) created_by: String,
    pub(super) created: Timestamp,
    /// Due times up to here are settled.
    pub(super) settled: Timestamp,
    pub(super) last_run: Option<Timestamp>,
    pub(super) last_counts: Option<TargetCounts>,
    /// Runs so far.
    pub(super) runs: u32,
}

impl Record for ScheduleRecord {}

/// A schedule in memory, with its texts read.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) record: ScheduleRecord,
    pub(super) revision: Revision,
    pub(super) grant: SignedOrder,
    pub(super) order: Order,
    pub(super) standing: Standing,
    pub(super) when: When,
    /// Runs that are not over.
    pub(super) running: u32,
}

impl Held {
    /// Reads what a record holds; `key` names it in errors.
    pub(super) fn of(key: &str, record: ScheduleRecord, revision: Revision) -> Result<Self, StateError> {
        let unreadable = |detail: String| StateError::Unreadable { key: key.to_owned(), detail };
        let (bytes, signatures) =
            record.grant.decode().ok_or_else(|| unreadable("its grant is no base64".to_owned()))?;
        let grant = SignedOrder { bytes, signatures };
        let order = grant.read().map_err(|error| unreadable(error.to_string()))?;
        let standing =
            order.standing.ok_or_else(|| unreadable("its grant is no standing order".to_owned()))?;
        let when = When::parse(&record.when, Some(&record.time_zone), record.created)
            .map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { record, revision, grant, order, standing, when, running: 0 })
    }

    /// What a decision about it depends on.
    pub(super) fn facts(&self, now: Timestamp, is_frozen: bool) -> Facts<'_> {
        Facts {
            when: &self.when,
            settled: self.record.settled,
            last_run: self.record.last_run,
            interval: Duration::from_secs(self.standing.interval_s.into()),
            lateness: Duration::from_secs(self.standing.lateness_s.into()),
            not_before: self.order.not_before,
            expires: self.order.expires,
            runs_left: self.standing.runs_max.saturating_sub(self.record.runs),
            missed: self.record.missed,
            overlap: self.record.overlap,
            is_frozen,
            is_running: self.running > 0,
            now,
        }
    }

    /// As the API shows it.
    pub(super) fn to_api(&self, now: Timestamp) -> Schedule {
        let record = &self.record;
        Schedule {
            name: record.name.clone(),
            when: record.when.clone(),
            time_zone: record.time_zone.clone(),
            splay_seconds: record.splay_seconds,
            missed: record.missed,
            overlap: record.overlap,
            order_id: self.order.id,
            action: self.order.action.to_string(),
            tier: self.order.tier.number(),
            signed_by: record.signed_by.clone(),
            expires_at: self.order.expires,
            nodes: match &self.order.targets {
                Targets::Nodes(nodes) => u32::try_from(nodes.len()).unwrap_or(u32::MAX),
                Targets::Tree { nodes, .. } => *nodes,
            },
            created_by: record.created_by.clone(),
            created_at: record.created,
            last_run: record.last_run,
            last_counts: record.last_counts,
            next_run: plan::next_run(&self.facts(now, false)),
        }
    }
}
