//! The daily commands and the API over a small fleet.

use std::time::Duration;

use campanile_tests::support::{FleetOptions, LocalFleet, until};
use serde_json::{Value, json};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn enrol_rename_label_select_retire() {
    let mut fleet = LocalFleet::start();
    let created = fleet.campanile(&["token", "create", "-l", "role=web", "--uses", "2", "-o", "json"]).json();
    let token = created["token"].as_str().unwrap();
    for node in ["a", "b"] {
        fleet.write_agent_settings(node, "");
        fleet.enroll(node, token).ok();
        fleet.run_agent(node);
    }
    fleet.write_agent_settings("c", "");
    let used_up = fleet.enroll("c", token).expect_code(5);
    assert!(used_up.err.contains("token"), "{}", used_up.err);
    fleet.wait_liveness("a", "online");
    fleet.wait_liveness("b", "online");

    fleet.campanile(&["node", "rename", "a", "first"]).ok();
    fleet.campanile(&["node", "label", "first", "tier=gold"]).ok();
    let gold = fleet.campanile(&["node", "ls", "-l", "role=web,tier=g*", "-o", "json"]).json();
    assert_eq!(gold.as_array().unwrap().len(), 1);
    assert_eq!(gold[0]["name"], "first");
    assert_eq!(gold[0]["labels"], json!({ "role": "web", "tier": "gold" }));
    let shown = fleet.campanile(&["node", "show", "first", "-o", "json"]).json();
    assert_eq!(shown["nodeId"], gold[0]["nodeId"]);

    let sessions = fleet.campanile(&["conn", "ls", "-o", "json"]).json();
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    assert_eq!(sessions[0]["transport"], "quic");
    let top = fleet.campanile(&["top", "b", "-o", "json"]).json();
    assert!(!top["processes"].as_array().unwrap().is_empty());

    fleet.campanile(&["node", "retire", "first", "--yes"]).ok();
    let id = gold[0]["nodeId"].as_str().unwrap().to_owned();
    until("its session ends", Duration::from_secs(10), || {
        fleet.api.get("/api/v1/connections").json()["items"].as_array().unwrap().len() == 1
    });
    assert_eq!(fleet.campanile(&["node", "ls", "-o", "name"]).ok().trim(), "b");
    let retired = fleet.campanile(&["node", "ls", "--state", "retired", "-o", "json"]).json();
    assert_eq!((&retired[0]["nodeId"], &retired[0]["state"]), (&json!(id), &json!("retired")));
    // Its agent is told why, and so is one that starts anew.
    fleet.agent("a").kill();
    let before = fleet.agent("a").log().len();
    fleet.run_agent("a");
    until("the refusal is logged", Duration::from_secs(20), || {
        let log = fleet.agent("a").log();
        log[before..].contains("retired") || log[before..].contains("revoked")
    });
    assert!(fleet.agent("a").is_running(), "it waits for a person");
    let audit = fleet.campanile(&["audit", "ls", "--action", "node.retire", "-o", "json"]).json();
    assert_eq!(audit[0]["target"], format!("node/{id}"));
    assert_eq!(audit[0]["outcome"], "ok");
    assert!(fleet.campanile(&["audit", "verify"]).ok().contains("intact"));
}

#[test]
fn the_api_answers_as_documented() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let health = fleet.api.get("/api/v1/health").json();
    let mut known = keys(&health);
    // What explains the score, and what costs no points.
    known.retain(|key| !["causes", "unconfined"].contains(key));
    known.sort_unstable();
    assert_eq!(known, ["activeAlerts", "nodeStatus", "overallSystemHealth", "performanceMetrics"]);
    let mut figures = keys(&health["performanceMetrics"]);
    figures.sort_unstable();
    assert_eq!(
        figures,
        ["memoryProcessingRate", "resourceUtilization", "systemLatency", "userSatisfactionScore"]
    );
    let node = &health["nodeStatus"][0];
    for field in
        ["nodeId", "status", "lastHeartbeat", "performanceMetrics", "resourceUsage", "activeProcesses"]
    {
        assert!(node.get(field).is_some(), "{field} in {node}");
    }
    until("the second sample gives rates", Duration::from_secs(20), || {
        let health = fleet.api.get("/api/v1/health").json();
        let used = &health["nodeStatus"][0]["resourceUsage"];
        used["cpuPercent"].is_number() && used["memoryPercent"].is_number()
    });
    assert!(fleet.api.get("/api/v1/openapi.json").json()["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(fleet.api.get("/docs").status, 200);
    let nobody = fleet.api.without_token();
    assert_eq!(nobody.get("/readyz").status, 200);
    assert_eq!(nobody.get("/healthz").status, 200);
    for path in ["/api/v1/health", "/api/v1/nodes", "/metrics", "/api/v1/audit"] {
        assert_eq!(nobody.get(path).status, 401, "{path}");
    }
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let mut fleet = LocalFleet::start();
    fleet.campanile(&["health"]).expect_code(0);
    fleet.campanile(&["node", "ls", "--no-such-flag"]).expect_code(2);
    fleet.campanile(&["node", "show", "nobody"]).expect_code(1);
    let request = json!({ "name": "reader", "grants": [{ "role": "viewer" }], "ttlSeconds": 600 });
    let viewer = fleet.api.call("POST", "/api/v1/api-tokens", &request).json();
    let viewer = viewer["token"].as_str().unwrap();
    fleet.campanile_as(viewer, &["node", "ls"]).expect_code(0);
    fleet.campanile_as(viewer, &["token", "create"]).expect_code(5);
    let denied = fleet.campanile(&["audit", "ls", "-o", "json"]).json();
    assert!(denied.as_array().unwrap().iter().any(|entry| entry["outcome"] == "denied"), "{denied}");

    fleet.add_nodes(&["a"]);
    fleet.agent("a").stop();
    fleet.wait_liveness("a", "offline");
    until("the node counts as critical", Duration::from_secs(20), || {
        fleet.campanile(&["health"]).code == Some(2)
    });
    fleet.campanile(&["health", "--fail-under", "100"]).expect_code(2);
    fleet.campanile(&["health", "--fail-under", "0"]).expect_code(0);
    fleet.aggregator().stop();
    fleet.campanile(&["health", "--timeout", "3s"]).expect_code(3);
    fleet.campanile(&["node", "ls", "--timeout", "3s"]).expect_code(1);
}

#[test]
fn health_of_a_node_over_its_threshold_is_a_warning() {
    let mut fleet = LocalFleet::with(FleetOptions {
        aggregator_settings:
            "[thresholds.memory]\nwarning = 0.01\nmargin = 0.001\ncritical = 100\nwarning_for_s = 1\n"
                .to_owned(),
        ..FleetOptions::default()
    });
    fleet.add_nodes(&["a"]);
    until("the node is judged", Duration::from_secs(30), || fleet.node("a")["status"] == "warning");
    let said = fleet.campanile(&["health"]).expect_code(1).out;
    assert!(said.contains("memory"), "names the cause: {said}");
    let health = fleet.api.get("/api/v1/health").json();
    assert!(health["overallSystemHealth"].as_u64().unwrap() < 100, "{health:#}");
    assert_eq!(health["activeAlerts"][0]["name"], "memory", "{health:#}");
    let node = fleet.node("a");
    assert_eq!(node["causes"][0]["name"], "memory", "the score explains itself: {node:#}");
    until("the heaviest processes are listed", Duration::from_secs(30), || {
        let health = fleet.api.get("/api/v1/health").json();
        health["nodeStatus"][0]["activeProcesses"].as_array().is_some_and(|list| !list.is_empty())
    });
}
