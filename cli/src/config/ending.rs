//! How an apply ended whose end nobody saw: its steward was killed, or the machine restarted within the window to confirm.
//! The node brings such an apply to an end by itself, and then reports how it stands.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use campanile_common::api::NodeConfig;
use campanile_common::id::{Digest, NodeId};

use super::remote;
use super::view::{Fate, NodeResult};
use crate::client::{Client, ClientError};
use crate::os::process;

/// Longest wait for nodes to bring what was cut to an end. One that takes longer is told as failed, its end unknown.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until these nodes have said how they stand to the generation, and puts that in the place of what is not known.
pub(super) fn learn(
    client: &Client,
    generation: Digest,
    mut cut: BTreeSet<NodeId>,
    nodes: &mut [NodeResult],
) {
    let began = Instant::now();
    while !cut.is_empty() && began.elapsed() < PATIENCE {
        for node in nodes.iter_mut() {
            if !cut.contains(&node.node) {
                continue;
            }
            // An aggregator that does not answer may do so at the next look.
            let report: Result<NodeConfig, ClientError> = remote::node(client, &node.name);
            if let Some((fate, detail)) = report.ok().and_then(|report| judge(&report, generation)) {
                (node.fate, node.detail) = (fate, detail);
                cut.remove(&node.node);
            }
        }
        if !cut.is_empty() {
            process::pause(PAUSE);
        }
    }
}

/// What a node says of a generation that it was to apply; none while that is under way, or is not told yet.
fn judge(report: &NodeConfig, generation: Digest) -> Option<(Fate, String)> {
    let is_it = |head: &Option<campanile_common::api::ConfigHead>| {
        head.as_ref().is_some_and(|head| head.digest == generation)
    };
    match report.phase.as_str() {
        "applied" if is_it(&report.current) => Some((Fate::Applied, String::new())),
        "reverted" if is_it(&report.tried) => Some((Fate::Reverted, report.detail.clone())),
        "failed" if is_it(&report.tried) => Some((Fate::Failed, report.detail.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::api::ConfigHead;

    fn report(phase: &str, current: Option<u8>, tried: Option<u8>) -> NodeConfig {
        let head = |byte: u8| ConfigHead { number: byte.into(), digest: Digest::from_bytes([byte; 32]) };
        NodeConfig {
            node: NodeId::from_bytes([1; 8]),
            name: "n1".to_owned(),
            connected: true,
            phase: phase.to_owned(),
            current: current.map(head),
            applied: None,
            tried: tried.map(head),
            given_up: false,
            detail: "why".to_owned(),
            denied: String::new(),
            drifted: Vec::new(),
            drifted_count: 0,
            sealing_key: None,
            reported: None,
        }
    }

    #[test]
    fn what_a_node_says_of_the_generation_counts_once_it_is_over() {
        let said = |phase, current, tried| {
            judge(&report(phase, current, tried), Digest::from_bytes([2; 32])).map(|(fate, _)| fate)
        };
        assert_eq!(said("applied", Some(2), None), Some(Fate::Applied));
        assert_eq!(said("reverted", Some(1), Some(2)), Some(Fate::Reverted));
        assert_eq!(said("failed", Some(1), Some(2)), Some(Fate::Failed));
        assert_eq!(said("applying", Some(1), Some(2)), None, "under way");
        assert_eq!(said("confirming", Some(1), Some(2)), None, "under way");
        assert_eq!(said("applied", Some(1), None), None, "from before");
        assert_eq!(said("reverted", Some(1), Some(3)), None, "of another one");
        let why = judge(&report("reverted", None, Some(2)), Digest::from_bytes([2; 32]));
        assert_eq!(why, Some((Fate::Reverted, "why".to_owned())));
    }
}
