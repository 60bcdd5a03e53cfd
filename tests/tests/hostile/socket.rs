//! A hostile `run` process: the same user, the steward's socket, nothing else.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use campanile_agent::steward::protocol::{PACKET_BYTES_MAX, StewardEvent, StewardRequest, Tag};
use campanile_common::api::{AuditEntry, AuditOutcome};
use campanile_common::audit::verify_entries;
use campanile_common::authority::{SignedAuthority, SignedCatalogue, Tier};
use campanile_common::wire::v1::order::RunResult;
use campanile_tests::random::{self, Random};
use campanile_tests::support::within;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

use crate::envelope::{deliver, order, signed};
use crate::mutate::mutated;
use crate::victim::{NODE, Victim};

const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the steward.
struct Intruder(OwnedFd);

impl Intruder {
    fn connect(victim: &Victim) -> Self {
        let address = SocketAddrUnix::new(victim.steward_socket()).unwrap();
        let connected = within(PATIENCE, || {
            let socket =
                socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
            connect(&socket, &address).is_ok().then_some(socket)
        });
        Self(connected.expect("the steward listens"))
    }

    /// False when the steward has closed.
    fn send(&self, packet: &[u8]) -> bool {
        send(&self.0, packet, SendFlags::NOSIGNAL).is_ok()
    }

    /// The next answer; none when the steward closed, or nothing came for long. How the node stands to its
    /// configuration is told to everyone and answers nothing.
    fn next(&self) -> Option<StewardEvent> {
        loop {
            match self.event()? {
                StewardEvent::Config(_) | StewardEvent::Proof(_) => {}
                event => return Some(event),
            }
        }
    }

    fn event(&self) -> Option<StewardEvent> {
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
        if poll(&mut descriptors, Some(&limit)).ok()? == 0 {
            return None;
        }
        let mut packet = vec![0; PACKET_BYTES_MAX];
        let (length, _) = recv(&self.0, packet.as_mut_slice(), RecvFlags::empty()).ok()?;
        if length == 0 {
            return None;
        }
        Some(StewardEvent::from_packet(&packet[..length]).expect("the steward speaks its protocol"))
    }

    fn ask(&self, request: &StewardRequest) -> Option<StewardEvent> {
        if self.send(&request.to_packet().unwrap()) { self.next() } else { None }
    }

    fn audit(&self) -> Vec<AuditEntry> {
        let mut entries: Vec<AuditEntry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.sequence);
            let Some(StewardEvent::Audit(_, page)) = self.ask(&StewardRequest::Audit(Tag(1), after, 64))
            else {
                panic!("no audit");
            };
            if page.is_empty() {
                return entries;
            }
            entries.extend(page.iter().map(|entry| serde_json::from_str::<AuditEntry>(entry).unwrap()));
        }
    }
}

fn steward_lives(victim: &Victim) -> bool {
    let intruder = Intruder::connect(victim);
    matches!(intruder.ask(&StewardRequest::Describe(Tag(1))), Some(StewardEvent::Description(..)))
}

/// The node's own `run` is stopped, so that the intruder is the only one to speak.
fn victim_without_run() -> Victim {
    let mut victim = Victim::enrolled();
    drop(victim.fleet.agents.remove(NODE));
    victim
}

