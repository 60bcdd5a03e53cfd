//! Peers that hold on to what they have and do nothing with it.

use std::sync::Arc;
use std::time::Duration;

use campanile_common::wire::hello::Opening;
use quinn::crypto::rustls::QuicClientConfig;

use crate::harness::{Fleet, until};
use crate::peer::{Beat, ENROLL, LINK, Peer, closed, connect, dial, endpoint, open_lane, quic, soon, tls};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_connects_and_says_nothing_is_let_go() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    for (alpn, own) in [(LINK, Some(peer.chain())), (ENROLL, None)] {
        let quiet = connect(&fleet, tls(&fleet, &[alpn], own.as_ref().map(|_| peer.chain()))).await.unwrap();
        soon("the aggregator closes", quiet.closed()).await;
        // One that opens all its streams and says nothing on them.
        let open = connect(&fleet, tls(&fleet, &[alpn], own)).await.unwrap();
        let mut streams = Vec::new();
        let (mut control, _) = open.open_bi().await.unwrap();
        drop(control.write_all(&[0xCA]).await);
        for _ in 0..2 {
            let mut lane = open.open_uni().await.unwrap();
            drop(lane.write_all(&[0xCA]).await);
            streams.push(lane);
        }
        soon("the aggregator closes", open.closed()).await;
    }
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_names_nothing_ends_the_session() {
    let fleet = Fleet::start(0);
    let peer = Peer::enroll(&fleet, "peer").await;
    let session = peer.session(&fleet).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    lane.write_all(&open_lane()[..3]).await.unwrap();
    let (code, said) = session.end().await;
    assert_eq!(code, 3);
    assert!(said.contains("a stream was opened"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_allowed_cannot_be_opened() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let session = peer.session(&fleet).await;
    let _beat = Beat::start(&session).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    lane.write_all(&open_lane()).await.unwrap();
    let wait = Duration::from_secs(2);
    assert!(tokio::time::timeout(wait, session.connection.open_uni()).await.is_err(), "a third lane");
    assert!(
        tokio::time::timeout(wait, session.connection.open_bi()).await.is_err(),
        "a second control stream"
    );
    assert!(session.connection.close_reason().is_none());
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_byte_by_byte_takes_too_long() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let connection = peer.connect(&fleet).await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    let hello = Opening::Hello(peer.hello(&fleet)).to_bytes().unwrap();
    let drip = tokio::spawn(async move {
        for byte in hello {
            if send.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let started = tokio::time::Instant::now();
    soon("the aggregator closes", connection.closed()).await;
    assert!(started.elapsed() < Duration::from_secs(15));
    drip.abort();
    fleet.assert_agents_untouched();
}

/// A peer that takes nothing in must not keep its session past its retirement.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_loses_its_session() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    // Room for the welcome and little more.
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(500)));
    transport.stream_receive_window(120_u8.into());
    let crypto = QuicClientConfig::try_from(tls(&fleet, &[LINK], Some(peer.chain()))).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let connection = dial(&endpoint(), &fleet, fleet.address, config).await.unwrap();
    let (mut send, _unread) = connection.open_bi().await.unwrap();
    let hello = peer.hello(&fleet);
    send.write_all(&Opening::Hello(hello.clone()).to_bytes().unwrap()).await.unwrap();
    let mut lane = connection.open_uni().await.unwrap();
    let beat = tokio::spawn(async move {
        let mut rounds = crate::peer::Rounds::new(hello.instance);
        let mut sent = lane.write_all(&open_lane()).await;
        while sent.is_ok() {
            sent = lane.write_all(&rounds.next()).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    until("it is heard", || fleet.node(peer.node).last_heartbeat.map(drop));
    let (code, said) = closed(&soon("the aggregator closes", connection.closed()).await);
    assert_eq!(code, 3);
    assert!(said.contains("does not read"), "{said}");
    beat.abort();
    fleet.assert_agents_untouched();
}

/// Two hundred who enrol for ever hold no more than a few.
#[tokio::test(flavor = "multi_thread")]
async fn enrolments_that_never_end_hold_little_memory() {
    let fleet = Fleet::start(2);
    let before = fleet.resident_kib();
    let endpoint = endpoint();
    let mut held = Vec::new();
    for _ in 0..400 {
        let config = quic(tls(&fleet, &[ENROLL], None));
        let Ok(connection) = dial(&endpoint, &fleet, fleet.address, config).await else { continue };
        let Ok((mut send, _)) = connection.open_bi().await else { continue };
        let filler = vec![0xCA; 60_000];
        drop(tokio::time::timeout(Duration::from_millis(50), send.write_all(&filler)).await);
        held.push((connection, send));
    }
    let grown = fleet.resident_kib().saturating_sub(before);
    assert!(grown < 40 * 1024, "{grown} KiB");
    for (connection, _) in &held {
        soon("the aggregator closes", connection.closed()).await;
    }
    // And others enrol again.
    Peer::enroll(&fleet, "after").await;
    fleet.assert_agents_untouched();
}
