//! Every message of the wire with fixed content, and every decoder behind one name.

use campanile_common::authority::{Document, Operator, OperatorKey, PublicKey, Role, SignedAuthority};
use campanile_common::id::{AggregatorId, Digest, FleetId, InstanceId, NodeId};
use campanile_common::sample::{Gap, GapReason, Position, Sample, Scale, Series, SeriesKind};
use campanile_common::time::Timestamp;
use campanile_common::token::TokenSecret;
use campanile_common::wire::codec::{self, CodecError};
use campanile_common::wire::frame::Frame;
use campanile_common::wire::hello::{Hello, Opening, Refusal, RefusalCode, Welcome};
use campanile_common::wire::v1::config::{ConfigDown, ConfigUp};
use campanile_common::wire::v1::control::{
    Ack, Checkpoint, Control, Facts, GoodbyeReason, Lane, TransportReport,
};
use campanile_common::wire::v1::enroll::{Enroll, Enrolled};
use campanile_common::wire::v1::order::{OrderReply, OrderRequest};
use campanile_common::wire::v1::request::{Process, Reply, Request};
use campanile_common::wire::v1::sample::{Block, RoundBlock, SampleEncoder, SchemaBlock};
use campanile_common::wire::v1::store::{StoreReply, StoreRequest};

use crate::{configs, orders, proofs, stores};

/// Any message, by the decoder that reads it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    Opening(Opening),
    Control(Control),
    Enroll(Enroll),
    Enrolled(Enrolled),
    Request(Request),
    Reply(Reply),
    Block(Block),
    OrderRequest(OrderRequest),
    OrderReply(OrderReply),
    ConfigDown(ConfigDown),
    ConfigUp(ConfigUp),
    StoreRequest(StoreRequest),
    StoreReply(StoreReply),
}

