//! Whoever speaks to the steward's socket is believed in nothing.

use std::time::{Duration, Instant};

use campanile_agent::os::packet::PacketSocket;
use campanile_agent::steward::protocol::{PACKET_BYTES_MAX, StewardEvent, StewardRequest, Tag};
use campanile_common::wire::v1::order::RunResult;

use crate::support::{Node, deliver, shell};

/// Orders that are altered; the hostile suite tries more, through the aggregator's door.
const MUTATIONS: u32 = 10_000;
const IN_FLIGHT: u32 = 48;
/// Packets that are altered, each on a connection of its own.
const ALTERED_PACKETS: u32 = 1000;

fn connect(node: &Node) -> PacketSocket {
    PacketSocket::connect(&node.path("steward.sock")).unwrap()
}

/// Sends one packet on a new connection, and waits for it to be closed.
fn is_closed_after(node: &Node, packet: &[u8]) -> bool {
    let mut client = node.client();
    let sent = client.socket.send(packet);
    sent.is_err() || client.next().is_none()
}

#[test]
fn packets_that_are_none_end_the_connection_and_are_written_down() {
    let node = Node::new();
    let whole = StewardRequest::Describe(Tag(1)).to_packet().unwrap();
    let doubled = [whole.clone(), whole.clone()].concat();
    let mut longer = whole.clone();
    longer.push(0);
    let mut newer = whole.clone();
    newer[2] = 9;
    let packets = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; PACKET_BYTES_MAX],
        doubled,
        longer,
        newer,
        whole[..5].to_vec(),
    ];
    for packet in &packets {
        assert!(is_closed_after(&node, packet), "{:?}", &packet[..packet.len().min(20)]);
    }
    let too_long = vec![0xca; PACKET_BYTES_MAX + 2];
    assert!(is_closed_after(&node, &too_long));
    let refused = node.client().audit().into_iter().filter(|entry| entry.action == "packet.refuse").count();
    assert_eq!(refused, packets.len() + 1);
}

/// A series of numbers that its seed names.
struct Draw(u64);

impl Draw {
    fn new() -> Self {
        let seed = u64::from_le_bytes(campanile_agent::os::random::bytes()) | 1;
        eprintln!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    /// The same with one bit turned, behind the first `from` bytes.
    fn altered(&mut self, bytes: &[u8], from: usize) -> Vec<u8> {
        let mut altered = bytes.to_vec();
        let place = from + self.below(altered.len() - from);
        altered[place] ^= 1 << self.below(8);
        altered
    }
}

#[test]
fn every_altered_order_is_denied_and_written_down() {
    let node = Node::new();
    let marker = node.path("marker");
    let whole = deliver(&shell(&format!("echo x >> {}", marker.display())));
    let mut draw = Draw::new();
    let mut client = node.client();
    let (mut sent, mut denied) = (0, 0);
    while denied < MUTATIONS {
        if sent < MUTATIONS && sent - denied < IN_FLIGHT {
            let mut altered = whole.clone();
            let order = &mut altered.delivery.order;
            if draw.below(4) == 0 {
                order.signatures[0].bytes = draw.altered(&order.signatures[0].bytes, 0);
            } else {
                order.bytes = draw.altered(&order.bytes, 0);
            }
            client.send(&StewardRequest::Deliver(Box::new(altered)));
            sent += 1;
        } else {
            let event = client.next().expect("no delivery ends the connection");
            let StewardEvent::Outcome(outcome) = event else { panic!("{event:?}") };
            assert!(matches!(outcome.result, RunResult::Denied(_)), "{outcome:?}");
            denied += 1;
        }
    }
    assert!(!marker.exists());
    let entries = client.audit();
    let written = entries.iter().filter(|entry| entry.action == "order.denied").count();
    assert_eq!(u32::try_from(written).unwrap(), MUTATIONS);
    assert_eq!(client.run(&shell("echo alive")).stdout, b"alive\n");
}

#[test]
fn altered_packets_start_nothing_twice_and_never_end_the_steward() {
    let node = Node::new();
    let marker = node.path("marker");
    let whole = deliver(&shell(&format!("echo x >> {}", marker.display())));
    let packet = StewardRequest::Deliver(Box::new(whole)).to_packet().unwrap();
    let mut draw = Draw::new();
    let pid = node.pid();
    for _ in 0..ALTERED_PACKETS {
        let mut client = node.client();
        client.send_packet(&draw.altered(&packet, 0));
        // An answer, or the end of the connection.
        drop(client.next());
    }
    assert_eq!(node.client().run(&shell("echo alive")).stdout, b"alive\n");
    assert_eq!(node.pid(), pid);
    // A bit that means nothing to what was signed, such as the journal's position, leaves the order as it is: it may
    // have run, and that once.
    assert!(std::fs::read_to_string(&marker).unwrap_or_default().lines().count() <= 1);
}

#[test]
fn a_flood_that_reads_nothing_holds_nobody_up() {
    let node = Node::new();
    node.client().describe();
    let flood = connect(&node);
    let packet = StewardRequest::Describe(Tag(1)).to_packet().unwrap();
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_millis(500) && flood.send(&packet).unwrap() {
        sent += 1;
    }
    assert!(sent > 10);
    assert_eq!(node.client().run(&shell("echo alive")).stdout, b"alive\n");
}

#[test]
fn many_connections_make_the_oldest_go_and_the_newest_is_served() {
    let node = Node::new();
    node.client().describe();
    let mut oldest = node.client();
    oldest.describe();
    let _others: Vec<PacketSocket> = (0..40).map(|_| connect(&node)).collect();
    let mut newest = node.client();
    assert_eq!(newest.run(&shell("true")).outcome.result, RunResult::Exited { code: 0 });
    assert!(oldest.next().is_none());
}

#[test]
fn another_user_may_not_speak_to_the_steward() {
    let node = Node::new();
    node.client().describe();
    let socket = node.path("steward.sock");
    let owner = std::fs::metadata(&socket).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&owner.permissions()) & 0o777, 0o660);
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    // Even where the file lets it.
    for path in [node.path(""), socket.clone()] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ns.connect(sys.argv[1])\n\
                  sys.exit(0 if s.recv(100)==b'' else 1)";
    let mut python = std::process::Command::new("python3");
    std::os::unix::process::CommandExt::uid(&mut python, 65_534);
    let Ok(status) = python.args(["-c", script]).arg(&socket).status() else {
        eprintln!("SKIPPED: no python3 to connect as another user with");
        return;
    };
    assert!(status.success());
    assert!(node.client().audit().iter().any(|entry| entry.action == "connection.refuse"));
}