#[test]
fn mutated_envelopes_on_the_stewards_socket_run_nothing() {
    let victim = victim_without_run();
    let intruder = Intruder::connect(&victim);
    let seed = random::seed();
    eprintln!("CAMPANILE_SEED={seed}");
    let mut random = Random::new(seed);
    let mut honest = order(&victim, Tier::Change, "mutated");
    honest.authority_version = 1;
    let honest = signed(&honest, &[&victim.operators.ada]);
    let count = crate::mutations(crate::OVER_THE_SOCKET);
    let before = Instant::now();
    for number in 0..count {
        let deliver = deliver(mutated(&mut random, &honest));
        let request = StewardRequest::Deliver(Box::new(deliver));
        match intruder.ask(&request) {
            Some(StewardEvent::Outcome(outcome)) => {
                assert!(matches!(outcome.result, RunResult::Denied(_)), "envelope {number}: {outcome:?}");
            }
            other => panic!("envelope {number}: {other:?}"),
        }
    }
    let took = before.elapsed();
    assert_eq!(victim.marks(), [""; 0], "nothing ran");
    let entries = intruder.audit();
    assert!(verify_entries(&entries, &[]).intact);
    let noted = entries.iter().filter(|entry| entry.outcome == AuditOutcome::Denied).count();
    assert!(u64::try_from(noted).unwrap() >= count, "{noted} of {count} are in the audit chain");
    let whole = intruder.ask(&StewardRequest::Deliver(Box::new(deliver(honest))));
    assert!(matches!(whole, Some(StewardEvent::Received(..))), "the order itself is good: {whole:?}");
    eprintln!(
        "hostile run process: {count} mutated envelopes in {took:?}: 0 executions, all in the node's audit"
    );
}

#[test]
fn garbage_on_the_stewards_socket_ends_the_connection_and_nothing_else() {
    let victim = victim_without_run();
    let good = StewardRequest::Describe(Tag(7)).to_packet().unwrap();
    let mut two = good.clone();
    two.extend_from_slice(&good);
    let mut version = good.clone();
    version[2] = 9;
    let event = StewardEvent::Ended(Tag(1)).to_packet().unwrap();
    let packets: [&[u8]; 7] =
        [b"GET / HTTP/1.1", &[0xCA, 0x3B], &two, &version, &good[..good.len() - 1], &event, &[0xFF; 4000]];
    for packet in packets {
        let intruder = Intruder::connect(&victim);
        assert!(intruder.send(packet));
        assert!(intruder.next().is_none(), "{packet:02x?} got an answer");
        assert!(steward_lives(&victim));
    }
    // Larger than any packet may be.
    let intruder = Intruder::connect(&victim);
    if intruder.send(&vec![0xCA; PACKET_BYTES_MAX + 1]) {
        assert!(intruder.next().is_none());
    }
    assert!(steward_lives(&victim));
    let entries = Intruder::connect(&victim).audit();
    assert!(
        entries.iter().any(|entry| entry.action.contains("packet")),
        "garbage is in the audit chain: {entries:?}"
    );
}

#[test]
fn connections_without_end_keep_nobody_out() {
    let victim = victim_without_run();
    let idle: Vec<Intruder> = (0..64).map(|_| Intruder::connect(&victim)).collect();
    let lives = within(PATIENCE, || steward_lives(&victim).then_some(()));
    drop(idle);
    assert!(lives.is_some() || steward_lives(&victim), "the steward answers again once they are gone");
}

#[test]
fn the_steward_follows_no_one_elses_authority_or_catalogue() {
    let victim = victim_without_run();
    let intruder = Intruder::connect(&victim);
    let signed = &victim.chain[1];
    let mut forged = SignedAuthority { bytes: signed.bytes.clone(), signatures: Vec::new() };
    forged.add_signature(&victim.operators.stranger);
    let empty = SignedCatalogue { bytes: vec![1, 2, 3], signatures: Vec::new() };
    for request in [
        StewardRequest::Authority(Tag(1), forged),
        StewardRequest::Authority(Tag(2), victim.chain[2].clone()),
        StewardRequest::Catalogue(Tag(3), empty),
    ] {
        let answer = intruder.ask(&request);
        assert!(matches!(answer, Some(StewardEvent::Refused(..))), "{answer:?}");
    }
    let answer = intruder.ask(&StewardRequest::Authority(Tag(4), signed.clone()));
    assert!(matches!(answer, Some(StewardEvent::Followed(Tag(4), 2, None))), "{answer:?}");
}
