//! Nodes whose networks do not let QUIC through, each on its way to the aggregator and back.

use std::fs;
use std::time::Duration;

use campanile_agent::app::store_backend;
use campanile_backup::backend::{Backend, Object, ObjectKind};
use campanile_backup::id::ObjectId;
use campanile_common::token::Token;
use campanile_tests::support::{ConnectProxy, LocalFleet, Passage, Udp, patience, until};
use serde_json::{Value, json};

use crate::liveness::no_second_is_unaccounted;

/// A token that leads elsewhere than the aggregator's own address.
fn token_to(fleet: &LocalFleet, address: &str) -> String {
    let text = fleet.enrollment_token(&json!({}), 1);
    let token: Token = text.parse().unwrap();
    Token { addresses: vec![address.to_owned()], ..token }.to_text()
}

/// Enrols `node` by an address and starts its agent.
fn add_node(fleet: &mut LocalFleet, node: &str, address: &str, settings: &str) {
    fleet.write_agent_settings(node, settings);
    let token = token_to(fleet, address);
    fleet.enroll(node, &token).ok();
    fleet.run_agent(node);
    fleet.wait_liveness(node, "online");
}

fn sessions(fleet: &LocalFleet) -> Vec<Value> {
    fleet.api.get("/api/v1/connections").json()["items"].as_array().unwrap().clone()
}

fn session(fleet: &LocalFleet) -> Value {
    sessions(fleet).into_iter().next().unwrap_or_default()
}

fn wait_transport(fleet: &LocalFleet, transport: &str) {
    until(transport, patience(Duration::from_secs(15)), || session(fleet)["transport"] == transport);
}

fn runs_an_order(fleet: &LocalFleet, node: &str) {
    let order = fleet.order(&[node], &["/bin/sh", "-c", "seq 1 20000"]);
    assert_eq!(fleet.await_order(order)[node]["state"], "ok");
    let output = fleet.api.get(&format!("/api/v1/orders/{order}/output/{node}")).text;
    assert!(output.starts_with("1\n2\n") && output.ends_with("\n20000\n"), "{} bytes", output.len());
}

fn stores_a_pack(fleet: &LocalFleet, node: &str) {
    let store = store_backend(&fleet.node_path(node, "state"), Duration::from_secs(60)).unwrap();
    let pack = vec![7; 5 << 20];
    let object = Object::new(ObjectKind::Pack, ObjectId::of(&pack));
    store.put(object, &pack).unwrap();
    assert!(store.get(object, None).unwrap() == pack);
}

#[test]
fn where_udp_is_dropped_a_node_does_all_it_does_over_tcp_and_moves_to_quic_when_that_works() {
    let mut fleet = LocalFleet::start();
    let passage = Passage::to_port(fleet.port(), Some(Udp::Dropped));
    add_node(&mut fleet, "a", &passage.address().to_string(), "quic_retry_s = 1");
    wait_transport(&fleet, "tcp");
    until("the reason is told", patience(Duration::from_secs(5)), || {
        let reason = session(&fleet)["transportReason"].to_string();
        reason.contains("no QUIC handshake within") || reason.contains("QUIC: no handshake in 5 s")
    });
    let shown = fleet.campanile(&["conn", "ls"]).ok();
    assert!(shown.contains("tcp") && shown.contains("next try"), "{shown}");
    runs_an_order(&fleet, "a");
    stores_a_pack(&fleet, "a");
    until("the node's samples name it", patience(Duration::from_secs(5)), || {
        fleet.api.get("/metrics").text.lines().any(|line| {
            line.starts_with("campanile_agent_link_transport{") && line.contains("transport=\"tcp\"")
        })
    });
    let networks = fs::read_to_string(fleet.node_path("a", "state").join("networks.json")).unwrap();
    assert!(networks.contains("127.0.0.0/24 to ") && networks.contains("\"tcp\""), "{networks}");
    let doctor = fleet.agent_command("a", &["doctor"]).output().unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains("TCP, since") && doctor.contains("open UDP"), "{doctor}");

    let mut events = fleet.api.events(None);
    passage.set(Udp::Passed);
    wait_transport(&fleet, "quic");
    runs_an_order(&fleet, "a");
    assert!(session(&fleet)["transportReason"].as_str().unwrap().starts_with("QUIC works again since"));
    no_second_is_unaccounted(&fleet, "a");
    // Whoever waits for this event has seen all that came before it.
    fleet.campanile(&["node", "rename", "a", "renamed"]).ok();
    events.next_where(patience(Duration::from_secs(5)), |event| {
        if event.kind == "node.liveness-changed" && event.data.contains("\"offline\"") {
            panic!("the move shows as {}", event.data);
        }
        event.data.contains("renamed")
    });

    // And again: the session is lost, and the next is over TCP.
    passage.set(Udp::Dropped);
    wait_transport(&fleet, "tcp");
    fleet.wait_liveness("renamed", "online");
    no_second_is_unaccounted(&fleet, "renamed");
}

#[test]
fn where_udp_is_rejected_a_node_is_online_over_tcp() {
    let mut fleet = LocalFleet::start();
    let passage = Passage::to_port(fleet.port(), None);
    add_node(&mut fleet, "a", &passage.address().to_string(), "");
    assert_eq!(session(&fleet)["transport"], "tcp");
    runs_an_order(&fleet, "a");
}

#[test]
fn behind_a_proxy_a_node_enrols_and_reports_through_it_with_its_password() {
    let mut fleet = LocalFleet::start();
    let proxy = ConnectProxy::to_port(fleet.port(), Some("node:s3cret word"));
    let password = fleet.path("proxy-password");
    fs::write(&password, "s3cret word\n").unwrap();
    // A name that only the proxy knows.
    let address = "aggregator.invalid:7443";
    let without = format!("proxy = \"{}\"", proxy.url());
    fleet.write_agent_settings("a", &without);
    let refused = fleet.enroll("a", &token_to(&fleet, address)).expect_code(1);
    assert!(refused.err.contains("set proxy_user and proxy_password"), "{}", refused.err);
    assert!(proxy.refused() > 0);
    let settings =
        format!("{without}\nproxy_user = \"node\"\nproxy_password = \"file:{}\"", password.display());
    add_node(&mut fleet, "a", address, &settings);
    wait_transport(&fleet, "tcp via proxy");
    runs_an_order(&fleet, "a");
    assert!(proxy.asked().iter().all(|target| target == address), "{:?}", proxy.asked());
    assert!(!fleet.agent("a").log().contains("s3cret"));
}

#[test]
fn a_retired_node_is_refused_over_tcp_as_well() {
    let mut fleet = LocalFleet::start();
    let address = format!("127.0.0.1:{}", fleet.port());
    add_node(&mut fleet, "a", &address, "transport = \"tcp\"");
    assert_eq!(session(&fleet)["transportReason"], "the settings say tcp");
    fleet.campanile(&["node", "retire", "a", "--yes"]).ok();
    until("its session ends", patience(Duration::from_secs(5)), || sessions(&fleet).is_empty());
    fleet.agent("a").kill();
    let before = fleet.agent("a").log().len();
    fleet.run_agent("a");
    until("it is refused", patience(Duration::from_secs(10)), || {
        fleet.agent("a").log()[before..].contains("retired")
    });
    assert!(sessions(&fleet).is_empty());
}
