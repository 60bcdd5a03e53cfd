//! What the relay decides, told packet by packet.

use std::collections::BTreeMap;

use campanile_common::authority::{
    Action, CatalogueDocument, Command, Delivery, Document, Limits, Operator, OperatorKey, Order, Role,
    SignedCatalogue, SignedOrder, Targets, Tier,
};
use campanile_common::id::{FleetId, JournalId, NodeId};
use campanile_common::wire::v1::order::{JournalPosition, OutputStream};
use tokio::sync::mpsc::error::TryRecvError;
use zeroize::Zeroizing;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_000_000);

fn key() -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([7; 32])).unwrap()
}

fn order(id: u8, not_before: Timestamp) -> Order {
    Order {
        format: Order::FORMAT,
        fleet: FleetId::from_bytes([1; 16]),
        id: OrderId::from_bytes([id; 16]),
        authority_version: 1,
        tier: Tier::Change,
        not_before,
        expires: not_before + std::time::Duration::from_secs(60),
        targets: Targets::Nodes(vec![NodeId::from_bytes([2; 8])]),
        action: Action::Run(Command { argv: vec!["true".to_owned()], user: None, stdin: Vec::new() }),
        limits: Limits::default(),
        standing: None,
        reason: String::new(),
    }
}

fn delivery(id: u8, not_before: Timestamp, mode: DeliveryMode) -> Box<Deliver> {
    let order = order(id, not_before).sign(&[&key()]).unwrap();
    Box::new(Deliver { delivery: Delivery { order, proof: None, occurrence: None }, mode, journal: None })
}

fn start(id: u8) -> Box<Deliver> {
    delivery(id, START, DeliveryMode::Start)
}

fn run(id: u8) -> RunId {
    RunId { order: OrderId::from_bytes([id; 16]), occurrence: None }
}

fn relay() -> Relay {
    Relay::new(Timestamp::from_millis(0))
}

fn channel() -> (mpsc::Sender<OrderReply>, mpsc::Receiver<OrderReply>) {
    mpsc::channel(16)
}

fn position(sequence: u64) -> JournalPosition {
    JournalPosition { journal: JournalId::from_bytes([3; 8]), sequence }
}

fn output(run: RunId, offset: u64, bytes: &[u8]) -> StewardEvent {
    let chunk = OutputChunk { offset, stream: OutputStream::Stdout, bytes: bytes.to_vec() };
    StewardEvent::Output(run, chunk)
}

fn outcome(run: RunId) -> Outcome {
    Outcome {
        run,
        result: RunResult::Exited { code: 0 },
        started: Some(START),
        finished: START,
        output_bytes: 0,
        output_kept: 0,
        journal: Some(position(3)),
        audit: None,
    }
}

/// What the relay answers, delivered as the task delivers it.
fn told(relay: &mut Relay, event: StewardEvent) {
    deliver(relay.event(event, &Standing::default()));
}

fn deliver(answer: impl IntoIterator<Item = Answer>) {
    for answer in answer {
        match answer {
            Answer::Order(channel, reply) => channel.try_send(reply).unwrap(),
            Answer::Request(channel, reply) => channel.try_send(reply).unwrap(),
            Answer::Config(channel, reply) => channel.try_send(reply).unwrap(),
        }
    }
}

fn packets(relay: &mut Relay) -> Vec<StewardRequest> {
    std::iter::from_fn(|| relay.next()).collect()
}

/// Takes all packets as if they went out.
fn handed(relay: &mut Relay) -> Vec<StewardRequest> {
    let packets = packets(relay);
    packets.iter().for_each(|packet| relay.handing(packet, START));
    packets
}

