//! Frames that break the protocol, on each kind of stream.

use campanile_common::id::Digest;
use campanile_common::sample::{
    Gap, GapReason, SERIES_LABELS_MAX, Scale, Series, SeriesKind, TEXT_BYTES_MAX,
};
use campanile_common::time::Timestamp;
use campanile_common::token::TokenSecret;
use campanile_common::wire::frame;
use campanile_common::wire::hello::{Opening, Refusal, RefusalCode};
use campanile_common::wire::v1::control::{Ack, Checkpoint, Control, Facts, Lane};
use campanile_common::wire::v1::sample::{Block, RoundBlock, SchemaBlock};

use crate::harness::Fleet;
use crate::peer::{
    Beat, ENROLL, Peer, Session, closed, connect, converse, enroll_request, open_lane, random, samples, soon,
    tls,
};

/// The protocol was broken.
const BROKEN: u64 = 3;

fn block(block: &Block) -> Vec<u8> {
    block.to_bytes().unwrap()
}

fn facts() -> Vec<u8> {
    Control::Facts(Facts::default()).to_bytes().unwrap()
}

fn with_byte(mut bytes: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    bytes[at] = byte;
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_opening_ends_the_connection() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let hello = Opening::Hello(peer.hello(&fleet)).to_bytes().unwrap();
    let welcome = Opening::Refusal(Refusal { code: RefusalCode::Busy, reason: String::new() });
    for (what, bytes, reason) in [
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "no frame here"),
        ("random bytes", with_byte(random::<400>().to_vec(), 0, 0), "no frame here"),
        ("a length over the limit", with_byte(hello.clone(), 6, 0xff), "is the most"),
        ("a length of 4 GiB", [&hello[..4], &[0xff; 4]].concat(), "is the most"),
        ("too long a body for its length", with_byte(hello.clone(), 4, hello[4] - 1), "cannot be decoded"),
        ("an unknown kind", with_byte(hello.clone(), 3, 99), "before the session was opened"),
        ("an unknown version", with_byte(hello.clone(), 2, 77), "before the session was opened"),
        ("an aggregator's message", welcome.to_bytes().unwrap(), "an aggregator's opening"),
        ("a message before the hello", facts(), "before the session was opened"),
        (
            "samples before the hello",
            samples(peer.hello(&fleet).instance, 2),
            "before the session was opened",
        ),
    ] {
        let connection = peer.connect(&fleet).await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        let (code, said) = closed(&soon(what, connection.closed()).await);
        assert_eq!(code, BROKEN, "{what}");
        assert!(said.contains(reason), "{what}: {said}");
    }
    fleet.await_log(&["session ended", "no frame here", &peer.node.to_string()]);

    // A hello that stops in the middle.
    let connection = peer.connect(&fleet).await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&hello[..hello.len() - 3]).await.unwrap();
    send.finish().unwrap();
    let (code, said) = closed(&soon("a cut hello", connection.closed()).await);
    assert_eq!(code, BROKEN);
    assert!(said.contains("3 bytes before the end of a frame"), "{said}");
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_control_stream_ends_the_session() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let ack = Ack { lane: Lane::Control, instance: peer.hello(&fleet).instance, sequence: 9 };
    let checkpoint = Checkpoint {
        sequence: 1,
        hash: Digest::from_bytes([1; 32]),
        time: Timestamp::default(),
        signature: vec![0; 64],
    };
    let renewed = Control::Renewed { certificate: vec![1], not_after: Timestamp::default() };
    let outgoing = "an aggregator's message";
    for (what, bytes, reason) in [
        ("an acknowledgement", Control::Ack(ack).to_bytes().unwrap(), outgoing),
        ("a checkpoint", Control::Checkpoint(checkpoint).to_bytes().unwrap(), outgoing),
        ("a certificate", renewed.to_bytes().unwrap(), outgoing),
        ("a second hello", Opening::Hello(peer.hello(&fleet)).to_bytes().unwrap(), "version 0"),
        ("a version of tomorrow", with_byte(facts(), 2, 2), "version 2"),
        ("an unknown kind", with_byte(facts(), 3, 200), "unknown kind 200"),
        ("garbage in the body", frame::encode(1, 16, &[0xfd; 100]).unwrap(), "malformed message"),
        ("a sample", block(&Block::Open(Lane::Control)), "unknown kind 64"),
        ("garbage between frames", [facts(), b"xx".to_vec()].concat(), "no frame here"),
        ("a length over the limit", with_byte(facts(), 7, 1), "is the most"),
    ] {
        let mut session = peer.session(&fleet).await;
        session.send.write_all(&bytes).await.unwrap();
        let (code, said) = session.end().await;
        assert_eq!(code, BROKEN, "{what}");
        assert!(said.contains(reason), "{what}: {said}");
        fleet.await_log(&["session ended", reason, &peer.node.to_string()]);
    }
    fleet.assert_agents_untouched();
}

