//! Tests of the site as a whole: what is refused before any part is asked, headers, limits, the document, health.

mod backups;
mod config;
pub(in crate::http) mod fixture;
mod fleet;
mod guide;
mod orders;
mod packages;
mod signed_in;
mod site;

use super::sight::Sight;
use super::{AuthorityTerm, FleetInfo, health};
use crate::access::Actor;
use campanile_common::api::{AccessRole, Grant, NodeHealth, Severity};
use campanile_common::id::FleetId;
use campanile_common::time::Timestamp;
use tokio::sync::watch;

pub(in crate::http) fn fleet_facts() -> FleetInfo {
    let term = AuthorityTerm { version: 1, expires_at: Timestamp::from_millis(9_000_000) };
    FleetInfo {
        name: "test".to_owned(),
        id: FleetId::from_bytes([9; 16]),
        aggregator_version: "0.1.0".to_owned(),
        started_at: Timestamp::from_millis(1_000),
        confinement: Default::default(),
        authority: watch::channel(term).1,
    }
}

#[test]
fn health_tells_of_every_node_that_is_not_retired() {
    let metrics = health::metrics(&Sight::of_everything(fixture::fleet()));
    let names: Vec<_> = metrics.node_status.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["db-1", "web-1", "web-2"]);
    assert_eq!(metrics.node_status[2].status, NodeHealth::Offline);
    assert_eq!(metrics.overall_system_health, 67);
    assert_eq!(metrics.causes.len(), 1);
}

#[test]
fn health_lists_critical_alerts_first() {
    let metrics = health::metrics(&Sight::of_everything(fixture::fleet()));
    let severities: Vec<_> = metrics.active_alerts.iter().map(|alert| alert.severity).collect();
    assert_eq!(severities, [Severity::Critical, Severity::Warning]);
}

#[test]
fn fleet_figures_come_from_online_nodes_and_sessions_and_are_null_without_a_source() {
    let performance = health::metrics(&Sight::of_everything(fixture::fleet())).performance_metrics;
    // db-1 uses 80 %, web-1 50 %; web-2 is offline.
    assert_eq!(performance.resource_utilization, Some(65.0));
    assert_eq!(performance.system_latency, Some(2.0));
    assert_eq!(performance.memory_processing_rate, Some(120.0));
    assert_eq!(performance.user_satisfaction_score, None);
    let empty = health::metrics(&Sight::of_everything(crate::node::FleetView::default()));
    assert_eq!(empty.performance_metrics.system_latency, None);
    assert_eq!(empty.performance_metrics.resource_utilization, None);
}

#[test]
fn health_uses_the_founding_documents_field_names() {
    let metrics = health::metrics(&Sight::of_everything(fixture::fleet()));
    let json = serde_json::to_value(metrics).unwrap();
    let keys = |value: &serde_json::Value| {
        value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>()
    };
    for key in ["nodeStatus", "overallSystemHealth", "activeAlerts", "performanceMetrics"] {
        assert!(keys(&json).contains(key), "{key}");
    }
    for key in ["nodeId", "status", "lastHeartbeat", "performanceMetrics", "resourceUsage", "activeProcesses"]
    {
        assert!(keys(&json["nodeStatus"][0]).contains(key), "{key}");
    }
    for key in ["memoryProcessingRate", "systemLatency", "resourceUtilization", "userSatisfactionScore"] {
        assert!(keys(&json["performanceMetrics"]).contains(key), "{key}");
    }
}

#[test]
fn status_counts_every_active_node_once() {
    let status = health::status(&Sight::of_everything(fixture::fleet()), &fleet_facts());
    assert_eq!((status.nodes, status.online, status.late, status.offline), (3, 2, 0, 1));
    assert_eq!((status.healthy, status.warning, status.critical), (1, 1, 0));
    assert_eq!((status.authority_version, status.unsupported_agents), (1, None));
    let mut fleet = fixture::fleet();
    for node in &mut fleet.nodes {
        node.node.agent_version = Some("0.2.0".to_owned());
    }
    let newer = health::status(&Sight::of_everything(fleet), &fleet_facts()).unsupported_agents.unwrap();
    assert_eq!((newer.newer, newer.older), (3, 0), "a retired node is not told of");
    assert_eq!(newer.first, ["db-1 0.2.0", "web-1 0.2.0", "web-2 0.2.0"]);
}

#[test]
fn a_node_is_found_by_id_and_by_name_and_the_active_namesake_goes_first() {
    let mut fleet = fixture::fleet();
    fleet.nodes[1].node.name = "web-1".to_owned(); // the retired one
    let sight = Sight::of_everything(fleet);
    assert_eq!(sight.find("web-1").unwrap().node.node_id, fixture::id(1));
    assert_eq!(sight.find(&fixture::id(4).to_string()).unwrap().node.node_id, fixture::id(4));
    assert!(sight.find("nobody").is_none());
}

/// Somebody with one role over some nodes.
pub(in crate::http) fn actor(role: AccessRole, selector: &str) -> Actor {
    let grants = vec![Grant { role, selector: selector.to_owned() }];
    Actor::new("person:ada".to_owned(), "ada".to_owned(), grants, Timestamp::from_millis(u64::MAX))
}

#[test]
fn who_may_read_a_part_sees_that_part_and_nothing_that_tells_of_the_rest() {
    let web = Sight::new(fixture::fleet().into(), &actor(AccessRole::Viewer, "role=web"));
    let metrics = health::metrics(&web);
    let names: Vec<_> = metrics.node_status.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["web-1", "web-2"]);
    assert!(metrics.active_alerts.iter().all(|alert| alert.node_name == "web-2"));
    assert_eq!(metrics.overall_system_health, 67);
    assert_eq!(metrics.performance_metrics.memory_processing_rate, None);
    assert!(web.find("db-1").is_none());

    let db = Sight::new(fixture::fleet().into(), &actor(AccessRole::Viewer, "role=db"));
    let metrics = health::metrics(&db);
    assert_eq!((metrics.overall_system_health, metrics.causes.len()), (100, 0));
    assert_eq!(health::status(&db, &fleet_facts()).nodes, 1);
}
