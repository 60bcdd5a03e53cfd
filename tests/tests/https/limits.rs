//! Peers that take places and give nothing.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fleet::{Fleet, wait_for};
use crate::wire::{Connection, Request};

/// The server's limit for a head, and time for a busy machine.
const CUT_AFTER: Duration = Duration::from_secs(15 + 15);

fn answers(fleet: &Fleet) -> bool {
    let Ok(mut connection) = fleet.try_connect() else { return false };
    connection.write(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").is_ok()
        && connection.head().is_some_and(|answer| answer.status == 200)
}

fn is_cut(mut connection: Connection, drip: bool) -> Duration {
    let began = Instant::now();
    while began.elapsed() < CUT_AFTER {
        // A byte that cannot be sent means the end, which is read next.
        if drip && connection.write(b"x").is_err() {
            return began.elapsed();
        }
        if connection.wait_for_end(Duration::from_secs(1)).is_some() {
            return began.elapsed();
        }
    }
    panic!("not cut within {CUT_AFTER:?}");
}

#[test]
fn a_peer_that_is_slow_or_silent_is_cut_and_delays_nobody() {
    let fleet = Fleet::start(1);
    let mut dripping = fleet.connect();
    dripping.write(b"GET /healthz HTTP/1.1\r\nx-slow: ").unwrap();
    let silent = fleet.connect();
    let mut preface = fleet.connect();
    preface.write(b"PRI * HTTP").unwrap();
    let raw = TcpStream::connect((Ipv4Addr::LOCALHOST, fleet.port)).unwrap();
    raw.set_read_timeout(Some(CUT_AFTER)).unwrap();
    std::thread::scope(|scope| {
        let cut: Vec<_> = [(dripping, true), (silent, false), (preface, false)]
            .into_iter()
            .map(|(connection, drip)| scope.spawn(move || is_cut(connection, drip)))
            .collect();
        while cut.iter().any(|thread| !thread.is_finished()) {
            assert!(answers(&fleet));
            std::thread::sleep(Duration::from_millis(500));
        }
        for thread in cut {
            let after = thread.join().unwrap();
            assert!(after > Duration::from_secs(5), "cut after {after:?}: too soon for an honest slow peer");
        }
    });
    // No handshake ever came: an end or a reset, but no timeout.
    let ended = (&raw).read(&mut [0; 16]);
    assert!(!matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{ended:?}");
}

#[test]
fn a_thousand_silent_connections_make_way_for_one_that_speaks() {
    // As many systems have it at first; the aggregator has to ask for what it may have.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(1024), ..limit }).unwrap();
    let fleet = Fleet::start(1);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let held: Vec<TcpStream> =
        (0..1200).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, fleet.port)).unwrap()).collect();
    wait_for("an answer beside 1,200 idle connections", Duration::from_secs(5), || {
        answers(&fleet).then_some(())
    });
    let mut kept = fleet.connect();
    for _ in 0..20 {
        assert!(answers(&fleet));
        // One that is used stays.
        assert_eq!(kept.exchange(&Request::new("GET", "/healthz")).status, 200);
    }
    drop(held);
    wait_for("an answer after they went", Duration::from_secs(5), || answers(&fleet).then_some(()));
}
