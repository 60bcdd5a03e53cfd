//! The daemons confine themselves, say how far, and go on with all they do.

use std::fs;
use std::time::Duration;

use campanile_tests::support::{LocalFleet, patience, run, until};
use serde_json::Value;

fn status_line(pid: u32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

fn is_confined(node: &Value) -> Option<bool> {
    let layers = node["confinement"]["layers"].as_array()?;
    let is_on = |name: &str| layers.iter().any(|layer| layer["layer"] == name && layer["isOn"] == true);
    Some(["landlock", "seccomp", "no_new_privs"].into_iter().all(is_on))
}

#[test]
fn daemons_confine_themselves_and_people_see_how_far() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    // The kernel says so, not they.
    for pid in [fleet.agent("a").pid(), fleet.aggregator().pid()] {
        assert_eq!((status_line(pid, "Seccomp:"), status_line(pid, "NoNewPrivs:")), ("2".into(), "1".into()));
    }
    // What an order runs beneath a steward without units of systemd may do all that the policy allows.
    let steward = fleet.steward("a").pid();
    assert_eq!(status_line(steward, "NoNewPrivs:"), "0");
    let soon = patience(Duration::from_secs(10));
    until("the node says that it is confined", soon, || is_confined(&fleet.node("a")) == Some(true));
    let shown = fleet.campanile(&["node", "show", "a"]).ok();
    assert!(shown.contains("confined") && shown.contains("landlock: abi"), "{shown}");
    assert!(!fleet.campanile(&["health"]).out.contains("NOT CONFINED"));
    let metrics = fleet.api.get("/metrics").text;
    let is_one = |name: &str, layer: &str| {
        let label = format!("layer=\"{layer}\"");
        metrics.lines().any(|line| line.starts_with(name) && line.contains(&label) && line.ends_with(" 1"))
    };
    for layer in ["landlock", "seccomp", "no_new_privs"] {
        assert!(is_one("campanile_agent_confinement{", layer), "{layer}: {metrics}");
        assert!(is_one("campanile_aggregator_confinement{", layer), "{layer}: {metrics}");
    }
    let status = fleet.api.get("/api/v1/status").json();
    assert_eq!(is_confined(&status), Some(true), "{status}");
    let doctor = run(&mut fleet.agent_command("a", &["doctor"]), "").out;
    assert!(doctor.contains("agent: landlock: abi"), "{doctor}");
    assert!(doctor.contains("steward: landlock: off: without units of systemd"), "{doctor}");

    // Without it, for debugging: named for information, and no point is lost.
    fleet.agent("a").stop();
    fs::create_dir(fleet.node_path("a", "agent.d")).unwrap();
    fs::write(fleet.node_path("a", "agent.d/10-open.toml"), "confine = false\n").unwrap();
    fleet.run_agent("a");
    fleet.wait_liveness("a", "online");
    until("the node says that it is not", soon, || is_confined(&fleet.node("a")) == Some(false));
    let health = fleet.campanile(&["health"]).out;
    assert!(health.contains("NOT CONFINED") && health.contains("`confine` is false"), "{health}");
    let causes = fleet.node("a")["causes"].to_string();
    assert!(!causes.contains("confine"), "{causes}");
}

#[test]
fn a_confined_agent_writes_its_state_folder_alone() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    // What is in its state folder goes on: a new certificate, samples in the spool, checkpoints.
    fleet.aggregator().stop();
    until("samples wait in the spool", patience(Duration::from_secs(20)), || {
        let spool = fs::read_dir(fleet.node_path("a", "state/spool")).unwrap();
        spool.flatten().any(|entry| entry.metadata().is_ok_and(|found| found.len() > 0))
    });
    fleet.start_aggregator();
    fleet.wait_liveness("a", "online");
    let log = fleet.agent("a").log();
    assert!(log.contains("confined: what is refused"), "{log}");
    assert!(!log.contains("ermission denied"), "nothing that it needs is refused: {log}");
    assert!(!fleet.aggregator().log().contains("ermission denied"), "{}", fleet.aggregator().log());
}