impl Message {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Opening(message) => message.to_bytes(),
            Self::Control(message) => message.to_bytes(),
            Self::Enroll(message) => message.to_bytes(),
            Self::Enrolled(message) => message.to_bytes(),
            Self::Request(message) => message.to_bytes(),
            Self::Reply(message) => message.to_bytes(),
            Self::Block(message) => message.to_bytes(),
            Self::OrderRequest(message) => message.to_bytes(),
            Self::OrderReply(message) => message.to_bytes(),
            Self::ConfigDown(message) => message.to_bytes(),
            Self::ConfigUp(message) => message.to_bytes(),
            Self::StoreRequest(message) => message.to_bytes(),
            Self::StoreReply(message) => message.to_bytes(),
        }
    }

    /// What each decoder makes of a frame; several may take it only if kinds overlap, which is a mistake.
    pub(crate) fn all_from_frame(frame: &Frame) -> Vec<Self> {
        [
            Opening::from_frame(frame).ok().map(Self::Opening),
            Control::from_frame(frame).ok().map(Self::Control),
            Enroll::from_frame(frame).ok().map(Self::Enroll),
            Enrolled::from_frame(frame).ok().map(Self::Enrolled),
            Request::from_frame(frame).ok().map(Self::Request),
            Reply::from_frame(frame).ok().map(Self::Reply),
            Block::from_frame(frame).ok().map(Self::Block),
            OrderRequest::from_frame(frame).ok().map(Self::OrderRequest),
            OrderReply::from_frame(frame).ok().map(Self::OrderReply),
            ConfigDown::from_frame(frame).ok().map(Self::ConfigDown),
            ConfigUp::from_frame(frame).ok().map(Self::ConfigUp),
            StoreRequest::from_frame(frame).ok().map(Self::StoreRequest),
            StoreReply::from_frame(frame).ok().map(Self::StoreReply),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

pub(crate) const FLEET: FleetId = FleetId::from_bytes([0xF1; 16]);
pub(crate) const NODE: NodeId = NodeId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
const INSTANCE: InstanceId = InstanceId::from_bytes([0x11; 8]);
pub(crate) const TIME: Timestamp = Timestamp::from_millis(1_777_803_240_123);

/// The seed of an operator's key that signs nothing but these samples.
pub(crate) const SEED: [u8; 32] = [0x5E; 32];

/// The authority as it was recorded in format 1, which nothing writes any more and everything still reads.
pub(crate) fn authority() -> SignedAuthority {
    codec::decode("SignedAuthority", include_bytes!("../../compat/v1/authority-file.bin"))
        .expect("was recorded")
}

/// Version 1 of an authority with one operator and one recovery key. Ed25519 signatures are a function of key and
/// content.
pub(crate) fn authority_now() -> SignedAuthority {
    let key = OperatorKey::from_seed(SEED.into()).expect("any 32 bytes are a seed");
    let operator = Operator { name: "ada".to_owned(), key: key.public(), roles: Role::ALL.into() };
    let expires = Timestamp::from_millis(TIME.as_millis() + 63_072_000_000);
    let mut document = Document::first(FLEET, "golden".to_owned(), operator, TIME, expires);
    document.recovery.push(PublicKey([0x4E; 32]));
    document.sign(&[&key]).expect("is consistent")
}

pub(crate) fn token() -> campanile_common::token::Token {
    campanile_common::token::Token {
        fleet: FLEET,
        secret: TokenSecret([0x7A; 32]),
        addresses: vec!["aggregator.example:8443".to_owned(), "[2001:db8::1]:8443".to_owned()],
        ca_key: Digest::from_bytes([0xCA; 32]),
        authority: authority().digest(),
    }
}

fn facts() -> Facts {
    Facts {
        hostname: "web-1".to_owned(),
        os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        kernel: "6.1.0-28-amd64".to_owned(),
        architecture: "x86_64".to_owned(),
        cpus: 8,
        memory_bytes: 16 << 30,
        booted: Timestamp::from_millis(1_777_000_000_000),
    }
}

fn series() -> Vec<Series> {
    let series = |name: &str, labels: &[(&str, &str)], kind, scale| Series {
        name: name.to_owned(),
        labels: labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        kind,
        scale,
    };
    vec![
        series("node_load1", &[], SeriesKind::Gauge, Scale::Over(100)),
        series(
            "node_cpu_seconds_total",
            &[("cpu", "0"), ("mode", "idle")],
            SeriesKind::Counter,
            Scale::Over(100),
        ),
        series("node_memory_MemTotal_bytes", &[], SeriesKind::Gauge, Scale::Times(1024)),
    ]
}

/// Samples that use every way the encoder has: a schema, differences both ways, absent readings, a skipped tick,
/// a clock set back, a new schema.
pub(crate) fn samples() -> Vec<Sample> {
    let schema = std::sync::Arc::new(series());
    let shorter = std::sync::Arc::new(series()[..1].to_vec());
    let sample = |schema: &std::sync::Arc<Vec<Series>>, sequence, millis, readings: &[Option<i64>]| Sample {
        position: Position { instance: INSTANCE, sequence },
        time: Timestamp::from_millis(millis),
        schema: std::sync::Arc::clone(schema),
        readings: readings.to_vec(),
    };
    let start = TIME.as_millis();
    vec![
        sample(&schema, 0, start, &[Some(25), Some(i64::MAX), Some(16_384_000)]),
        sample(&schema, 1, start + 1000, &[Some(-3), Some(i64::MIN), None]),
        sample(&schema, 3, start - 3_600_000, &[None, Some(0), Some(16_384_000)]),
        sample(&shorter, 4, start + 4000, &[Some(1)]),
    ]
}

/// The samples as one stream holds them.
pub(crate) fn sample_stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = SampleEncoder::default();
    for sample in samples() {
        encoder.encode(&sample, &mut bytes).expect("a short schema fits a frame");
    }
    bytes
}

/// All messages, grouped by the file that records them.
pub(crate) fn all() -> Vec<(&'static str, Vec<Message>)> {
    let mut all = openings();
    all.extend(controls());
    all.extend(others());
    all
}

fn openings() -> Vec<(&'static str, Vec<Message>)> {
    let hello = Hello {
        fleet: FLEET,
        node: NODE,
        instance: INSTANCE,
        version_min: 1,
        version_max: 1,
        capabilities: vec!["top".to_owned()],
        agent_version: "0.1.0".to_owned(),
        authority_version: 1,
        interval_ms: 1000,
        clock: TIME,
    };
    let welcome = |durable| Welcome {
        aggregator: AggregatorId::from_bytes([0xA6; 8]),
        version: 1,
        capabilities: vec!["top".to_owned()],
        interval_ms: 1000,
        durable,
        authority_version: 2,
        clock: TIME,
    };
    let codes = [
        RefusalCode::Version,
        RefusalCode::ForeignFleet,
        RefusalCode::NotInRoster,
        RefusalCode::IdentityInUse,
        RefusalCode::CertificateExpired,
        RefusalCode::TokenInvalid,
        RefusalCode::NameTaken,
        RefusalCode::Malformed,
        RefusalCode::Busy,
        RefusalCode::Unavailable,
    ];
    let refusals = codes.map(|code| Refusal { code, reason: "ask your operator".to_owned() });
    vec![
        ("hello", vec![Message::Opening(Opening::Hello(hello))]),
        (
            "welcome",
            [None, Some(0), Some(u64::MAX)].map(|d| Message::Opening(Opening::Welcome(welcome(d)))).into(),
        ),
        ("refusal", refusals.map(|refusal| Message::Opening(Opening::Refusal(refusal))).into()),
    ]
}

fn controls() -> Vec<(&'static str, Vec<Message>)> {
    let lanes = [Lane::Control, Lane::Outcome, Lane::Alert, Lane::Backfill];
    let acks = lanes.map(|lane| Control::Ack(Ack { lane, instance: INSTANCE, sequence: 86_400 }));
    let checkpoint =
        Checkpoint { sequence: 7, hash: Digest::from_bytes([3; 32]), time: TIME, signature: vec![4; 64] };
    let goodbyes = [
        GoodbyeReason::Stopping,
        GoodbyeReason::Rebooting,
        GoodbyeReason::Restarting,
        GoodbyeReason::Retired,
        GoodbyeReason::Superseded,
        GoodbyeReason::Protocol,
        GoodbyeReason::Renewed,
    ]
    .map(|reason| Control::Goodbye { reason, return_after_ms: 1500 });
    [
        ("facts", vec![Control::Facts(facts()), Control::Facts(Facts::default())]),
        ("ack", acks.into()),
        ("renew", vec![Control::Renew(vec![0x30, 0x03, 1, 2, 3])]),
        ("renewed", vec![Control::Renewed { certificate: vec![0x30, 0x02, 9, 9], not_after: TIME }]),
        ("authority", vec![Control::Authority(authority())]),
        ("catalogue", vec![Control::Catalogue(orders::catalogue())]),
        (
            "config-report",
            configs::reports().into_iter().map(|report| Control::Config(Box::new(report))).collect(),
        ),
        (
            "proof-report",
            proofs::reports().into_iter().map(|report| Control::Proof(Box::new(report))).collect(),
        ),
        (
            "transport",
            vec![
                Control::Transport(TransportReport::default()),
                Control::Transport(TransportReport {
                    is_proxied: true,
                    reason: "no QUIC handshake within 0.3 s at 10:02 UTC; next try 10:03 UTC".to_owned(),
                }),
            ],
        ),
        ("checkpoint", vec![Control::Checkpoint(checkpoint)]),
        ("goodbye", goodbyes.into()),
    ]
    .into_iter()
    .map(|(name, messages)| (name, messages.into_iter().map(Message::Control).collect()))
    .collect()
}

fn others() -> Vec<(&'static str, Vec<Message>)> {
    let enroll = Enroll {
        secret: TokenSecret([0x7A; 32]),
        request: vec![0x30, 0x01, 5],
        name: "web-1".to_owned(),
        facts: facts(),
    };
    let enrolled = Enrolled {
        node: NODE,
        name: "web-1".to_owned(),
        certificate: vec![0x30, 0x01, 6],
        ca: vec![0x30, 0x01, 7],
        not_after: TIME,
        authority: vec![authority()],
    };
    let process = Process {
        pid: 4242,
        name: "postgres".to_owned(),
        uid: 105,
        state: 'S',
        cpu_centipercent: 12_345,
        resident_bytes: 512 << 20,
        started: TIME,
    };
    let gaps = [GapReason::Evicted, GapReason::SpoolFailed, GapReason::Stalled, GapReason::Damaged]
        .map(|reason| Block::Gap(Gap { instance: INSTANCE, first: 10, last: 300, reason }));
    let schema =
        SchemaBlock { instance: INSTANCE, sequence: 9, time: TIME, series: series(), has_more: false };
    let round = RoundBlock {
        sequence_step: 1,
        time_step_ms: -1000,
        absent: vec![2],
        differences: vec![-1, i64::MAX, 0],
    };
    let blocks = |blocks: Vec<Block>| blocks.into_iter().map(Message::Block).collect();
    vec![
        ("enroll", vec![Message::Enroll(enroll)]),
        ("enrolled", vec![Message::Enrolled(enrolled)]),
        ("request", vec![Message::Request(Request::TopProcesses { count: 10 })]),
        ("observe", orders::observe().into_iter().map(Message::Request).collect()),
        ("observed", orders::observed().into_iter().map(Message::Reply).collect()),
        ("order-request", orders::requests().into_iter().map(Message::OrderRequest).collect()),
        ("config-down", configs::down().into_iter().map(Message::ConfigDown).collect()),
        ("store-request", stores::requests().into_iter().map(Message::StoreRequest).collect()),
        (
            "store-request-other",
            stores::requests_of_others().into_iter().map(Message::StoreRequest).collect(),
        ),
        ("store-reply", stores::replies().into_iter().map(Message::StoreReply).collect()),
        ("config-up", configs::up().into_iter().map(Message::ConfigUp).collect()),
        ("order-reply", orders::replies().into_iter().map(Message::OrderReply).collect()),
        (
            "reply",
            vec![
                Message::Reply(Reply::TopProcesses(vec![process])),
                Message::Reply(Reply::Failed("no /proc".to_owned())),
            ],
        ),
        ("open", blocks(vec![Block::Open(Lane::Control), Block::Open(Lane::Backfill)])),
        (
            "schema",
            blocks(vec![
                Block::Schema(SchemaBlock { has_more: true, ..schema.clone() }),
                Block::Schema(schema),
            ]),
        ),
        ("round", blocks(vec![Block::Round(round)])),
        ("gap", blocks(gaps.into())),
    ]
}
