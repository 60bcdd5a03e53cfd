//! A peer that speaks QUIC and the wire format, and is bound by nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use campanile_common::fleet::{aggregator_server_name, node_uri};
use campanile_common::id::{FleetId, InstanceId, NodeId};
use campanile_common::sample::{Position, Sample, Scale, Schema, Series, SeriesKind};
use campanile_common::time::Timestamp;
use campanile_common::token::TokenSecret;
use campanile_common::wire::frame::{FRAME_BYTES_MAX, Frame, FrameDecoder};
use campanile_common::wire::hello::{Hello, Opening, Refusal, RefusalCode, Welcome};
use campanile_common::wire::v1::control::{Facts, Lane};
use campanile_common::wire::v1::enroll::{Enroll, Enrolled};
use campanile_common::wire::v1::sample::{Block, SampleEncoder};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ApplicationClose, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType, SigningKey,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::harness::{Fleet, PATIENCE};

pub(crate) const LINK: &[u8] = b"campanile/1";
pub(crate) const ENROLL: &[u8] = b"campanile-enroll/1";

pub(crate) type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Waits for what must happen soon.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("it took too long: {what}"))
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

/// TLS towards the aggregator of `fleet`; with or without a certificate of our own.
pub(crate) fn tls(fleet: &Fleet, alpn: &[&[u8]], own: Option<Chain>) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(fleet.ca()).unwrap();
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
    let mut config = match own {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// An endpoint with a socket of its own.
pub(crate) fn endpoint() -> Endpoint {
    Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

/// Keeps alive, and is otherwise as patient as can be.
pub(crate) fn quic(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(500)));
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    config
}

/// Dials `address` as if it were the aggregator.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    fleet: &Fleet,
    address: SocketAddr,
    config: quinn::ClientConfig,
) -> Result<Connection, ConnectionError> {
    let name = aggregator_server_name(fleet.file.fleet_id);
    soon("a handshake", endpoint.connect_with(config, address, &name).unwrap()).await
}

/// Dials the aggregator from a fresh socket.
pub(crate) async fn connect(fleet: &Fleet, tls: rustls::ClientConfig) -> Result<Connection, ConnectionError> {
    dial(&endpoint(), fleet, fleet.address, quic(tls)).await
}

/// Dials and gives how the aggregator ended it. A refused certificate shows only after our side of the handshake.
pub(crate) async fn refusal_of(fleet: &Fleet, tls: rustls::ClientConfig) -> ConnectionError {
    match connect(fleet, tls).await {
        Ok(connection) => soon("the aggregator closes", connection.closed()).await,
        Err(error) => error,
    }
}

/// Number of the TLS alert that ended a handshake.
pub(crate) fn alert(error: &ConnectionError) -> Option<u8> {
    let code = match error {
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        ConnectionError::TransportError(error) => u64::from(error.code),
        _ => return None,
    };
    // QUIC carries alerts as 0x100 plus their number.
    u8::try_from(code.checked_sub(0x100)?).ok()
}

/// Code and reason with which the aggregator closed.
pub(crate) fn closed(error: &ConnectionError) -> (u64, String) {
    let ConnectionError::ApplicationClosed(ApplicationClose { error_code, reason }) = error else {
        panic!("not closed by the aggregator: {error:?}");
    };
    (error_code.into_inner(), String::from_utf8_lossy(reason).into_owned())
}

/// A node with a key of its own, enrolled without an agent.
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) key: KeyPair,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Peer {
    /// Enrols.
    pub(crate) async fn enroll(fleet: &Fleet, name: &str) -> Self {
        let secret = fleet.token(1).secret.clone();
        let (request, key) = enroll_request(secret, name);
        let enrolled = converse(fleet, &request.to_bytes().unwrap()).await.unwrap();
        Self { node: enrolled.node, key, certificate: enrolled.certificate.into() }
    }

    /// Certificate and key as they are.
    pub(crate) fn chain(&self) -> Chain {
        (vec![self.certificate.clone()], private(&self.key))
    }

    /// Opens the connection of a session.
    pub(crate) async fn connect(&self, fleet: &Fleet) -> Connection {
        connect(fleet, tls(fleet, &[LINK], Some(self.chain()))).await.unwrap()
    }

    /// The hello of a sound agent.
    pub(crate) fn hello(&self, fleet: &Fleet) -> Hello {
        hello(fleet.file.fleet_id, self.node)
    }

    /// A session that was welcomed.
    pub(crate) async fn session(&self, fleet: &Fleet) -> Session {
        Session::open(self.connect(fleet).await, self.hello(fleet)).await.unwrap()
    }
}

pub(crate) fn hello(fleet: FleetId, node: NodeId) -> Hello {
    Hello {
        fleet,
        node,
        instance: InstanceId::from_bytes(random()),
        version_min: 1,
        version_max: 1,
        capabilities: vec!["top".to_owned(), "orders".to_owned()],
        agent_version: "0.1.0".to_owned(),
        authority_version: 1,
        interval_ms: 1000,
        clock: now(),
    }
}

pub(crate) fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

/// A sound request, and its key.
pub(crate) fn enroll_request(secret: TokenSecret, name: &str) -> (Enroll, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    (Enroll { secret, request, name: name.to_owned(), facts: Facts::default() }, key)
}

/// Sends these bytes as an enrolment and gives the answer.
pub(crate) async fn converse(fleet: &Fleet, bytes: &[u8]) -> Result<Enrolled, Refusal> {
    let connection = connect(fleet, tls(fleet, &[ENROLL], None)).await.unwrap();
    converse_on(&connection, bytes).await
}

