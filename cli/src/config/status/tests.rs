//! How nodes stand, as it is printed.

use super::*;
use crate::testing::{Script, answer, campanile, operator};
use campanile_common::api::{DriftedResource, Page};
use campanile_common::config::part_digest;

fn head(number: u64) -> ConfigHead {
    ConfigHead { number, digest: part_digest(&number.to_be_bytes()) }
}

pub(crate) fn node(number: usize) -> NodeConfig {
    let node = crate::testing::node(number);
    NodeConfig {
        node: node.node_id,
        name: node.name,
        connected: true,
        phase: "applied".to_owned(),
        current: Some(head(2)),
        applied: Some(Timestamp::from_millis(1)),
        tried: None,
        given_up: false,
        detail: String::new(),
        denied: String::new(),
        drifted: Vec::new(),
        drifted_count: 0,
        sealing_key: None,
        reported: None,
    }
}

fn drifted_node(enforced: bool) -> NodeConfig {
    let one = DriftedResource {
        resource: "file:/etc/motd".to_owned(),
        found: Timestamp::from_millis(1),
        detail: "content differs, by uid 1000".to_owned(),
        enforced,
    };
    NodeConfig { drifted: vec![one], drifted_count: 1, ..node(3) }
}

fn aggregator(nodes: Vec<NodeConfig>) -> Script {
    Script::choosing(Box::new(move |line, _| {
        if line.starts_with("GET /api/v1/config ") {
            return answer("200 OK", &serde_json::to_string(&head(2)).unwrap());
        }
        assert!(line.starts_with("GET /api/v1/config/nodes?"), "{line}");
        let page = Page { items: nodes.clone(), next_cursor: None };
        answer("200 OK", &serde_json::to_string(&page).unwrap())
    }))
}

#[test]
fn the_table_says_who_is_where_and_why_not() {
    let folder = operator();
    let reverted = NodeConfig {
        phase: "reverted".to_owned(),
        tried: Some(head(2)),
        current: Some(head(1)),
        given_up: true,
        detail: "no session to the aggregator within 60 s".to_owned(),
        ..node(2)
    };
    let script = aggregator(vec![reverted, node(1)]);
    let (exit, out, _) = campanile(&script, &folder, &["config", "status"]);
    assert_eq!(exit, Exit::SomeFailed);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[1].starts_with("node-1  2           "), "{out}");
    assert!(
        lines[2].contains("given up")
            && lines[2].ends_with("generation 2 was tried: no session to the aggregator within 60 s"),
        "{out}"
    );
}

#[test]
fn a_fleet_that_is_well_and_one_that_is_on_its_way_differ_in_the_exit_code() {
    let folder = operator();
    let code = |nodes| campanile(&aggregator(nodes), &folder, &["config", "status"]).0;
    assert_eq!(code(vec![node(1), node(2)]), Exit::Fine);
    assert_eq!(code(vec![node(1), NodeConfig { current: Some(head(1)), ..node(2) }]), Exit::Waiting);
    assert_eq!(code(vec![NodeConfig { denied: "no class".to_owned(), ..node(1) }]), Exit::Denied);
}

#[test]
fn drift_is_listed_and_only_what_still_differs_is_pending() {
    let folder = operator();
    let drift = |nodes| campanile(&aggregator(nodes), &folder, &["config", "drift"]);
    let (exit, out, _) = drift(vec![node(1), drifted_node(false)]);
    assert_eq!(exit, Exit::Pending);
    assert!(out.contains("node-3  file:/etc/motd") && out.contains("content differs, by uid 1000"), "{out}");
    assert_eq!(drift(vec![drifted_node(true)]).0, Exit::Fine);
    assert_eq!(drift(vec![node(1)]).0, Exit::Fine);
    let unlisted = NodeConfig { drifted_count: 2000, ..node(1) };
    let (exit, _, err) = drift(vec![unlisted]);
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Pending, "and 2000 more, which their nodes count and do not list\n")
    );
}
