//! Agents that stall, die and leave, and two that claim to be one.

use std::fs;
use std::time::{Duration, Instant};

use campanile_tests::support::{LocalFleet, patience, until, within};
use rustix::process::Signal;
use serde_json::Value;

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
fn a_restarted_aggregator_has_everybody_back_and_missed_nobody() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b", "c"]);
    fleet.aggregator().stop();
    fleet.start_aggregator();
    for node in ["a", "b", "c"] {
        fleet.wait_liveness(node, "online");
        let coverage = no_second_is_unaccounted(&fleet, node);
        assert_eq!(coverage["runs"].as_array().map(Vec::len), Some(1), "{coverage:#}");
    }
    assert!(!fleet.aggregator().log().contains("now=Offline"), "{}", fleet.tails());
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

/// Every tick is here, or counted as lost, once the spool has drained. Gives the coverage.
pub(super) fn no_second_is_unaccounted(fleet: &LocalFleet, node: &str) -> Value {
    let mut last = Value::Null;
    let limit = Duration::from_secs(90);
    let drained = within(limit, || {
        last = fleet.api.get(&format!("/api/v1/nodes/{node}/coverage")).json();
        let runs = last["runs"].as_array().expect("runs");
        (!runs.is_empty() && runs.iter().all(|run| run["missing"] == 0)).then_some(())
    });
    assert!(drained.is_some(), "{node} after {limit:?}: {last:#}");
    for run in last["runs"].as_array().expect("runs") {
        let count = |field: &str| run[field].as_u64().expect("a number");
        // An agent counts from 0, also while it is not connected yet: a run that begins later lost its beginning.
        assert_eq!(count("first"), 0, "{node}: {last:#}");
        assert_eq!(count("received") + count("gaps"), count("last") + 1, "{node}: {last:#}");
    }
    last
}
