//! Agents that stall, die and leave, and two that claim to be one.

use std::fs;
use std::time::{Duration, Instant};

use campanile_tests::support::{LocalFleet, patience, until};
use rustix::process::Signal;

#[test]
fn a_stalled_agent_is_late_then_offline_and_comes_back() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b"]);
    let mut events = fleet.api.events(None);
    fleet.agent("a").signal(Signal::STOP);
    let stopped = Instant::now();
    let id = fleet.node("a")["nodeId"].as_str().unwrap().to_owned();
    for expected in ["late", "offline"] {
        let event = events.next_where(patience(Duration::from_secs(4)), |event| {
            event.kind == "node.liveness-changed" && event.data.contains(&id)
        });
        let data = event.unwrap().data;
        assert!(data.contains(&format!("\"{expected}\"")), "{data}");
    }
    // Not before its time: the last sample may be a second old when it is stopped.
    assert!(stopped.elapsed() >= Duration::from_millis(1500), "offline after {:?}", stopped.elapsed());
    assert_eq!(fleet.liveness("b").as_deref(), Some("online"));
    fleet.agent("a").signal(Signal::CONT);
    fleet.wait_liveness("a", "online");
    no_second_is_unaccounted(&fleet, "a");
    assert!(!fleet.aggregator().log().contains("its key was copied"));
}

#[test]
fn a_killed_agent_goes_offline_and_its_successor_is_no_clone() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    fleet.agent("a").kill();
    fleet.wait_liveness("a", "offline");
    fleet.run_agent("a");
    fleet.wait_liveness("a", "online");
    // At once, while the aggregator still believes in the old session.
    for _ in 0..3 {
        fleet.agent("a").kill();
        let before = fleet.agent("a").log().len();
        fleet.run_agent("a");
        until("the new process has a session", patience(Duration::from_secs(5)), || {
            fleet.agent("a").log()[before..].contains("link up")
        });
    }
    fleet.wait_liveness("a", "online");
    assert!(!fleet.aggregator().log().contains("its key was copied"));
}

#[test]
fn an_orderly_stop_is_seen_at_once() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let mut events = fleet.api.events(None);
    fleet.agent("a").stop();
    let stopped = Instant::now();
    let event =
        events.next_where(patience(Duration::from_secs(1)), |event| event.kind == "node.liveness-changed");
    assert!(event.unwrap().data.contains("offline"), "without being late first");
    // Far less than the three seconds that silence would take; the budget of 0.2 s is for the bench.
    assert!(stopped.elapsed() < Duration::from_secs(2), "{:?}", stopped.elapsed());
}

#[test]
fn a_copied_identity_is_refused_and_reported() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    fleet.write_agent_settings("copy", "");
    fs::create_dir(fleet.node_path("copy", "state")).unwrap();
    let identity = |node| fleet.node_path(node, "state/identity.json");
    fs::copy(identity("a"), identity("copy")).unwrap();
    let session = |fleet: &LocalFleet| fleet.api.get("/api/v1/connections").json()["items"][0].clone();
    let before = session(&fleet);
    let mut events = fleet.api.events(None);

    fleet.run_agent("copy");
    fleet.agent("copy").wait_log("another agent with this identity", patience(Duration::from_secs(5)));
    let suspected =
        events.next_where(patience(Duration::from_secs(25)), |event| event.kind == "node.clone-suspected");
    assert!(suspected.unwrap().data.contains(before["nodeId"].as_str().unwrap()));
    assert!(fleet.aggregator().log().contains("its key was copied"));

    assert_eq!(session(&fleet)["connectedAt"], before["connectedAt"], "the first keeps its session");
    assert_eq!(fleet.liveness("a").as_deref(), Some("online"));
    assert!(fleet.agent("copy").is_running());
}

/// Every tick is here, or counted as lost, once the spool has drained.
pub(super) fn no_second_is_unaccounted(fleet: &LocalFleet, node: &str) {
    let mut last = serde_json::Value::Null;
    let limit = Duration::from_secs(90);
    let drained = campanile_tests::support::within(limit, || {
        last = fleet.api.get(&format!("/api/v1/nodes/{node}/coverage")).json();
        let runs = last["runs"].as_array().expect("runs");
        let missing: u64 = runs.iter().filter_map(|run| run["missing"].as_u64()).sum();
        (!runs.is_empty() && missing == 0).then_some(())
    });
    assert!(drained.is_some(), "{node} after {limit:?}: {last:#}");
}
