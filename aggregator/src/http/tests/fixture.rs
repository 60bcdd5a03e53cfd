//! A small fleet to test with.

use std::sync::Arc;

use campanile_common::api::{
    ActiveAlert, Cause, Connection, FleetCause, Liveness, Node, NodeHealth, NodePerformance, NodeState,
    ResourceUsage, Severity,
};
use campanile_common::id::{InstanceId, NodeId};
use campanile_common::sample::{Position, Sample, Scale, Series, SeriesKind};
use campanile_common::time::Timestamp;

use crate::node::{FleetView, NodeView};

pub(in crate::http) fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 8])
}

pub(in crate::http) fn node(name: &str, number: u8, labels: &str) -> Node {
    Node {
        node_id: id(number),
        name: name.to_owned(),
        labels: labels.parse().unwrap(),
        state: NodeState::Active,
        liveness: Liveness::Online,
        status: NodeHealth::Healthy,
        score: Some(100),
        causes: Vec::new(),
        agent_version: Some("0.1.0".to_owned()),
        last_heartbeat: Some(Timestamp::from_millis(5_000)),
        facts: None,
        enrolled_at: Timestamp::from_millis(1_000),
        retired_at: None,
        confinement: None,
        certificate_expires_at: Timestamp::from_millis(100_000),
        revision: 7,
    }
}

pub(in crate::http) fn view(node: Node) -> NodeView {
    let connection = (node.liveness != Liveness::Offline).then(|| Connection {
        node_id: node.node_id,
        name: node.name.clone(),
        transport: "quic".to_owned(),
        transport_reason: String::new(),
        remote_address: "192.0.2.1:4000".to_owned(),
        connected_at: Timestamp::from_millis(2_000),
        rtt_ms: 2.0,
        loss_percent: 0.0,
        reconnects: 0,
        protocol_version: 1,
        agent_version: "0.1.0".to_owned(),
        received_bytes: 10,
        sent_bytes: 20,
    });
    NodeView {
        node,
        usage: ResourceUsage {
            cpu_percent: Some(20.0),
            memory_percent: Some(50.0),
            disk_percent: None,
            ..ResourceUsage::default()
        },
        performance: NodePerformance::default(),
        alerts: Vec::new(),
        processes: None,
        connection,
        samples_total: 5,
        gap_ticks_total: 1,
    }
}

fn alert(node: &Node, severity: Severity, since: u64) -> ActiveAlert {
    ActiveAlert {
        node_id: node.node_id,
        node_name: node.name.clone(),
        name: "disk".to_owned(),
        subject: "/".to_owned(),
        severity,
        since: Timestamp::from_millis(since),
        value: None,
        threshold: None,
        summary: "disk".to_owned(),
    }
}

/// `db-1` with a warning, `web-1`, `web-2` offline, and `web-0` retired.
pub(in crate::http) fn fleet() -> FleetView {
    let mut db = view(node("db-1", 3, "role=db"));
    db.alerts = vec![alert(&db.node, Severity::Warning, 10)];
    db.node.status = NodeHealth::Warning;
    db.usage.cpu_percent = Some(80.0);
    let mut retired = node("web-0", 4, "role=web");
    retired.state = NodeState::Retired;
    retired.liveness = Liveness::Offline;
    let mut offline = node("web-2", 2, "role=web");
    offline.liveness = Liveness::Offline;
    offline.status = NodeHealth::Offline;
    let mut offline = view(offline);
    offline.alerts = vec![alert(&offline.node, Severity::Critical, 20)];
    let cause = Cause {
        points: 33.0,
        name: "offline".to_owned(),
        subject: String::new(),
        severity: Severity::Critical,
        summary: "nothing is heard of it".to_owned(),
    };
    let causes = vec![FleetCause { node_id: id(2), node_name: "web-2".to_owned(), cause }];
    FleetView {
        nodes: vec![db, view(retired), view(node("web-1", 1, "role=web,zone=a")), offline],
        score: 67,
        causes,
        readings_per_second: Some(120.0),
    }
}

type Reading<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<i64>);

/// A sample of gauges, counters where the name ends in `_total`.
pub(in crate::http) fn sample(readings: &[Reading<'_>]) -> Sample {
    let series = |(name, labels, _): &Reading<'_>| Series {
        name: (*name).to_owned(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        kind: if name.ends_with("_total") { SeriesKind::Counter } else { SeriesKind::Gauge },
        scale: Scale::ONE,
    };
    Sample {
        position: Position { instance: InstanceId::from_bytes([1; 8]), sequence: 1 },
        time: Timestamp::from_millis(5_000),
        schema: Arc::new(readings.iter().map(series).collect()),
        readings: readings.iter().map(|(_, _, reading)| *reading).collect(),
    }
}
