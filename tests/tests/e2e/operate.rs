//! Running the daemons: metrics, log levels, tokens, the state of an agent on the spot.

use std::process::Command;
use std::time::Duration;

use campanile_tests::support::{LocalFleet, patience, run, until};
use serde_json::json;

#[test]
fn metrics_are_what_prometheus_reads() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    until("host series", patience(Duration::from_secs(3)), || {
        fleet.api.get("/metrics").text.contains("node_cpu_seconds_total{")
    });
    let text = fleet.api.get("/metrics").text;
    for name in ["node_memory_MemAvailable_bytes{", "node_load1{", "campanile_agent_collector_success{"] {
        assert!(text.contains(name), "{name} is missing");
    }
    if !Command::new("promtool").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: promtool is not installed; the text was not held against it");
        return;
    }
    let checked = run(Command::new("promtool").args(["check", "metrics"]), &text);
    // node_exporter's own spelling of memory, at which promtool's style check frowns there as well.
    let unexpected: Vec<_> = checked
        .err
        .lines()
        .filter(|line| !(line.starts_with("node_memory_") && line.ends_with("not 'camelCase'")))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(matches!(checked.code, Some(0 | 3)), "{checked:?}");
}

#[test]
fn log_levels_change_while_the_daemons_run() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    assert!(!fleet.aggregator().log().contains("DEBUG"));
    fleet.campanile(&["log-level", "debug"]).ok();
    assert_eq!(fleet.api.get("/api/v1/log-level").json()["level"], "debug");
    fleet.aggregator().wait_log("DEBUG", patience(Duration::from_secs(5)));
    let refused = fleet.campanile(&["log-level", "loud"]);
    assert_ne!(refused.code, Some(0), "{}", refused.err);

    run(&mut fleet.agent_command("a", &["log-level", "debug"]), "").ok();
    fleet.agent("a").wait_log("log level changed", patience(Duration::from_secs(2)));
    run(&mut fleet.agent_command("a", &["log-level", "loud"]), "").expect_code(2);
    let status = run(&mut fleet.agent_command("a", &["status", "--json"]), "").json();
    assert_eq!(status["name"], "a", "{status}");
    // One agent per state folder.
    let second = run(&mut fleet.agent_command("a", &["run"]), "").expect_code(1);
    assert!(second.err.contains("another agent"), "{}", second.err);
    fleet.agent("a").stop();
    run(&mut fleet.agent_command("a", &["log-level", "info"]), "").expect_code(1);
}

#[test]
fn a_revoked_token_enrols_nobody() {
    let fleet = LocalFleet::start();
    let created = fleet.campanile(&["token", "create", "--uses", "3", "-o", "json"]).json();
    let id = created["tokenId"].as_str().unwrap();
    let listed = fleet.campanile(&["token", "ls", "-o", "json"]).json();
    assert_eq!((&listed[0]["tokenId"], &listed[0]["usesMax"]), (&json!(id), &json!(3)));
    assert!(!listed.to_string().contains(created["token"].as_str().unwrap()), "secrets are shown once");
    fleet.campanile(&["token", "revoke", id]).ok();
    fleet.write_agent_settings("a", "");
    let refused = fleet.enroll("a", created["token"].as_str().unwrap()).expect_code(5);
    assert!(refused.err.contains("token"), "{}", refused.err);
    assert!(!fleet.node_path("a", "state/identity.json").exists());
    assert_eq!(fleet.api.get("/api/v1/nodes").json()["items"], json!([]));
    fleet.campanile(&["token", "revoke", "none-such"]).expect_code(1);
    let audit = fleet.campanile(&["audit", "ls", "--action", "token.revoke", "-o", "json"]).json();
    assert_eq!(audit.as_array().map(Vec::len), Some(1), "{audit}");
}
