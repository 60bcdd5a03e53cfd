//! The agent's link, served by an aggregator that keeps no rule: streams that say nothing, that say nonsense, that are
//! never read. None costs more than itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use campanile_agent::link::{
    self, Duties, Intake, LinkChannels, LinkCommand, LinkEvent, LinkIdentity, LinkSettings,
};
use campanile_common::authority::{Delivery, RunId, SignedOrder};
use campanile_common::fleet::aggregator_server_name;
use campanile_common::id::{AggregatorId, FleetId, InstanceId, JournalId, NodeId, OrderId};
use campanile_common::wire::frame::{self, FRAME_BYTES_MAX, FrameDecoder};
use campanile_common::wire::hello::{Opening, Welcome};
use campanile_common::wire::v1::config::ConfigOffer;
use campanile_common::wire::v1::control::Facts;
use campanile_common::wire::v1::order::{
    Deliver, DeliveryMode, JournalPosition, OUTPUT_CHUNK_BYTES_MAX, OrderReply, OrderRequest, Outcome,
    OutputChunk, OutputStream, RunResult,
};
use campanile_common::wire::v1::request::{Reply, Request};
use campanile_daemon::watchdog::Pulse;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, ReadToEndError, RecvStream, SendStream};
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::peer::{LINK, now, private, soon};

const FLEET: FleetId = FleetId::from_bytes([5; 16]);
const RUN: RunId = RunId { order: OrderId::from_bytes([6; 16]), occurrence: None };
/// Streams that an agent allows its aggregator: orders, and requests beside them.
const STREAMS: usize = 16 + 8;

/// A run that talks without end, or says all it has to at once.
struct Scripted {
    is_endless: bool,
    reported: mpsc::UnboundedSender<RunId>,
    /// Told when nobody takes a run's replies any more.
    abandoned: mpsc::UnboundedSender<()>,
}

impl Duties for Scripted {
    fn answer(
        &self,
        request: Request,
        replies: mpsc::Sender<Reply>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if request == Request::Ping {
                drop(replies.send(Reply::Pong).await);
            } else {
                replies.closed().await;
            }
        })
    }

    fn deliver(&self, _: Box<Deliver>) -> mpsc::Receiver<OrderReply> {
        let (replies, receiver) = mpsc::channel(4);
        let (is_endless, abandoned) = (self.is_endless, self.abandoned.clone());
        tokio::spawn(async move {
            let position = JournalPosition { journal: JournalId::from_bytes([1; 8]), sequence: 1 };
            let mut sent = replies.send(OrderReply::Received(position)).await;
            let mut offset = 0;
            while is_endless && sent.is_ok() {
                let bytes = vec![b'x'; OUTPUT_CHUNK_BYTES_MAX];
                let chunk = OutputChunk { offset, stream: OutputStream::Stdout, bytes };
                offset += OUTPUT_CHUNK_BYTES_MAX as u64;
                sent = replies.send(OrderReply::Output(chunk)).await;
            }
            if sent.is_ok() {
                drop(replies.send(OrderReply::Outcome(outcome())).await);
            } else {
                let _gone = abandoned.send(());
            }
        });
        receiver
    }

    fn offer(&self, _: ConfigOffer) -> Intake {
        let (_, answers) = mpsc::channel(1);
        let (pieces, _) = mpsc::channel(1);
        Intake { answers, pieces }
    }

    fn reported(&self, run: RunId) {
        let _gone = self.reported.send(run);
    }
}

fn outcome() -> Outcome {
    Outcome {
        run: RUN,
        result: RunResult::Exited { code: 0 },
        started: None,
        finished: now(),
        output_bytes: 0,
        output_kept: 0,
        journal: None,
        audit: None,
    }
}

fn deliver() -> Vec<u8> {
    let order = SignedOrder { bytes: vec![1, 2, 3], signatures: Vec::new() };
    let delivery = Delivery { order, proof: None, occurrence: None };
    OrderRequest::Deliver(Deliver { delivery, mode: DeliveryMode::Start, journal: None }).to_bytes().unwrap()
}

