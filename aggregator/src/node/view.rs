//! Turns what is known of a node into what the API shows. Pure.

use campanile_common::api::{
    ActiveAlert, Cause, Confinement, Connection, Liveness, Node, NodeHealth, NodeState, ProcessInfo, Severity,
};
use campanile_common::health::Verdict;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::request::Process;

use super::registry::Held;
use super::session::LinkStats;

/// A process as the API shows it.
pub(super) fn process(process: &Process) -> ProcessInfo {
    ProcessInfo {
        pid: process.pid,
        name: process.name.chars().filter(|c| !c.is_control()).take(64).collect(),
        uid: process.uid,
        state: process.state.to_string(),
        cpu_percent: f64::from(process.cpu_centipercent) / 100.0,
        resident_bytes: process.resident_bytes,
        started_at: process.started,
    }
}

/// A node as the API shows it.
pub(super) fn node(
    held: &Held,
    liveness: Liveness,
    verdict: Option<&Verdict>,
    (last_heartbeat, confinement): (Option<Timestamp>, Option<Confinement>),
) -> Node {
    let record = &held.record;
    let is_active = record.state == NodeState::Active;
    Node {
        node_id: record.node_id,
        name: record.name.clone(),
        labels: record.labels.clone(),
        state: record.state,
        liveness: if is_active { liveness } else { Liveness::Offline },
        status: verdict.map_or(NodeHealth::Offline, |verdict| verdict.status),
        score: verdict.map(|verdict| verdict.score),
        causes: verdict.map_or_else(Vec::<Cause>::new, |verdict| verdict.causes.clone()),
        agent_version: record.agent_version.clone(),
        last_heartbeat,
        facts: record.facts.clone(),
        confinement,
        enrolled_at: record.enrolled,
        retired_at: record.retired,
        certificate_expires_at: record.certificate_expires,
        revision: held.revision.0,
    }
}

/// The crossed thresholds of a node, worst first.
pub(super) fn alerts(held: &Held, verdict: &Verdict) -> Vec<ActiveAlert> {
    let mut alerts: Vec<ActiveAlert> = verdict
        .breaches
        .iter()
        .map(|breach| ActiveAlert {
            node_id: held.record.node_id,
            node_name: held.record.name.clone(),
            name: breach.name.to_owned(),
            subject: breach.subject.clone(),
            severity: breach.severity,
            since: breach.since,
            value: breach.value,
            threshold: breach.threshold,
            summary: breach.summary.clone(),
        })
        .collect();
    alerts.sort_by_key(|alert| (alert.severity != Severity::Critical, alert.since));
    alerts
}

/// What is known of a live session.
#[derive(Debug)]
pub(super) struct SessionFacts {
    pub(super) remote_address: String,
    pub(super) transport: &'static str,
    pub(super) protocol_version: u8,
    pub(super) agent_version: String,
    pub(super) connected_at: Timestamp,
    pub(super) stats: LinkStats,
}

/// A session as the API shows it.
#[expect(clippy::cast_precision_loss, reason = "a share in per cent")]
pub(super) fn connection(held: &Held, session: &SessionFacts, reconnects: u64) -> Connection {
    let stats = &session.stats;
    Connection {
        node_id: held.record.node_id,
        name: held.record.name.clone(),
        transport: session.transport.to_owned(),
        remote_address: session.remote_address.clone(),
        connected_at: session.connected_at,
        rtt_ms: stats.rtt_ms,
        loss_percent: stats.lost_packets as f64 * 100.0 / stats.sent_packets.max(1) as f64,
        reconnects,
        protocol_version: session.protocol_version,
        agent_version: session.agent_version.clone(),
        received_bytes: stats.received_bytes,
        sent_bytes: stats.sent_bytes,
    }
}
