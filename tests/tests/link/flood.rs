//! A thousand handshakes that never end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use campanile_common::fleet::aggregator_server_name;
use tokio::net::UdpSocket;

use crate::harness::{Fleet, until};
use crate::peer::{ENROLL, Peer, endpoint, quic, tls};

const HALF_OPEN: usize = 1000;
/// Connections that share a socket towards the aggregator.
const PER_SOCKET: usize = 20;

/// Passes everything on to the aggregator and nothing back, as a forged source address would; counts what came back.
struct OneWay {
    address: SocketAddr,
    retries: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl OneWay {
    async fn start(aggregator: SocketAddr) -> Self {
        let inner = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let outer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = inner.local_addr().unwrap();
        let retries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&retries);
        let task = tokio::spawn(async move {
            let (mut there, mut back) = ([0; 2048], [0; 2048]);
            loop {
                tokio::select! {
                    Ok(length) = inner.recv(&mut there) => {
                        drop(outer.send_to(&there[..length], aggregator).await);
                    }
                    Ok(_) = outer.recv(&mut back) => {
                        // A long header of type 3.
                        if back[0] & 0xF0 == 0xF0 {
                            counted.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            }
        });
        Self { address, retries, task }
    }
}

impl Drop for OneWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_half_open_handshakes_make_nobody_late() {
    let mut fleet = Fleet::start(3);
    let token = fleet.token(1);
    let before = fleet.resident_kib();
    let name = aggregator_server_name(fleet.file.fleet_id);
    let config = quic(tls(&fleet, &[ENROLL], None));
    let (mut relays, mut endpoints, mut half_open) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..HALF_OPEN / PER_SOCKET {
        let (relay, endpoint) = (OneWay::start(fleet.address).await, endpoint());
        for _ in 0..PER_SOCKET {
            half_open.push(endpoint.connect_with(config.clone(), relay.address, &name).unwrap());
        }
        relays.push(relay);
        endpoints.push(endpoint);
    }
    let retries = || relays.iter().map(|relay| relay.retries.load(Ordering::SeqCst)).sum::<usize>();
    until("peers have to prove their address", || (retries() > HALF_OPEN / 2).then_some(()));
    let worst = fleet.resident_kib().saturating_sub(before);
    assert!(worst < 30 * 1024, "{worst} KiB");

    // Newcomers that receive what is sent to them still come in: a raw one and an agent.
    Peer::enroll(&fleet, "newcomer").await;
    fleet.add_agent("agent-late", &token);
    until("the new agent is online", || {
        let node = fleet.nodes().into_iter().find(|node| node.name == "agent-late").unwrap();
        (node.liveness == campanile_common::api::Liveness::Online).then_some(())
    });
    fleet.assert_agents_untouched();

    drop(half_open);
    for endpoint in endpoints {
        endpoint.close(0_u32.into(), b"");
    }
    drop(relays);
    until("memory comes back", || (fleet.resident_kib() < before + 16 * 1024).then_some(()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    fleet.assert_agents_untouched();
}
