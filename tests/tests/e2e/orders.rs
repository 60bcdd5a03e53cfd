//! Orders from an operator's signature to the outcome, through every process, some of which are killed on the way.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use campanile_common::id::OrderId;
use campanile_tests::support::{FleetOptions, LocalFleet, patience, run, until};
use serde_json::{Value, json};

/// Notes its start, then waits to be let go.
const GATED: &str = "echo started >> \"$0\"; while ! [ -e \"$1\" ]; do sleep 0.05; done; echo through";

/// A command on some nodes that waits behind a gate.
struct Gated<'a> {
    nodes: &'a [&'a str],
    order: OrderId,
    starts: PathBuf,
    gate: PathBuf,
}

impl<'a> Gated<'a> {
    /// Orders it, and waits until it runs everywhere.
    fn start(fleet: &LocalFleet, nodes: &'a [&'a str]) -> Self {
        let (starts, gate) = (fleet.path("starts"), fleet.path("gate"));
        let argv = ["/bin/sh", "-c", GATED, starts.to_str().unwrap(), gate.to_str().unwrap()];
        let order = fleet.order(nodes, &argv);
        let gated = Self { nodes, order, starts, gate };
        until("the command runs everywhere", patience(Duration::from_secs(5)), || {
            gated.starts() == nodes.len()
        });
        gated
    }

    fn starts(&self) -> usize {
        fs::read_to_string(&self.starts).map_or(0, |text| text.lines().count())
    }

    fn let_go(&self) {
        fs::write(&self.gate, "").unwrap();
    }

    /// It ran once on each node, and each told so.
    fn ran_once(&self, fleet: &LocalFleet) {
        let targets = fleet.await_order(self.order);
        for node in self.nodes {
            assert_eq!(targets[*node]["state"], "ok", "{}", targets[*node]);
            assert_eq!(output(fleet, self.order, node), "through\n");
        }
        assert_eq!(self.starts(), self.nodes.len(), "each node starts it once");
    }
}

fn output(fleet: &LocalFleet, order: OrderId, node: &str) -> String {
    fleet.api.get(&format!("/api/v1/orders/{order}/output/{node}")).text
}

#[test]
fn a_command_runs_on_every_node_and_its_output_comes_back() {
    let mut fleet = LocalFleet::start();
    let nodes = ["a", "b", "c"];
    fleet.add_nodes(&nodes);
    let order = fleet.order(&nodes, &["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]);
    let targets = fleet.await_order(order);
    for node in nodes {
        let target = &targets[node];
        assert_eq!((&target["state"], &target["exitCode"]), (&json!("failed"), &json!(3)), "{target}");
        let said = output(&fleet, order, node);
        assert!(said.contains("out\n") && said.contains("err\n"), "{said}");
    }
    let order = fleet.order(&nodes, &["/bin/true"]);
    let targets = fleet.await_order(order);
    assert!(nodes.iter().all(|node| targets[*node]["state"] == "ok"), "{targets:?}");
}

#[test]
fn a_node_denies_what_its_policy_forbids_and_one_without_a_steward_denies_all() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b", "c"]);
    fleet.write_policy("b", "highest_tier = 1\nclasses = [\"observe\"]\n");
    let order = fleet.order(&["a", "b"], &["/bin/true"]);
    let targets = fleet.await_order(order);
    assert_eq!(targets["a"]["state"], "ok", "{targets:?}");
    assert_eq!((&targets["b"]["state"], &targets["b"]["result"]), (&json!("denied"), &json!("denied")));

    let mut bare = LocalFleet::with(FleetOptions { without_stewards: true, ..FleetOptions::default() });
    bare.add_nodes(&["a"]);
    let order = bare.order(&["a"], &["/bin/true"]);
    let target = bare.await_order(order).remove("a").unwrap();
    assert_eq!(target["state"], "denied", "{target}");
    assert!(target["detail"].as_str().unwrap().contains("campanile-steward.socket"), "{target}");
}

#[test]
fn a_killed_agent_comes_back_to_the_command_that_still_runs() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b"]);
    let gated = Gated::start(&fleet, &["a", "b"]);
    fleet.agent("a").kill();
    gated.let_go();
    fleet.run_agent("a");
    gated.ran_once(&fleet);
}

#[test]
fn a_killed_aggregator_learns_the_outcome_when_it_is_back() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b"]);
    let gated = Gated::start(&fleet, &["a", "b"]);
    fleet.aggregator().kill();
    gated.let_go();
    fleet.start_aggregator();
    gated.ran_once(&fleet);
}

#[test]
fn a_killed_steward_says_that_nobody_knows_and_starts_nothing_again() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b"]);
    let gated = Gated::start(&fleet, &["a", "b"]);
    fleet.steward("a").kill();
    fleet.run_steward("a");
    gated.let_go();
    let targets = fleet.await_order(gated.order);
    assert_eq!(targets["a"]["state"], "failed", "{}", targets["a"]);
    assert_eq!(targets["a"]["result"], "indeterminate", "{}", targets["a"]);
    assert_eq!(targets["b"]["state"], "ok", "{}", targets["b"]);
    assert_eq!(gated.starts(), 2, "each node starts it once");
    let order = fleet.order(&["a"], &["/bin/true"]);
    assert_eq!(fleet.await_order(order)["a"]["state"], "ok", "the node takes orders again");
}

#[test]
fn the_same_order_twice_runs_once() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let starts = fleet.path("starts");
    let argv = ["/bin/sh", "-c", "echo started >> \"$0\"", starts.to_str().unwrap()];
    let signed =
        fleet.order_to_run(&["a"], &argv, Duration::from_secs(60)).sign(&[&fleet.operator_key()]).unwrap();
    let first = fleet.submit(&signed, json!({})).unwrap();
    assert_eq!(first.status, 201, "{}", first.text);
    fleet.await_order(signed.read().unwrap().id);
    fleet.submit(&signed, json!({})).unwrap();
    let targets = fleet.await_order(signed.read().unwrap().id);
    assert_eq!(targets["a"]["state"], "ok", "{}", targets["a"]);
    assert_eq!(fs::read_to_string(starts).unwrap(), "started\n");
}

#[test]
fn doctor_finds_a_whole_node_whole_and_names_what_is_missing() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let doctor = |fleet: &LocalFleet| run(&mut fleet.agent_command("a", &["doctor", "--json"]), "");
    let checks = |found: &Value, state: &str| -> Vec<String> {
        let checks = found["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["state"] == state)
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut found = Value::Null;
    until("the steward answers", patience(Duration::from_secs(2)), || {
        let done = doctor(&fleet);
        found = serde_json::from_str(&done.out).unwrap();
        done.code == Some(0)
    });
    assert_eq!(checks(&found, "fail"), Vec::<String>::new(), "{found}");
    let policy = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == "policy").unwrap();
    assert!(policy["detail"].as_str().unwrap().contains("tier 3"), "{policy}");

    fleet.steward("a").kill();
    fs::remove_dir_all(fleet.node_path("a", "steward")).unwrap();
    fleet.write_policy("a", "highest_tear = 1\n");
    let found: Value = serde_json::from_str(&doctor(&fleet).expect_code(1).out).unwrap();
    assert_eq!(checks(&found, "fail"), ["steward", "pin", "policy"], "{found}");
    let status = run(&mut fleet.agent_command("a", &["status"]), "").ok();
    assert!(status.contains("steward      does not answer"), "{status}");
}