/// An agent's link with its session to us.
struct Served {
    connection: Connection,
    reported: mpsc::UnboundedReceiver<RunId>,
    abandoned: mpsc::UnboundedReceiver<()>,
    stop: CancellationToken,
    _control: (SendStream, RecvStream),
    _agent: (watch::Sender<LinkIdentity>, mpsc::Receiver<LinkEvent>, mpsc::Sender<LinkCommand>),
}

impl Served {
    async fn start(is_endless: bool) -> Self {
        let (endpoint, roots) = aggregator();
        let address = endpoint.local_addr().unwrap();
        let (report, reported) = mpsc::unbounded_channel();
        let (abandon, abandoned) = mpsc::unbounded_channel();
        let duties = Arc::new(Scripted { is_endless, reported: report, abandoned: abandon });
        let (identity, receiver) = watch::channel(identity(address, roots));
        let (event_sender, events) = mpsc::channel(64);
        let (command_sender, commands) = mpsc::channel(4);
        let channels = LinkChannels {
            identity: receiver,
            events: event_sender,
            commands,
            duties,
            pulse: Pulse::default(),
        };
        let settings = LinkSettings {
            instance: InstanceId::from_bytes([1; 8]),
            interval: Duration::from_secs(1),
            facts: Facts::default(),
            ways: link::LinkWays::default(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(link::run(settings, channels, stop.clone()));
        let incoming = soon("a connection", endpoint.accept()).await.unwrap();
        let connection = soon("a handshake", incoming.accept().unwrap()).await.unwrap();
        let (mut send, mut receive) = soon("a control stream", connection.accept_bi()).await.unwrap();
        let chunk = soon("a hello", receive.read_chunk(FRAME_BYTES_MAX, true)).await.unwrap().unwrap();
        let hello = {
            let mut decoder = FrameDecoder::default();
            decoder.push(&chunk.bytes);
            Opening::from_frame(&decoder.next().unwrap().unwrap()).unwrap()
        };
        let Opening::Hello(hello) = hello else { panic!("a session begins with a hello") };
        assert!(hello.capabilities.contains(&"orders".to_owned()));
        let welcome = Opening::Welcome(Welcome {
            aggregator: AggregatorId::from_bytes([1; 8]),
            version: 1,
            capabilities: hello.capabilities,
            interval_ms: 1000,
            durable: None,
            authority_version: 1,
            clock: now(),
        });
        send.write_all(&welcome.to_bytes().unwrap()).await.unwrap();
        let agent = (identity, events, command_sender);
        Self { connection, reported, abandoned, stop, _control: (send, receive), _agent: agent }
    }

    async fn open(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, receive) = soon("room for a stream", self.connection.open_bi()).await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, receive)
    }