fn series(index: usize, text_bytes: usize) -> Series {
    let label = |number: usize| (format!("l{number}"), format!("{index:0>text_bytes$}"));
    Series {
        name: "node_test".to_owned(),
        labels: (0..SERIES_LABELS_MAX).map(label).collect(),
        kind: SeriesKind::Gauge,
        scale: Scale::ONE,
    }
}

fn schema(session: &Session, series: Vec<Series>, has_more: bool) -> Vec<u8> {
    block(&Block::Schema(SchemaBlock {
        instance: session.instance,
        sequence: 0,
        time: crate::peer::now(),
        series,
        has_more,
    }))
}

fn round(readings: usize, sequence_step: u64) -> Vec<u8> {
    let differences = vec![1; readings];
    block(&Block::Round(RoundBlock { sequence_step, time_step_ms: 0, absent: vec![], differences }))
}

fn gap(session: &Session, first: u64, last: u64) -> Vec<u8> {
    block(&Block::Gap(Gap { instance: session.instance, first, last, reason: GapReason::Evicted }))
}

/// Makes the bytes that follow the opening of a lane.
type Make = Box<dyn Fn(&Session) -> Vec<u8> + Send + Sync>;

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_sample_stream_ends_the_session() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let cases: Vec<(&str, bool, Make, &str)> = vec![
        ("no opening", false, Box::new(|_| round(1, 0)), "names its lane"),
        ("two openings", true, Box::new(|_| open_lane()), "names its lane"),
        ("a lane of outcomes", false, Box::new(|_| block(&Block::Open(Lane::Outcome))), "carries no samples"),
        ("a lane of alerts", false, Box::new(|_| block(&Block::Open(Lane::Alert))), "carries no samples"),
        ("a round without a schema", true, Box::new(|_| round(1, 0)), "before any schema"),
        (
            "a round of another length",
            true,
            Box::new(|s| [schema(s, vec![series(0, 1)], false), round(2, 0)].concat()),
            "another length",
        ),
        ("a gap that ends before it begins", true, Box::new(|s| gap(s, 5, 4)), "ends before it begins"),
        ("a gap of all time", true, Box::new(|s| gap(s, 0, u64::MAX)), "past the last tick"),
        (
            "a sequence at the end of numbers",
            true,
            Box::new(|s| [schema(s, vec![series(0, 1)], false), round(1, u64::MAX)].concat()),
            "past the last",
        ),
        ("a control message", true, Box::new(|_| facts()), "unknown kind 16"),
        (
            "a name that is none",
            true,
            Box::new(|s| schema(s, vec![Series { name: "a b".to_owned(), ..series(0, 1) }], false)),
            "Prometheus",
        ),
    ];
    for (what, is_opened, make, reason) in cases {
        let session = peer.session(&fleet).await;
        let mut lane = session.connection.open_uni().await.unwrap();
        let opening = if is_opened { open_lane() } else { Vec::new() };
        lane.write_all(&[opening, make(&session)].concat()).await.unwrap();
        let (code, said) = session.end().await;
        assert_eq!(code, BROKEN, "{what}");
        assert!(said.contains(reason), "{what}: {said}");
        fleet.await_log(&["session ended", reason, &peer.node.to_string()]);
    }

    // A lane that ends inside a frame.
    let session = peer.session(&fleet).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    let whole = samples(session.instance, 1);
    lane.write_all(&whole[..whole.len() - 1]).await.unwrap();
    lane.finish().unwrap();
    assert!(session.end().await.1.contains("before the end of a frame"));
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_ten_mebibytes_is_refused_before_it_is_held() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let before = fleet.resident_kib();
    for _ in 0..5 {
        let session = peer.session(&fleet).await;
        let mut lane = session.connection.open_uni().await.unwrap();
        let mut sent = lane.write_all(&open_lane()).await;
        for part in 0..200 {
            let series = (0..25).map(|index| series(part * 25 + index, TEXT_BYTES_MAX)).collect();
            sent = sent.and(lane.write_all(&schema(&session, series, true)).await);
        }
        drop(sent);
        let (code, said) = session.end().await;
        assert_eq!(code, BROKEN);
        assert!(said.contains("schema"), "{said}");
    }
    let grown = fleet.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    fleet.assert_agents_untouched();
}

