//! Comparing the aggregator's log with what nodes keep of it, and the nodes' own chains with what the aggregator says
//! of them. Pure: over values that were downloaded.

use std::collections::{BTreeMap, BTreeSet};

use campanile_common::api::{
    AuditCheckpoint, AuditEntry, AuditPoint, AuditVerification, Order, OrderTarget, TargetState,
};
use campanile_common::audit::{Head, verify_checkpoint, verify_entries};
use campanile_common::id::{Digest, FleetId, NodeId, OrderId};
use campanile_common::wire::v1::control::Checkpoint;
use data_encoding::BASE64;
use serde::Serialize;

/// What one node gave.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// Checkpoints of the aggregator's log that it keeps.
    pub(super) checkpoints: Vec<AuditCheckpoint>,
    /// Its own chain, whole.
    pub(super) entries: Vec<AuditEntry>,
    /// The newest point of its chain that the aggregator has seen, from before the chain was read.
    pub(super) witnessed: Option<AuditPoint>,
}

/// An order that a node has ended, as the aggregator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) order: OrderId,
    pub(super) node: NodeId,
    pub(super) state: TargetState,
}

/// What was found of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeReport {
    /// The node's name.
    pub(super) node: String,
    /// Entries of its own chain.
    pub(super) entries: u64,
    /// Checkpoints that are on the aggregator's chain.
    pub(super) checkpoints: u64,
    /// Orders that are in its chain, as the aggregator says.
    pub(super) orders: u64,
    /// Why it could not be asked; null when it was.
    pub(super) absent: Option<String>,
    /// What is wrong.
    pub(super) problems: Vec<String>,
}

impl NodeReport {
    /// Of a node that could not be asked.
    pub(super) fn absent(node: &str, reason: String) -> Self {
        Self {
            node: node.to_owned(),
            entries: 0,
            checkpoints: 0,
            orders: 0,
            absent: Some(reason),
            problems: Vec::new(),
        }
    }
}

/// The aggregator's log, as far as it was verified.
#[derive(Debug)]
pub(super) struct Log {
    /// What was found of it.
    pub(super) found: AuditVerification,
    /// Its last good entry.
    pub(super) last: Head,
    /// Hashes of the entries that witnesses name.
    pub(super) hashes: BTreeMap<u64, Digest>,
}

/// Which targets a node must know of: those that it answered itself.
pub(super) fn ended(order: &Order) -> Vec<Ended> {
    let is_of_node = |target: &&OrderTarget| match target.state {
        TargetState::Ok | TargetState::Failed => true,
        // A refusal by role, or by an agent without a steward, never reached the node's chain.
        TargetState::Denied => {
            target.result.as_deref() == Some("denied")
                && !target.detail.starts_with("role")
                && !target.detail.contains("(no_steward)")
        }
        _ => false,
    };
    let of_order =
        |target: &OrderTarget| Ended { order: order.order_id, node: target.node_id, state: target.state };
    order.targets.iter().filter(is_of_node).map(of_order).collect()
}

/// Compares what one node keeps with the log and with the orders that it ended.
pub(super) fn node(
    (fleet, key): (FleetId, &[u8; 32]),
    log: &Log,
    (id, name): (NodeId, &str),
    reading: &Reading,
    ended: &[Ended],
) -> NodeReport {
    let mut problems = Vec::new();
    let mut checkpoints = 0;
    for checkpoint in &reading.checkpoints {
        match judge_checkpoint(fleet, key, log, checkpoint) {
            Ok(true) => checkpoints += 1,
            Ok(false) => {}
            Err(problem) => problems.push(problem),
        }
    }
    let witnesses: Vec<Head> =
        reading.witnessed.iter().map(|point| Head { sequence: point.sequence, hash: point.hash }).collect();
    let chain = verify_entries(&reading.entries, &witnesses);
    if let Some(problem) = &chain.problem {
        problems.push(format!("its own chain is broken: {problem}"));
    }
    let known: BTreeSet<&str> = reading.entries.iter().filter_map(order_of).collect();
    let mut orders = 0;
    for ended in ended.iter().filter(|ended| ended.node == id) {
        if known.contains(ended.order.to_string().as_str()) {
            orders += 1;
        } else {
            let state = ended.state.as_str();
            problems.push(format!(
                "the aggregator says order {} ended there ({state}), its own chain does not tell of it",
                ended.order
            ));
        }
    }
    NodeReport { node: name.to_owned(), entries: chain.entries, checkpoints, orders, absent: None, problems }
}

/// True when the checkpoint is on the chain; false when the chain is broken before it, which is told once.
fn judge_checkpoint(
    fleet: FleetId,
    key: &[u8; 32],
    log: &Log,
    checkpoint: &AuditCheckpoint,
) -> Result<bool, String> {
    let sequence = checkpoint.sequence;
    let head = BASE64.decode(checkpoint.signature.as_bytes()).ok().and_then(|signature| {
        let signed = Checkpoint { sequence, hash: checkpoint.hash, time: checkpoint.time, signature };
        verify_checkpoint(fleet, key, &signed)
    });
    let Some(head) = head else {
        return Err(format!(
            "its checkpoint of entry {sequence} was not signed with the aggregator's audit key: the key was changed, or \
             the checkpoint altered"
        ));
    };
    match log.hashes.get(&sequence) {
        Some(hash) if *hash == head.hash => Ok(true),
        Some(hash) => Err(format!(
            "entry {sequence} of the aggregator's log is not the one it witnessed on {}: the log was rewritten (hash {hash} \
             instead of {})",
            checkpoint.time, head.hash
        )),
        None if log.found.intact => Err(format!(
            "entry {sequence} of the aggregator's log is missing: it witnessed it on {}, the log ends with entry {}",
            checkpoint.time, log.last.sequence
        )),
        None => Ok(false),
    }
}

/// The order that an entry is about: `order:ID`, with the due time behind it where it runs again and again.
fn order_of(entry: &AuditEntry) -> Option<&str> {
    let rest = entry.target.strip_prefix("order:")?;
    Some(rest.split('@').next().unwrap_or(rest))
}

#[cfg(test)]
mod tests;
