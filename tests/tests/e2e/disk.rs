//! Disks that are full: what needs them is refused, everything else goes on, and nothing is lost uncounted.

use std::time::{Duration, Instant};

use campanile_tests::support::{FleetOptions, LocalFleet, SmallVolume, patience, until};
use serde_json::json;

use super::liveness::no_second_is_unaccounted;

#[test]
fn a_full_disk_under_the_state_store_refuses_writes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let Some(volume) = SmallVolume::mount(&state, 8192) else { return };
    let mut fleet =
        LocalFleet::with(FleetOptions { aggregator_state: Some(state), ..FleetOptions::default() });
    fleet.add_nodes(&["a", "b"]);
    volume.fill();

    // What fits into files that are there already may still be kept; then writes are refused.
    let mut kept = 0_u32;
    let label = |step: u32| json!({ "labels": { "step": step.to_string() } });
    let limit = Instant::now() + Duration::from_secs(60);
    let refusal = loop {
        assert!(Instant::now() < limit, "{kept} writes were kept on a full disk");
        let answer = fleet.api.call("PATCH", "/api/v1/nodes/a", &label(kept + 1));
        if answer.status != 200 {
            break answer;
        }
        kept += 1;
    };
    assert_eq!((refusal.status, refusal.code().as_str()), (507, "storage_full"), "{}", refusal.text);
    let request = json!({ "ttlSeconds": 3600, "uses": 1 });
    assert_eq!(fleet.api.call("POST", "/api/v1/tokens", &request).code(), "storage_full");
    fleet.campanile(&["node", "label", "b", "x=1"]).expect_code(1);

    let mut events = fleet.api.events(None);
    fleet.agent("b").stop();
    let offline = events.next_where(patience(Duration::from_secs(5)), |event| {
        event.kind == "node.liveness-changed" && event.data.contains("offline")
    });
    assert!(offline.is_some(), "liveness goes on");
    let beat = fleet.node("a")["lastHeartbeat"].clone();
    until("heartbeats go on", patience(Duration::from_secs(2)), || fleet.node("a")["lastHeartbeat"] != beat);
    assert_eq!(fleet.liveness("a").as_deref(), Some("online"));
    let health = fleet.api.get("/api/v1/health").json();
    assert!(!health["activeAlerts"].as_array().unwrap().is_empty(), "alerts go on: {health:#}");
    assert_eq!(fleet.api.get("/metrics").status, 200);

    volume.free();
    until("writes are taken again", patience(Duration::from_secs(5)), || {
        fleet.api.call("PATCH", "/api/v1/nodes/b", &label(7)).status == 200
    });
    fleet.run_agent("b");
    fleet.wait_liveness("b", "online");
    fleet.aggregator().kill();
    fleet.start_aggregator();
    if kept > 0 {
        assert_eq!(fleet.node("a")["labels"]["step"], kept.to_string(), "acknowledged is durable");
    }
    assert_eq!(fleet.api.get("/api/v1/audit/verify").json()["intact"], true);
    for node in ["a", "b"] {
        fleet.wait_liveness(node, "online");
        no_second_is_unaccounted(&fleet, node);
    }
}

#[test]
fn a_full_disk_under_the_spool_costs_samples_that_are_counted() {
    let mut fleet = LocalFleet::start();
    fleet.write_agent_settings("a", "");
    let Some(volume) = SmallVolume::mount(&fleet.node_path("a", "state"), 1024) else { return };
    fleet.add_nodes(&["a"]);
    volume.fill();
    fleet.aggregator().kill();
    fleet.agent("a").wait_log("samples are lost and counted", patience(Duration::from_secs(8)));
    fleet.start_aggregator();
    fleet.wait_liveness("a", "online");
    let beat = fleet.node("a")["lastHeartbeat"].clone();
    until("heartbeats go on", patience(Duration::from_secs(2)), || fleet.node("a")["lastHeartbeat"] != beat);
    volume.free();
    no_second_is_unaccounted(&fleet, "a");
    until("the loss is counted", patience(Duration::from_secs(15)), || {
        let coverage = fleet.api.get("/api/v1/nodes/a/coverage").json();
        let runs = coverage["runs"].as_array().unwrap().iter();
        runs.filter_map(|run| run["gaps"].as_u64()).sum::<u64>() > 0
    });
    no_second_is_unaccounted(&fleet, "a");
    // Unmounted before the fleet's folder is removed: the volume was declared last.
}
