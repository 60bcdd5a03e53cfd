//! Hands runs to the sessions of their nodes.

use std::collections::HashMap;

use campanile_common::api::{EXIT_REVERTED, Liveness};
use campanile_common::authority::{Action, Delivery, RunId};
use campanile_common::id::NodeId;
use campanile_common::wire::v1::config::ConfigOffer;
use campanile_common::wire::v1::order::{Deliver, DeliveryMode};

use super::{LiveOrder, Nodes, OrderTask};
use crate::node::{DeliverySlip, NodeEvent};

/// Health of the nodes that are heard of. One that is late may be so for the aggregator's own restart, and is not judged.
pub(super) fn scores(nodes: &Nodes) -> HashMap<NodeId, u8> {
    let fleet = nodes.fleet();
    let online = fleet.nodes.iter().filter(|view| view.node.liveness == Liveness::Online);
    online.filter_map(|view| Some((view.node.node_id, view.node.score?))).collect()
}

impl LiveOrder {
    /// A node that took back what it applied says so by its exit code.
    pub(super) fn note_exit(&mut self, index: usize, exit_code: Option<i32>) {
        let is_config = matches!(self.order.action, Action::Config { .. });
        if is_config && exit_code == Some(EXIT_REVERTED.into()) {
            self.course.reverted(index);
        }
    }
}

impl OrderTask {
    fn slip(&self, run: RunId, node: NodeId, mode: DeliveryMode) -> Option<DeliverySlip> {
        let live = self.live.get(&run)?;
        let proof = live.tree.as_ref().and_then(|tree| tree.proof(node));
        let delivery = Delivery { order: live.signed.clone(), proof, occurrence: run.occurrence };
        let journal = self.witnesses.get(&node).and_then(|witness| witness.journal);
        let deliver = Box::new(Deliver { delivery, mode, journal });
        let offer = self.offer(live, node).filter(|_| mode == DeliveryMode::Start).map(Box::new);
        Some(DeliverySlip { deliver, run, offer, reports: self.report_sender.clone() })
    }

    /// What the node has to have before a run about the configuration begins.
    fn offer(&self, live: &LiveOrder, node: NodeId) -> Option<ConfigOffer> {
        let Action::Config { generation, .. } = live.order.action else { return None };
        let record = self.parts.registry.get(node)?.record;
        Some(ConfigOffer { generation, name: record.name, labels: record.labels, is_followed: false })
    }

    pub(super) async fn send(&self, deliveries: Vec<(RunId, NodeId, DeliveryMode)>) {
        for (run, node, mode) in deliveries {
            if let Some(slip) = self.slip(run, node, mode) {
                self.nodes.tell(NodeEvent::Deliver { node, slip }).await;
            }
        }
    }
}
