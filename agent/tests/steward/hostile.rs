//! Whoever speaks to the steward's socket is believed in nothing.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use campanile_agent::os::packet::{Interest, PacketSocket, wait};
use campanile_agent::steward::protocol::{PACKET_BYTES_MAX, StewardRequest, Tag};
use campanile_common::wire::v1::order::RunResult;

use crate::support::{Client, Node, deliver, shell};

/// Packets that are altered; the suite of `tests` tries more, through the aggregator's door.
const MUTATIONS: u32 = 10_000;

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

#[test]
fn ten_thousand_altered_deliveries_start_nothing() {
    let node = Node::new();
    let marker = node.path("marker");
    let order = shell(&format!("echo x >> {}", marker.display()));
    let packet = StewardRequest::Deliver(Box::new(deliver(&order))).to_packet().unwrap();
    let mut seed = u64::from_le_bytes(campanile_agent::os::random::bytes()) | 1;
    eprintln!("seed {seed}");
    let mut draw = |below: usize| {
        // Xorshift: a seed names the whole series.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    let mut client = node.client();
    for _ in 0..MUTATIONS {
        let mut altered = packet.clone();
        // Behind the header, so that most are read to the end.
        let place = 8 + draw(altered.len() - 8);
        altered[place] ^= 1 << draw(8);
        if client.socket.send(&altered).is_err() {
            client = node.client();
        }
        drain(&mut client);
    }
    assert_eq!(client_of(&node).run(&shell("echo alive")).stdout, b"alive\n");
    // A bit of a signature's key or of the envelope around the order may be altered without harm to what was signed;
    // nothing else may have run, and that not twice.
    let runs = std::fs::read_to_string(&marker).unwrap_or_default().lines().count();
    assert!(runs <= 1, "{runs}");
}

fn client_of(node: &Node) -> Client {
    node.client()
}

/// Takes what is there, without waiting; a connection that was closed is seen by the next packet.
fn drain(client: &mut Client) {
    while let Ok(ready) = wait(&[(client.socket.as_fd(), Interest::READ)], Some(Duration::ZERO)) {
        if !ready[0].read || client.next().is_none() {
            return;
        }
    }
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
