//! Turns what is known of a node into what the API shows. Pure.

use campanile_common::api::{
    ActiveAlert, Cause, Confinement, Connection, Liveness, Node, NodeHealth, NodeState, ProcessInfo, Severity,
};
use campanile_common::health::Verdict;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::TransportReport;
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
    /// What the agent says of it.
    pub(super) told: TransportReport,
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
        transport: transport(session.transport, session.told.is_proxied),
        transport_reason: session.told.reason.clone(),
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

/// Longest reason that is shown.
const REASON_CHARS_MAX: usize = 240;

/// What an agent says of its transport, fit to be shown to people.
pub(super) fn shown(told: TransportReport) -> TransportReport {
    let clean = told.reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    TransportReport { reason: clean.take(REASON_CHARS_MAX).collect(), ..told }
}

/// What carries the session: that it is TCP we know ourselves, what is in between only the agent.
fn transport(seen: &str, is_proxied: bool) -> String {
    if seen == "tcp" && is_proxied { "tcp via proxy".to_owned() } else { seen.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_believed_where_it_is_tcp_that_we_see() {
        assert_eq!(transport("tcp", true), "tcp via proxy");
        assert_eq!(transport("tcp", false), "tcp");
        assert_eq!(transport("quic", true), "quic");
    }

    #[test]
    fn a_reason_is_text_of_one_line_and_not_too_long() {
        let told =
            TransportReport { is_proxied: false, reason: format!("a\nb\u{1b}[1m{}", "c".repeat(1000)) };
        let shown = shown(told).reason;
        assert!(shown.starts_with("a b [1mc") && shown.chars().count() == REASON_CHARS_MAX, "{shown}");
    }
}