#[test]
fn a_run_goes_to_the_steward_as_it_came_and_its_answers_come_back() {
    let (mut relay, (sender, mut replies)) = (relay(), channel());
    relay.deliver(start(1), sender);
    assert_eq!(packets(&mut relay), [StewardRequest::Deliver(start(1))]);
    told(&mut relay, StewardEvent::Received(run(1), position(2)));
    told(&mut relay, output(run(1), 0, b"hello"));
    told(&mut relay, StewardEvent::Outcome(outcome(run(1))));
    assert_eq!(replies.try_recv(), Ok(OrderReply::Received(position(2))));
    assert!(matches!(replies.try_recv(), Ok(OrderReply::Output(chunk)) if chunk.bytes == b"hello"));
    assert_eq!(replies.try_recv(), Ok(OrderReply::Outcome(outcome(run(1)))));
    assert_eq!(replies.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn a_steward_that_came_back_gets_the_run_again_and_repeats_nothing_downstream() {
    let (mut relay, (sender, mut replies)) = (relay(), channel());
    relay.deliver(start(1), sender);
    handed(&mut relay);
    told(&mut relay, StewardEvent::Received(run(1), position(2)));
    told(&mut relay, output(run(1), 0, b"hello"));
    relay.disconnected();
    relay.connected();
    let sent = packets(&mut relay);
    assert_eq!(sent.iter().filter(|packet| **packet == StewardRequest::Deliver(start(1))).count(), 1);
    told(&mut relay, StewardEvent::Received(run(1), position(4)));
    told(&mut relay, output(run(1), 0, b"hel"));
    told(&mut relay, output(run(1), 3, b"lo, world"));
    let said: Vec<OrderReply> = std::iter::from_fn(|| replies.try_recv().ok()).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(matches!(&said[2], OrderReply::Output(chunk) if chunk.offset == 5 && chunk.bytes == b", world"));
}

#[test]
fn a_second_delivery_of_a_run_takes_over_from_the_first() {
    let (mut relay, (first, mut old), (second, mut new)) = (relay(), channel(), channel());
    relay.deliver(start(1), first);
    relay.deliver(start(1), second);
    assert_eq!(packets(&mut relay), [StewardRequest::Deliver(start(1))], "waiting twice, sent once");
    told(&mut relay, StewardEvent::Received(run(1), position(2)));
    assert_eq!(old.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(new.try_recv(), Ok(OrderReply::Received(position(2))));
}

#[test]
fn a_run_too_many_ends_at_once_and_one_whose_stream_is_gone_makes_room() {
    let mut relay = relay();
    let mut streams = Vec::new();
    for id in 0..16 {
        let (sender, replies) = channel();
        relay.deliver(start(id), sender);
        streams.push(replies);
    }
    let (sender, mut replies) = channel();
    relay.deliver(start(16), sender);
    assert_eq!(replies.try_recv(), Err(TryRecvError::Disconnected));
    streams.pop();
    let (sender, mut replies) = channel();
    relay.deliver(start(16), sender);
    assert_eq!(replies.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn without_a_steward_a_new_run_is_denied_and_an_unknown_one_reported_so() {
    let (mut relay, (start_sender, mut started), (report_sender, mut reported)) =
        (relay(), channel(), channel());
    relay.deliver(start(1), start_sender);
    relay.deliver(delivery(2, START, DeliveryMode::Report), report_sender);
    deliver(relay.give_up("start it", START));
    let denial = Denial { code: DenialCode::NoSteward, reason: "start it".to_owned() };
    let denied = |reply| matches!(reply, OrderReply::Outcome(o) if o.result == RunResult::Denied(denial));
    assert!(denied(started.try_recv().unwrap()));
    let unknown = |reply| matches!(reply, OrderReply::Outcome(o) if o.result == RunResult::Unknown);
    assert!(unknown(reported.try_recv().unwrap()));
    assert!(!relay.has_runs());
}

#[test]
fn a_run_that_a_steward_may_have_got_is_never_denied_for_want_of_one() {
    let (mut relay, (sender, mut replies)) = (relay(), channel());
    relay.deliver(start(1), sender);
    handed(&mut relay);
    relay.disconnected();
    deliver(relay.give_up("gone", START));
    assert_eq!(replies.try_recv(), Err(TryRecvError::Disconnected), "no outcome");

    // Of an earlier run of the agent it is not known what was handed over.
    let mut restarted = Relay::new(START + std::time::Duration::from_secs(1));
    let (sender, mut replies) = channel();
    restarted.deliver(start(1), sender);
    deliver(restarted.give_up("gone", START));
    assert_eq!(replies.try_recv(), Err(TryRecvError::Disconnected), "no outcome");
}

#[test]
fn what_is_no_longer_remembered_counts_as_handed_over() {
    let mut relay = relay();
    let later = START + std::time::Duration::from_secs(5);
    for id in 0..=255 {
        relay.handing(&StewardRequest::Deliver(start(id)), later);
    }
    let occurrence = Some(START);
    let mut other = start(0);
    other.delivery.occurrence = occurrence;
    relay.handing(&StewardRequest::Deliver(other), later);
    let (sender, mut replies) = channel();
    relay.deliver(start(0), sender);
    deliver(relay.give_up("gone", later));
    assert_eq!(replies.try_recv(), Err(TryRecvError::Disconnected), "no outcome");
}

#[test]
fn an_order_that_cannot_be_read_goes_to_the_steward_and_its_denial_comes_back() {
    let (mut relay, (sender, mut replies)) = (relay(), channel());
    let order = SignedOrder { bytes: vec![0xff; 9], signatures: Vec::new() };
    let delivery = Delivery { order, proof: None, occurrence: None };
    let deliver = Box::new(Deliver { delivery, mode: DeliveryMode::Start, journal: None });
    let run = run_of(&deliver);
    relay.deliver(deliver.clone(), sender);
    assert_eq!(packets(&mut relay), [StewardRequest::Deliver(deliver)]);
    told(&mut relay, StewardEvent::Outcome(outcome(run)));
    assert_eq!(replies.try_recv(), Ok(OrderReply::Outcome(outcome(run))));
}

#[test]
fn answers_for_nobody_are_dropped() {
    let mut relay = relay();
    told(&mut relay, StewardEvent::Received(run(9), position(1)));
    told(&mut relay, output(run(9), 0, b"x"));
    told(&mut relay, StewardEvent::Outcome(outcome(run(9))));
    told(&mut relay, StewardEvent::Ended(Tag(77)));
    told(&mut relay, StewardEvent::Audit(Tag(77), Vec::new()));
    assert!(relay.next().is_none());
}

#[test]
fn a_journal_comes_in_pieces_and_is_stopped_once() {
    let (sender, mut replies) = mpsc::channel(4);
    let mut relay = relay();
    let request =
        Request::Journal { unit: "a.service".to_owned(), since_s: None, lines: u32::MAX, is_followed: true };
    let tag = relay.ask(request, sender).expect("a journal goes on");
    let query =
        JournalQuery { unit: "a.service".to_owned(), since_s: None, lines: 10_000, is_followed: true };
    assert_eq!(packets(&mut relay), [StewardRequest::Journal(tag, query)]);
    told(&mut relay, StewardEvent::Journal(tag, b"one\n".to_vec()));
    told(&mut relay, StewardEvent::Journal(tag, b"two\n".to_vec()));
    assert_eq!(replies.try_recv(), Ok(Reply::Journal(b"one\n".to_vec())));
    assert_eq!(replies.try_recv(), Ok(Reply::Journal(b"two\n".to_vec())));
    relay.stop(tag);
    relay.stop(tag);
    assert_eq!(packets(&mut relay), [StewardRequest::Stop(tag)]);
    assert_eq!(replies.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn requests_do_not_wait_for_a_steward_that_went_away() {
    let (sender, mut replies) = mpsc::channel(1);
    let mut relay = relay();
    relay.ask(Request::Audit { after: 0, limit: 1000 }, sender);
    let sent = packets(&mut relay);
    assert!(matches!(&sent[..], [StewardRequest::Audit(_, 0, AUDIT_ENTRIES_MAX)]));
    relay.disconnected();
    assert!(matches!(replies.try_recv(), Ok(Reply::Failed(_))));
    relay.connected();
    let sent = packets(&mut relay);
    assert!(matches!(&sent[..], [StewardRequest::Describe(_)]), "asked once: {sent:?}");
}

#[test]
fn a_request_too_many_is_refused() {
    let mut relay = relay();
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let (sender, replies) = mpsc::channel(1);
        relay.ask(Request::Describe, sender);
        waiting.push(replies);
    }
    let (sender, mut replies) = mpsc::channel(1);
    relay.ask(Request::Describe, sender);
    assert!(matches!(replies.try_recv(), Ok(Reply::Failed(text)) if text.contains("too many")));
    assert_eq!(waiting[0].try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn the_steward_is_offered_what_it_lacks_in_order() {
    let operator = Operator { name: "ada".to_owned(), key: key().public(), roles: Role::ALL.into() };
    let expires = START + std::time::Duration::from_secs(86_400);
    let first = Document::first(FleetId::from_bytes([1; 16]), "test".to_owned(), operator, START, expires);
    let chain: Vec<_> = (1..=4)
        .map(|version| {
            let mut document = first.clone();
            (document.version, document.previous) =
                (version, (version > 1).then(|| campanile_common::id::Digest::from_bytes([1; 32])));
            document.sign(&[&key()]).unwrap()
        })
        .collect();
    let catalogue = catalogue(3);
    let standing = Standing { authority: chain.clone().into(), catalogue: Some(catalogue.clone()) };
    let offered = |authority: u64, version: Option<u64>| {
        let mut relay = relay();
        relay.connected();
        let [StewardRequest::Describe(tag)] = packets(&mut relay)[..] else { panic!("asked what it has") };
        let description = description(authority, version);
        assert!(relay.event(StewardEvent::Description(tag, Box::new(description)), &standing).is_none());
        packets(&mut relay)
    };
    let sent = offered(2, Some(2));
    assert!(
        matches!(&sent[..], [StewardRequest::Authority(_, third), StewardRequest::Authority(_, fourth),
            StewardRequest::Catalogue(_, newer)]
            if *third == chain[2] && *fourth == chain[3] && *newer == catalogue),
        "{sent:?}"
    );
    assert!(matches!(&offered(4, None)[..], [StewardRequest::Catalogue(..)]));
    assert_eq!(offered(4, Some(3)), [], "what it has is not offered");
}

fn catalogue(version: u64) -> SignedCatalogue {
    let document = CatalogueDocument {
        format: 1,
        fleet: FleetId::from_bytes([1; 16]),
        version,
        authority_version: 1,
        issued: START,
        expires: START + std::time::Duration::from_secs(86_400),
        commands: BTreeMap::new(),
        services: Vec::new(),
    };
    document.sign(&[&key()]).unwrap()
}

fn description(
    authority_version: u64,
    catalogue_version: Option<u64>,
) -> campanile_common::wire::v1::request::StewardDescription {
    campanile_common::wire::v1::request::StewardDescription {
        policy: campanile_common::authority::Policy::default(),
        policy_source: String::new(),
        authority_version,
        catalogue_version,
        user: "root".to_owned(),
        has_units: false,
        journal: None,
        audit: None,
        running: 0,
    }
}
