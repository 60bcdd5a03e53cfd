//! Shows the fleet: from the roster and what lives to the view that everybody reads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use campanile_common::api::{Liveness, NodePerformance, NodeState};
use campanile_common::health::{Verdict, fleet_score};
use campanile_common::id::NodeId;

use super::NodeTask;
use crate::node::registry::Held;
use crate::node::{FleetView, NodeView, view};

/// The fleet is shown anew at most this often when sessions come and go: a view is made of every node, and a thousand
/// nodes that come back at once would otherwise make a thousand.
const PUBLISH_STEP: Duration = Duration::from_millis(50);

impl NodeTask {
    /// Something changed: shows it now, or with the next look for silence when the last view is young.
    pub(super) fn publish_soon(&mut self) {
        if self.started.elapsed().saturating_sub(self.published) >= PUBLISH_STEP {
            self.publish();
        } else {
            self.is_stale = true;
        }
    }

    /// Shows the fleet as it is now.
    pub(super) fn publish(&mut self) {
        (self.is_stale, self.published) = (false, self.started.elapsed());
        let roster = self.registry.all();
        let known: HashSet<NodeId> = roster
            .iter()
            .filter(|held| held.record.state == NodeState::Active)
            .map(|held| held.record.node_id)
            .collect();
        self.live.retain(|node, live| known.contains(node) || live.session.is_some());
        let judged: Vec<(NodeId, &str, &Verdict)> = roster
            .iter()
            .filter(|held| known.contains(&held.record.node_id))
            .filter_map(|held| {
                let verdict = self.live.get(&held.record.node_id)?.verdict.as_ref()?;
                Some((held.record.node_id, held.record.name.as_str(), verdict))
            })
            .collect();
        let (score, causes) = fleet_score(&judged);
        let mut nodes: Vec<NodeView> = roster.iter().map(|held| self.view(held)).collect();
        nodes.sort_by(|a, b| a.node.name.cmp(&b.node.name).then(a.node.node_id.cmp(&b.node.node_id)));
        let before = self.fleet.borrow().clone();
        let readings_per_second = self.readings_per_second;
        self.fleet.send_replace(Arc::new(FleetView { nodes, score, causes, readings_per_second }));
        self.tell_liveness_changes(&before);
    }

    fn tell_liveness_changes(&self, before: &FleetView) {
        let was: HashMap<NodeId, Liveness> =
            before.nodes.iter().map(|view| (view.node.node_id, view.node.liveness)).collect();
        for view in &self.fleet.borrow().nodes {
            let node = &view.node;
            if was.get(&node.node_id).is_some_and(|liveness| *liveness != node.liveness) {
                let body = serde_json::json!({
                    "nodeId": node.node_id, "name": node.name, "liveness": node.liveness, "status": node.status,
                });
                self.events.publish("node.liveness-changed", Some(node.node_id), &body);
            }
        }
    }

    fn view(&self, held: &Held) -> NodeView {
        let node = held.record.node_id;
        let live = self.live.get(&node).filter(|_| held.record.state == NodeState::Active);
        let verdict = live.and_then(|live| live.verdict.as_ref());
        let liveness = live.map_or(Liveness::Offline, |live| live.presence.liveness());
        let (samples_total, gap_ticks_total) = self.series.totals(node);
        let last_heartbeat = live
            .and_then(|live| live.last_heartbeat)
            .or_else(|| self.series.latest(node).map(|sample| sample.time));
        let shown = live.map(|live| live.shown.clone()).unwrap_or_default();
        NodeView {
            node: view::node(held, liveness, verdict, (last_heartbeat, shown.confinement)),
            usage: shown.usage,
            performance: NodePerformance::default(),
            alerts: verdict.map_or_else(Vec::new, |verdict| view::alerts(held, verdict)),
            processes: live.and_then(|live| live.processes.clone()),
            connection: live.and_then(|live| {
                let session = live.session.as_ref()?;
                Some(view::connection(held, &session.facts, live.sessions.saturating_sub(1)))
            }),
            samples_total,
            gap_ticks_total,
        }
    }
}
