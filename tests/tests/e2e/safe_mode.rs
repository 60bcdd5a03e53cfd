//! An agent that ends again and again is seen all the same.

use std::fs;
use std::time::Duration;

use campanile_tests::support::{LocalFleet, patience, run, until};

fn soon() -> Duration {
    patience(Duration::from_secs(20))
}

/// Of a node's settings, in a drop-in.
fn set(fleet: &LocalFleet, node: &str, text: &str) {
    let folder = fleet.node_path(node, "agent.d");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("50-safe.toml"), text).unwrap();
}

/// Starts the agent and waits until it has begun its run, which is on record then.
fn begin(fleet: &mut LocalFleet, node: &str) {
    let before = fleet.agent(node).log().len();
    fleet.run_agent(node);
    until("the run has begun", soon(), || {
        let log = &fleet.agent(node).log()[before..];
        log.contains("agent started") || log.contains("agent in safe mode")
    });
}

/// Kills the agent `count` times, each time as soon as it has begun its run.
fn crash(fleet: &mut LocalFleet, node: &str, count: usize) {
    for _ in 0..count {
        fleet.agent(node).kill();
        begin(fleet, node);
    }
}

fn causes(fleet: &LocalFleet, node: &str) -> String {
    fleet.node(node)["causes"].to_string()
}

fn processor_series(fleet: &LocalFleet) -> usize {
    let metrics = fleet.api.get("/metrics").text;
    metrics.lines().filter(|line| line.starts_with("node_cpu_seconds_total{")).count()
}

#[test]
fn an_agent_that_ends_again_and_again_shows_that_the_node_is_there() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    set(&fleet, "a", "safe_mode = { starts = 5, within_s = 3600, retry_s = 3600 }\n");
    // The settings count from the next start on, which is the first that is killed.
    fleet.agent("a").stop();
    begin(&mut fleet, "a");
    crash(&mut fleet, "a", 4);
    assert!(!fleet.agent("a").log().contains("agent in safe mode"), "four are not five");
    let mut events = fleet.api.events(None);
    crash(&mut fleet, "a", 1);
    assert!(fleet.agent("a").log().contains("agent in safe mode"));

    // The fleet sees it: there, a warning, and why.
    fleet.wait_liveness("a", "online");
    until("the fleet is told", soon(), || causes(&fleet, "a").contains("agent in safe mode since"));
    assert!(
        causes(&fleet, "a").contains("last 5 runs ended with: killed, or crashed"),
        "{}",
        causes(&fleet, "a")
    );
    assert_eq!(fleet.node("a")["status"], "warning");
    assert!(fleet.campanile(&["health"]).out.contains("safe-mode"));
    let told = |event: &campanile_tests::support::Event| {
        event.kind == "node.status-changed" && event.data.contains("agent in safe mode")
    };
    assert!(events.next_where(soon(), told).is_some(), "the event says why");
    // It goes on being there, and measures nothing.
    until("no figures come", soon(), || processor_series(&fleet) == 0);
    let heartbeat = fleet.node("a")["lastHeartbeat"].clone();
    until("heartbeats keep coming", soon(), || fleet.node("a")["lastHeartbeat"] != heartbeat);
    let doctor = run(&mut fleet.agent_command("a", &["doctor"]), "").out;
    assert!(doctor.contains("WARN") && doctor.contains("safe-mode off"), "{doctor}");
    // From start to start.
    crash(&mut fleet, "a", 1);
    let shown = run(&mut fleet.agent_command("a", &["safe-mode", "status"]), "").ok();
    assert!(shown.contains("in safe mode since"), "{shown}");

    // A person ends it, and nothing has to be restarted.
    let pid = fleet.agent("a").pid();
    run(&mut fleet.agent_command("a", &["safe-mode", "off"]), "").ok();
    until("figures come again", soon(), || processor_series(&fleet) > 0);
    until("nothing is wrong any more", soon(), || !causes(&fleet, "a").contains("safe"));
    assert_eq!(fleet.agent("a").pid(), pid);
    let order = fleet.order(&["a"], &["true"]);
    assert_eq!(fleet.await_order(order)["a"]["state"], "ok", "and it takes orders");
}

#[test]
fn everything_is_tried_again_by_itself_and_a_damaged_record_stops_nobody() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    set(&fleet, "a", "safe_mode = { starts = 1, within_s = 3600, retry_s = 5 }\n");
    fleet.agent("a").stop();
    begin(&mut fleet, "a");
    crash(&mut fleet, "a", 1);
    assert!(fleet.agent("a").log().contains("agent in safe mode"));
    let before = fleet.agent("a").log().len();
    until("it does everything again", soon(), || fleet.agent("a").log()[before..].contains("agent started"));

    fleet.agent("a").kill();
    fs::write(fleet.node_path("a", "state/starts.json"), b"{ \"format\": ").unwrap();
    let before = fleet.agent("a").log().len();
    fleet.run_agent("a");
    until("it starts", soon(), || fleet.agent("a").log()[before..].contains("agent started"));
    assert!(fleet.agent("a").log()[before..].contains("starts are counted anew"));
}
