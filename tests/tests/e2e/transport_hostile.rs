//! Peers that come over TCP and mean no good: each costs itself its connection, and nobody else anything.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use campanile_agent::identity::{Identity, tls};
use campanile_tests::support::{LocalFleet, patience, until};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::json;

/// A fleet with a node that is online over TCP, and what that node knows.
fn fleet() -> (LocalFleet, Identity) {
    let mut fleet = LocalFleet::start();
    let token = fleet.enrollment_token(&json!({}), 1);
    fleet.write_agent_settings("a", "transport = \"tcp\"");
    fleet.enroll("a", &token).ok();
    fleet.run_agent("a");
    fleet.wait_liveness("a", "online");
    let identity = Identity::load(&fleet.node_path("a", "state")).unwrap();
    (fleet, identity)
}

fn connect(fleet: &LocalFleet) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, fleet.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn shake_hands(
    fleet: &LocalFleet,
    identity: &Identity,
    config: ClientConfig,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = campanile_common::fleet::aggregator_server_name(identity.fleet);
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, connect(fleet));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream
}

/// The aggregator ends it, with an alert or without.
fn is_closed(stream: &mut impl std::io::Read) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
            }
        }
    }
}

fn others_are_unharmed(fleet: &LocalFleet) {
    assert_eq!(fleet.api.get("/readyz").status, 200);
    assert_eq!(fleet.liveness("a").as_deref(), Some("online"));
    let sessions = fleet.api.get("/api/v1/connections").json();
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1);
    assert_eq!(sessions["items"][0]["transport"], "tcp");
}

#[test]
fn who_shows_no_certificate_gets_no_further_than_the_handshake() {
    let (mut fleet, identity) = fleet();
    for protocol in [tls::ALPN_LINK, tls::ALPN_STORE] {
        // Trusts the aggregator, as a node does, and has nothing to show.
        let authority = tls::key_digest(&identity.ca.clone().into()).unwrap();
        let mut config = tls::enroll_config(identity.fleet, authority).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        let mut stream = shake_hands(&fleet, &identity, config);
        assert!(is_closed(&mut stream));
    }
    until("the refusal is logged", patience(Duration::from_secs(2)), || {
        fleet.aggregator().log().contains("a TCP connection without a node's certificate")
    });
    others_are_unharmed(&fleet);
}

#[test]
fn packets_that_are_none_end_their_connection() {
    let (fleet, identity) = fleet();
    for bytes in [&[0xff, 0xff, 0, 0][..], &[0, 0], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = shake_hands(&fleet, &identity, tls::link_config(&identity).unwrap());
        stream.write_all(bytes).unwrap();
        stream.flush().unwrap();
        assert!(is_closed(&mut stream), "{bytes:?}");
    }
    others_are_unharmed(&fleet);
}

#[test]
fn handshakes_that_are_not_finished_are_ended_and_lock_nobody_out() {
    let (mut fleet, identity) = fleet();
    let name = ServerName::try_from(campanile_common::fleet::aggregator_server_name(identity.fleet)).unwrap();
    let config = Arc::new(tls::link_config(&identity).unwrap());
    let mut open = Vec::new();
    for number in 0..300 {
        let mut stream = connect(&fleet);
        let mut hello = Vec::new();
        ClientConnection::new(Arc::clone(&config), name.clone()).unwrap().write_tls(&mut hello).unwrap();
        // Half a word, or the whole first word and no other.
        let said = if number % 2 == 0 { &hello[..hello.len() / 2] } else { &hello[..] };
        stream.write_all(said).unwrap();
        open.push(stream);
    }
    // Somebody new comes in meanwhile.
    let token = fleet.enrollment_token(&json!({}), 1);
    fleet.write_agent_settings("b", "transport = \"tcp\"");
    fleet.enroll("b", &token).ok();
    fleet.run_agent("b");
    fleet.wait_liveness("b", "online");
    assert_eq!(fleet.liveness("a").as_deref(), Some("online"));
    for stream in &mut open {
        assert!(is_closed(stream), "held open");
    }
}
