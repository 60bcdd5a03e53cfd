//! Orders, their targets and their output.

use serde::{Deserialize, Serialize};

use super::SignedText;
use crate::id::{NodeId, OrderId};
use crate::time::Timestamp;

/// How an order is spread over its targets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DispatchOptions {
    /// Most nodes at work at once; all when absent.
    #[serde(default)]
    pub parallel: Option<u32>,
    /// Nodes in groups of so many, or of a share such as `25%`: the next group begins when the one before is done.
    #[serde(default)]
    pub batch: Option<String>,
    /// Stop when more than so many targets did not end well; the rest is skipped. Never when absent.
    #[serde(default)]
    pub max_fail: Option<u32>,
    /// Deliver to absent nodes when they come back, until the order expires; else they count as silent.
    #[serde(default)]
    pub queue: bool,
    /// How many nodes, or which share such as `10%`, are to be reached at the end of each wave, e.g. `1`, `10%`, `50%`;
    /// the rest is the last. The next begins when the one before is done and its nodes are well. None when empty.
    #[serde(default)]
    pub waves: Vec<String>,
    /// Seconds for which the nodes of a wave must be well before the next begins.
    #[serde(default)]
    pub wave_pause_s: u32,
}

/// A new order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderRequest {
    /// The order.
    pub order: SignedText,
    /// The leaves, where its targets are a tree.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
    /// How it is spread over its targets.
    #[serde(default)]
    pub dispatch: DispatchOptions,
}

/// What has become of an order as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum OrderState {
    /// It waits for signatures.
    Proposed,
    /// Targets are still to be reached, or at work.
    Running,
    /// Every target is accounted for; queued ones still wait for their node.
    Done,
    /// It was withdrawn.
    Cancelled,
}

impl OrderState {
    /// As JSON writes it, and people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What has become of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// Its turn has not come.
    Waiting,
    /// Delivered; no word yet.
    Sent,
    /// In the node's journal; at work.
    Running,
    /// The node is absent; delivered when it comes back.
    Queued,
    /// Ended with exit code 0.
    Ok,
    /// Ended otherwise, or nobody knows how far it came (`result` is `indeterminate`).
    Failed,
    /// No word from the node in time. An outcome that comes later replaces this.
    Silent,
    /// The node, or the caller's role, does not allow it.
    Denied,
    /// Never sent: withdrawn, or the order stopped before its turn.
    Skipped,
}

impl TargetState {
    /// All of them, in the order in which a target may go through them.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Sent,
        Self::Running,
        Self::Queued,
        Self::Ok,
        Self::Failed,
        Self::Silent,
        Self::Denied,
        Self::Skipped,
    ];

    /// As JSON writes it, and people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Running => "running",
            Self::Queued => "queued",
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Silent => "silent",
            Self::Denied => "denied",
            Self::Skipped => "skipped",
        }
    }
}

/// One target of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderTarget {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// What has become of it.
    pub state: TargetState,
    /// `exited`, `signalled`, `timed-out`, `cancelled`, `failed`, `denied`, `indeterminate`, `expired`; null before.
    pub result: Option<String>,
    /// Why, for people: who denied and by which rule, which signal, what is unknown.
    pub detail: String,
    /// Exit code, of a command that ended by itself.
    pub exit_code: Option<i32>,
    /// When it was started, by the node's clock.
    pub started_at: Option<Timestamp>,
    /// When it ended, by the node's clock.
    pub finished_at: Option<Timestamp>,
    /// Bytes of output that it wrote.
    pub output_bytes: u64,
    /// Of them kept.
    pub output_kept: u64,
}

/// How many targets there are of each kind; `targeted` is the sum of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetCounts {
    /// All.
    pub targeted: u32,
    /// Ended well.
    pub ok: u32,
    /// Ended otherwise.
    pub failed: u32,
    /// Gave no word in time.
    pub silent: u32,
    /// Refused.
    pub denied: u32,
    /// Never sent.
    pub skipped: u32,
    /// Absent, to be delivered later.
    pub queued: u32,
    /// Waiting, sent or at work: none once the order is done.
    pub pending: u32,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub order_id: OrderId,
    /// Due time of this run, of a standing order.
    #[serde(default)]
    pub occurrence: Option<Timestamp>,
    /// `run`, `routine`, `service` or `cancel`.
    pub kind: String,
    /// What it does, in one line.
    pub action: String,
    /// 0 to 3.
    pub tier: u8,
    /// Why.
    pub reason: String,
    /// Who submitted it: `person:NAME`, `token:ID`, `schedule:NAME`.
    pub submitted_by: String,
    /// When.
    pub submitted_at: Timestamp,
    /// Not started before.
    pub not_before: Timestamp,
    /// Not started from here on.
    pub expires_at: Timestamp,
    /// Operators who signed, by name.
    pub signed_by: Vec<String>,
    /// How many must sign.
    pub signatures_needed: u16,
    /// As a whole.
    pub state: OrderState,
    /// Its targets, counted.
    pub counts: TargetCounts,
    /// How it is spread over its targets.
    pub dispatch: DispatchOptions,
    /// Its targets in order of their names; empty in lists, and for more than 100 in the answer to a new order.
    #[serde(default)]
    pub targets: Vec<OrderTarget>,
}

/// A piece of output, as the event stream of an order carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutputPiece {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Bytes kept before it, of both streams together.
    pub offset: u64,
    /// The bytes, in standard base64.
    pub data: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_called_as_json_writes_them() {
        for state in [OrderState::Proposed, OrderState::Running, OrderState::Done, OrderState::Cancelled] {
            assert_eq!(serde_json::json!(state), state.as_str());
        }
        for state in TargetState::ALL {
            assert_eq!(serde_json::json!(state), state.as_str());
        }
    }
}
