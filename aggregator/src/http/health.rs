//! The fleet's health as the API tells it, made from the view that all requests share.

use std::sync::{Arc, PoisonError};

use axum::body::Bytes;
use campanile_common::api::{
    FleetPerformance, FleetStatus, Liveness, NodeHealth, NodeStatus, Severity, SystemHealthMetrics,
    UnconfinedNode,
};

use super::sight::Sight;
use super::{FleetInfo, Shared};
use crate::node::{FleetView, NodeView, unsupported};

/// The health of a whole fleet as JSON, kept until the next round: however many browsers poll, it is made once.
#[derive(Debug)]
pub(super) struct Rendered {
    of: Arc<FleetView>,
    json: Bytes,
}

/// `GET /api/v1/health` as JSON.
pub(super) fn render(shared: &Shared, sight: &Sight) -> Result<Bytes, serde_json::Error> {
    let Some(fleet) = sight.whole() else { return serde_json::to_vec(&metrics(sight)).map(Bytes::from) };
    let mut kept = shared.health.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(rendered) = kept.as_ref().filter(|rendered| Arc::ptr_eq(&rendered.of, fleet)) {
        return Ok(rendered.json.clone());
    }
    let json = Bytes::from(serde_json::to_vec(&metrics(sight))?);
    *kept = Some(Rendered { of: Arc::clone(fleet), json: json.clone() });
    Ok(json)
}

/// Health of what the caller sees.
pub(super) fn metrics(sight: &Sight) -> SystemHealthMetrics {
    let mut alerts: Vec<_> = sight.active().flat_map(|view| view.alerts.iter().cloned()).collect();
    let rank = |severity: Severity| match severity {
        Severity::Critical => 0,
        Severity::Warning => 1,
    };
    alerts.sort_by(|a, b| {
        (rank(a.severity), a.since, &a.node_name, &a.name, &a.subject).cmp(&(
            rank(b.severity),
            b.since,
            &b.node_name,
            &b.name,
            &b.subject,
        ))
    });
    SystemHealthMetrics {
        node_status: sight.active().map(node_status).collect(),
        overall_system_health: sight.score(),
        active_alerts: alerts,
        performance_metrics: FleetPerformance {
            memory_processing_rate: sight.readings_per_second(),
            system_latency: median(sight.active().filter_map(|view| Some(view.connection.as_ref()?.rtt_ms))),
            resource_utilization: mean(sight.active().filter_map(utilization)),
            user_satisfaction_score: None,
        },
        causes: sight.causes().cloned().collect(),
        unconfined: sight.active().filter_map(unconfined).collect(),
    }
}

/// A node that says that it is not confined.
fn unconfined(view: &NodeView) -> Option<UnconfinedNode> {
    let confinement = view.node.confinement.clone().filter(|found| !found.is_confined())?;
    Some(UnconfinedNode { node_id: view.node.node_id, node_name: view.node.name.clone(), confinement })
}

fn node_status(view: &NodeView) -> NodeStatus {
    NodeStatus {
        node_id: view.node.node_id,
        name: view.node.name.clone(),
        status: view.node.status,
        last_heartbeat: view.node.last_heartbeat,
        performance_metrics: view.performance.clone(),
        resource_usage: view.usage.clone(),
        active_processes: view.processes.clone(),
    }
}

/// The largest of processor, memory and disk use of an online node.
fn utilization(view: &NodeView) -> Option<f64> {
    let usage = &view.usage;
    let shares = [usage.cpu_percent, usage.memory_percent, usage.disk_percent];
    (view.node.liveness == Liveness::Online).then(|| shares.into_iter().flatten().reduce(f64::max)).flatten()
}

#[expect(clippy::cast_precision_loss, reason = "a fleet has far fewer than 2^52 nodes")]
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[middle - 1], upper) })
}

/// `GET /api/v1/status`.
pub(super) fn status(sight: &Sight, fleet: &FleetInfo) -> FleetStatus {
    let live = |liveness| sight.active().filter(|view| view.node.liveness == liveness).count();
    let judged = |status| sight.active().filter(|view| view.node.status == status).count();
    let authority = *fleet.authority.borrow();
    let mut versions: Vec<(&str, &str)> = sight
        .active()
        .filter_map(|view| Some((view.node.name.as_str(), view.node.agent_version.as_deref()?)))
        .collect();
    versions.sort_unstable();
    FleetStatus {
        fleet: fleet.name.clone(),
        fleet_id: fleet.id,
        aggregator_version: fleet.aggregator_version.clone(),
        started_at: fleet.started_at,
        confinement: fleet.confinement.clone(),
        nodes: sight.active().count(),
        online: live(Liveness::Online),
        late: live(Liveness::Late),
        offline: live(Liveness::Offline),
        healthy: judged(NodeHealth::Healthy),
        warning: judged(NodeHealth::Warning),
        critical: judged(NodeHealth::Critical),
        overall_system_health: sight.score(),
        authority_version: authority.version,
        authority_expires_at: authority.expires_at,
        frozen: None,
        unsupported_agents: unsupported(versions.into_iter(), &fleet.aggregator_version),
    }
}