/// The same on a connection that stands.
pub(crate) async fn converse_on(connection: &Connection, bytes: &[u8]) -> Result<Enrolled, Refusal> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    // The aggregator stops reading what is too long, and answers all the same.
    drop(send.write_all(bytes).await);
    drop(send.finish());
    let answer = soon("an answer", receive.read_to_end(FRAME_BYTES_MAX)).await.unwrap();
    connection.close(0_u32.into(), b"");
    let frame = only_frame(&answer);
    match Opening::from_frame(&frame) {
        Ok(Opening::Refusal(refusal)) => Err(refusal),
        _ => Ok(Enrolled::from_frame(&frame).unwrap()),
    }
}

fn only_frame(bytes: &[u8]) -> Frame {
    let mut decoder = FrameDecoder::default();
    decoder.push(bytes);
    decoder.next().unwrap().expect("a whole frame")
}

/// A certificate that says what the caller likes.
pub(crate) fn forge<S: SigningKey>(
    issuer: &Issuer<'_, S>,
    key: &KeyPair,
    uri: String,
    usage: ExtendedKeyUsagePurpose,
    not_after: Timestamp,
) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let at = |time: Timestamp| {
        OffsetDateTime::from_unix_timestamp(i64::try_from(time.as_secs()).unwrap()).unwrap()
    };
    params.not_before = at(not_after - Duration::from_secs(86_400));
    params.not_after = at(not_after);
    params.signed_by(key, issuer).unwrap().der().clone()
}

/// The node's own certificate as the aggregator would issue it, but with this end.
pub(crate) fn ending(fleet: &Fleet, peer: &Peer, not_after: Timestamp) -> Chain {
    let uri = node_uri(fleet.file.fleet_id, peer.node);
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    (vec![forge(&fleet.issuer(), &peer.key, uri, usage, not_after)], private(&peer.key))
}

/// The control stream of one session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
    pub(crate) instance: InstanceId,
    pub(crate) welcome: Welcome,
}

impl Session {
    /// Says hello and waits for the answer.
    pub(crate) async fn open(connection: Connection, hello: Hello) -> Result<Self, Refusal> {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let instance = hello.instance;
        send.write_all(&Opening::Hello(hello).to_bytes().unwrap()).await.unwrap();
        let mut decoder = FrameDecoder::default();
        let frame = soon("a welcome", next_frame(&mut receive, &mut decoder)).await.expect("an answer");
        match Opening::from_frame(&frame).unwrap() {
            Opening::Welcome(welcome) => Ok(Self { connection, send, receive, decoder, instance, welcome }),
            Opening::Refusal(refusal) => Err(refusal),
            Opening::Hello(_) => panic!("a hello from the aggregator"),
        }
    }

    /// The next frame on the control stream; none when it is over.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        next_frame(&mut self.receive, &mut self.decoder).await
    }

    /// How the aggregator ends the session.
    pub(crate) async fn end(&self) -> (u64, String) {
        closed(&soon("the aggregator closes", self.connection.closed()).await)
    }
}

async fn next_frame(receive: &mut RecvStream, decoder: &mut FrameDecoder) -> Option<Frame> {
    loop {
        if let Some(frame) = decoder.next().unwrap() {
            return Some(frame);
        }
        decoder.push(&receive.read_chunk(FRAME_BYTES_MAX, true).await.ok()??.bytes);
    }
}

/// The code of a refusal that must have come.
pub(crate) fn code<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> RefusalCode {
    let refusal = answer.unwrap_err();
    assert!(!refusal.reason.is_empty(), "a refusal says what to do");
    refusal.code
}

/// Series of a made-up node.
fn schema() -> Schema {
    let series = |index: usize| Series {
        name: "node_test".to_owned(),
        labels: vec![("n".to_owned(), index.to_string())],
        kind: SeriesKind::Gauge,
        scale: Scale::ONE,
    };
    Arc::new((0..10).map(series).collect())
}

/// The first frame of a stream of live samples.
pub(crate) fn open_lane() -> Vec<u8> {
    Block::Open(Lane::Control).to_bytes().unwrap()
}

/// Samples of one run, tick by tick.
pub(crate) struct Rounds {
    encoder: SampleEncoder,
    schema: Schema,
    instance: InstanceId,
    tick: u64,
}

impl Rounds {
    /// Begins with tick 0.
    pub(crate) fn new(instance: InstanceId) -> Self {
        Self { encoder: SampleEncoder::default(), schema: schema(), instance, tick: 0 }
    }

    /// The frames of the next tick.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let sample = Sample {
            position: Position { instance: self.instance, sequence: self.tick },
            time: now(),
            schema: Arc::clone(&self.schema),
            readings: vec![Some(i64::try_from(self.tick).unwrap()); self.schema.len()],
        };
        self.tick += 1;
        let mut bytes = Vec::new();
        self.encoder.encode(&sample, &mut bytes).unwrap();
        bytes
    }
}

/// A whole stream of live samples.
pub(crate) fn samples(instance: InstanceId, count: usize) -> Vec<u8> {
    let (mut bytes, mut rounds) = (open_lane(), Rounds::new(instance));
    for _ in 0..count {
        bytes.extend(rounds.next());
    }
    bytes
}

/// Signs of life of a session, until dropped.
pub(crate) struct Beat(tokio::task::JoinHandle<()>);

impl Beat {
    pub(crate) async fn start(session: &Session) -> Self {
        let mut lane = session.connection.open_uni().await.unwrap();
        let instance = session.instance;
        Self(tokio::spawn(async move {
            let mut rounds = Rounds::new(instance);
            let mut sent = lane.write_all(&open_lane()).await;
            while sent.is_ok() {
                sent = lane.write_all(&rounds.next()).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }))
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.abort();
    }
}