/// Numbers at their ends go through every sum that is made of them.
#[tokio::test(flavor = "multi_thread")]
async fn absurd_times_and_numbers_of_a_node_harm_nobody() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    for time in [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1] {
        let session = peer.session(&fleet).await;
        let mut lane = session.connection.open_uni().await.unwrap();
        let schema = Block::Schema(SchemaBlock {
            instance: session.instance,
            sequence: 1 << 40,
            time: Timestamp::from_millis(time),
            series: vec![series(0, 1)],
            has_more: false,
        });
        let extreme = Block::Round(RoundBlock {
            sequence_step: 1,
            time_step_ms: i64::MIN,
            absent: vec![],
            differences: vec![i64::MIN],
        });
        let bytes = [open_lane(), block(&schema), round(1, 0), block(&extreme), gap(&session, 0, 1 << 41)];
        lane.write_all(&bytes.concat()).await.unwrap();
        crate::harness::until("the samples are taken in", || {
            let runs = fleet.coverage(peer.node).runs;
            runs.iter().any(|run| run.instance == session.instance && run.received == 2).then_some(())
        });
        session.connection.close(0_u32.into(), b"");
    }
    fleet.node(peer.node);
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_facts_and_samples_makes_nobody_late() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let mut session = peer.session(&fleet).await;
    let _beat = Beat::start(&session).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    let instance = campanile_common::id::InstanceId::from_bytes(random());
    let flood = tokio::spawn(async move { lane.write_all(&samples(instance, 200_000)).await });
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(8);
    let mut number = 0_u32;
    while tokio::time::Instant::now() < end {
        number += 1;
        let facts = Facts { hostname: number.to_string(), ..Facts::default() };
        let bytes = Control::Facts(facts).to_bytes().unwrap();
        let sent = session.send.write_all(&bytes);
        if tokio::time::timeout_at(end, sent).await.is_ok_and(|sent| sent.is_err()) {
            break;
        }
    }
    flood.abort();
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_enrolment_is_refused_as_malformed() {
    let fleet = Fleet::start(2);
    let sound = enroll_request(TokenSecret(random()), "peer").0.to_bytes().unwrap();
    let no_request = {
        let (mut request, _key) = enroll_request(fleet.token(1).secret.clone(), "peer");
        request.request = random::<300>().to_vec();
        request.to_bytes().unwrap()
    };
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("garbage", random::<200>().to_vec()),
        ("a cut request", sound[..sound.len() - 1].to_vec()),
        ("a length over the limit", with_byte(sound.clone(), 7, 1)),
        ("more than a frame", vec![0xCA; 200_000]),
        ("an unknown version", with_byte(sound.clone(), 2, 9)),
        ("an unknown kind", with_byte(sound.clone(), 3, 16)),
        ("two requests", [sound.clone(), sound.clone()].concat()),
        ("no certificate request", no_request),
    ] {
        let refusal = converse(&fleet, &bytes).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Malformed, "{what}: {refusal}");
        assert!(!refusal.reason.is_empty());
    }
    fleet.await_log(&["enrolment refused", "malformed"]);
    assert_eq!(fleet.nodes().len(), 2);

    // Nor does one hold the aggregator that opens a connection and asks for nothing.
    let connection = connect(&fleet, tls(&fleet, &[ENROLL], None)).await.unwrap();
    soon("the aggregator closes", connection.closed()).await;
    fleet.assert_agents_untouched();
}