    /// The session stands and answers.
    async fn answers(&self) {
        let (mut send, mut receive) = self.open(&Request::Ping.to_bytes().unwrap()).await;
        send.finish().unwrap();
        let bytes = soon("a pong", receive.read_to_end(FRAME_BYTES_MAX)).await.unwrap();
        let mut decoder = FrameDecoder::default();
        decoder.push(&bytes);
        assert_eq!(Reply::from_frame(&decoder.next().unwrap().unwrap()).unwrap(), Reply::Pong);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn aggregator() -> (quinn::Endpoint, RootCertStore) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![aggregator_server_name(FLEET)]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private(&key))
        .unwrap();
    tls.alpn_protocols = vec![LINK.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    (quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap(), roots)
}

fn identity(address: SocketAddr, roots: RootCertStore) -> LinkIdentity {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![LINK.to_vec()];
    LinkIdentity {
        fleet: FLEET,
        node: NodeId::from_bytes([2; 8]),
        addresses: vec![address.to_string()],
        tls: Arc::new(tls),
        authority_version: 1,
    }
}

fn is_reset<T>(read: Result<T, ReadToEndError>) -> bool {
    matches!(read, Err(ReadToEndError::Read(quinn::ReadError::Reset(_))))
}

#[tokio::test]
async fn an_outcome_counts_as_reported_only_when_it_is_acknowledged() {
    let mut served = Served::start(false).await;
    let answers = [Vec::new(), b"nonsense, longer than a header".to_vec(), deliver()];
    for answer in answers {
        let (mut send, mut receive) = served.open(&deliver()).await;
        send.write_all(&answer).await.unwrap();
        send.finish().unwrap();
        let bytes = soon("the outcome", receive.read_to_end(FRAME_BYTES_MAX)).await.unwrap();
        let mut decoder = FrameDecoder::default();
        decoder.push(&bytes);
        let said: Vec<OrderReply> = std::iter::from_fn(|| decoder.next().unwrap())
            .map(|frame| OrderReply::from_frame(&frame).unwrap())
            .collect();
        assert!(matches!(&said[..], [OrderReply::Received(_), OrderReply::Outcome(_)]), "{said:?}");
        assert!(served.reported.try_recv().is_err(), "not acknowledged: {answer:?}");
    }
    let (mut send, mut receive) = served.open(&deliver()).await;
    send.write_all(&OrderRequest::Acknowledged.to_bytes().unwrap()).await.unwrap();
    soon("the end", receive.read_to_end(FRAME_BYTES_MAX)).await.unwrap();
    assert_eq!(soon("the report", served.reported.recv()).await, Some(RUN));
    served.answers().await;
}

#[tokio::test]
async fn nonsense_costs_its_own_stream() {
    let served = Served::start(false).await;
    let mut cut = deliver();
    cut.truncate(cut.len() - 1);
    for nonsense in [
        b"nonsense, longer than a header".to_vec(),
        frame::encode(1, 200, b"?").unwrap(),
        frame::encode(9, 64, b"?").unwrap(),
        frame::encode(1, 64, b"?").unwrap(),
        frame::encode(1, 48, &[0xff; 40]).unwrap(),
        OrderRequest::Acknowledged.to_bytes().unwrap(),
        cut,
    ] {
        let (mut send, mut receive) = served.open(&nonsense).await;
        drop(send.finish());
        let read = soon("an end", receive.read_to_end(FRAME_BYTES_MAX)).await;
        assert!(is_reset(read), "{nonsense:?}");
        served.answers().await;
    }
}

#[tokio::test]
async fn streams_that_say_nothing_are_given_up_and_make_room() {
    let served = Served::start(false).await;
    let mut silent = Vec::new();
    for _ in 0..STREAMS {
        silent.push(served.open(&deliver()[..1]).await);
    }
    // All places are taken, until the agent has lost its patience and we have let go of ours.
    for (_, mut receive) in silent {
        assert!(is_reset(soon("an end", receive.read_to_end(FRAME_BYTES_MAX)).await));
    }
    served.answers().await;
}

#[tokio::test]
async fn output_that_is_never_read_holds_up_nothing_else_and_stopping_it_frees_the_run() {
    let mut served = Served::start(true).await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(served.open(&deliver()).await);
    }
    served.answers().await;
    assert!(served.abandoned.try_recv().is_err(), "a slow reader is waited for");
    for (_, receive) in &mut streams {
        receive.stop(0_u32.into()).unwrap();
    }
    for _ in 0..16 {
        soon("the run is let go", served.abandoned.recv()).await.unwrap();
    }
    served.answers().await;
}

#[tokio::test]
async fn a_journal_that_is_silent_ends_when_it_is_stopped() {
    let served = Served::start(false).await;
    let request =
        Request::Journal { unit: "a.service".to_owned(), since_s: None, lines: 1, is_followed: true };
    for _ in 0..STREAMS * 2 {
        let (mut send, mut receive) = served.open(&request.to_bytes().unwrap()).await;
        send.finish().unwrap();
        receive.stop(0_u32.into()).unwrap();
    }
    served.answers().await;
}
