//! One simulated agent: enrols, keeps a session, sends a sample at its interval, comes back when it is lost.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use campanile_common::backoff::Backoff;
use campanile_common::fleet::aggregator_server_name;
use campanile_common::id::{FleetId, InstanceId, NodeId};
use campanile_common::sample::{Position, Sample, Scale, Schema, Series, SeriesKind};
use campanile_common::time::Timestamp;
use campanile_common::token::Token;
use campanile_common::wire::frame::{FRAME_BYTES_MAX, FrameDecoder};
use campanile_common::wire::hello::{Hello, Opening};
use campanile_common::wire::v1::control::{Control, Facts, GoodbyeReason, Lane};
use campanile_common::wire::v1::enroll::{Enroll, Enrolled};
use campanile_common::wire::v1::sample::{Block, SampleEncoder};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, IdleTimeout, RecvStream, SendStream, TransportConfig, VarInt};
use rcgen::{CertificateParams, KeyPair};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::{Semaphore, watch};

use crate::order;

/// As the agent does.
const KEEP_ALIVE: Duration = Duration::from_millis(700);
const IDLE_TIMEOUT_MS: u32 = 2000;
/// Values of a sample.
const VALUES: u32 = 100;
/// Longest time for one exchange.
const PATIENCE: Duration = Duration::from_secs(20);
/// Attempts at an enrolment that the aggregator is too busy for.
const ATTEMPTS_MAX: u32 = 50;

/// What all agents did together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    up: AtomicU32,
    lost: AtomicU32,
    samples: AtomicU32,
    acknowledgements: AtomicU32,
}

impl Tally {
    /// Sessions that stand.
    pub(crate) fn up(&self) -> u32 {
        self.up.load(Ordering::SeqCst)
    }

    /// Sessions that ended by themselves.
    pub(crate) fn lost(&self) -> f64 {
        self.lost.load(Ordering::SeqCst).into()
    }

    pub(crate) fn samples(&self) -> f64 {
        self.samples.load(Ordering::SeqCst).into()
    }

    pub(crate) fn acknowledgements(&self) -> f64 {
        self.acknowledgements.load(Ordering::SeqCst).into()
    }
}

/// Sockets that the agents share, and where they dial.
#[derive(Debug)]
pub(crate) struct Endpoints {
    all: Vec<Endpoint>,
    remote: SocketAddr,
    fleet: FleetId,
}

impl Endpoints {
    pub(crate) fn bind(token: &Token, count: u32) -> anyhow::Result<Self> {
        let remote = token.addresses.first().context("a token without an address")?.parse()?;
        let bind = |_| Ok(Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?);
        let all = (0..count).map(bind).collect::<anyhow::Result<_>>()?;
        Ok(Self { all, remote, fleet: token.fleet })
    }

    pub(crate) async fn close(&self) {
        for endpoint in &self.all {
            endpoint.close(0_u32.into(), b"");
            drop(tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await);
        }
    }

    async fn dial(&self, index: usize, tls: rustls::ClientConfig) -> anyhow::Result<Connection> {
        let mut transport = TransportConfig::default();
        transport
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
            .max_concurrent_uni_streams(0_u8.into())
            .datagram_receive_buffer_size(None)
            .mtu_discovery_config(None);
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        let endpoint = &self.all[index % self.all.len()];
        let name = aggregator_server_name(self.fleet);
        let connecting = endpoint.connect_with(config, self.remote, &name)?;
        Ok(tokio::time::timeout(PATIENCE, connecting).await.context("no handshake")??)
    }
}

/// Who one agent is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    node: NodeId,
    tls: rustls::ClientConfig,
}

/// Tells the names of one run from those of another.
pub(crate) fn run_name() -> anyhow::Result<String> {
    Ok(u32::from_le_bytes(random()?).to_string())
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("no random bytes"))?;
    Ok(bytes)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Waits as the agent does.
async fn back_off(backoff: &mut Backoff) -> anyhow::Result<()> {
    tokio::time::sleep(backoff.next_wait(u64::from_le_bytes(random()?))).await;
    Ok(())
}

fn builder() -> anyhow::Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?)
}

/// Enrols one agent.
pub(crate) async fn enroll(endpoints: &Endpoints, token: &Token, name: String) -> anyhow::Result<Identity> {
    let key = KeyPair::generate()?;
    let request = CertificateParams::default().serialize_request(&key)?.der().to_vec();
    let request = Enroll { secret: token.secret.clone(), request, name, facts: Facts::default() };
    let bytes = request.to_bytes()?;
    let mut backoff = Backoff::default();
    for attempt in 0..ATTEMPTS_MAX {
        // The same rules as the agent's own: the pinned CA alone.
        let tls = campanile_agent::identity::tls::enroll_config(token.fleet, token.ca_key)?;
        let exchange = async {
            let connection = endpoints.dial(usize::try_from(attempt)?, tls).await?;
            let (mut send, mut receive) = connection.open_bi().await?;
            send.write_all(&bytes).await?;
            send.finish()?;
            let answer = receive.read_to_end(FRAME_BYTES_MAX).await?;
            connection.close(0_u32.into(), b"done");
            anyhow::Ok(answer)
        };
        let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, exchange).await else {
            back_off(&mut backoff).await?;
            continue;
        };
        let mut decoder = FrameDecoder::default();
        decoder.push(&answer);
        let frame = decoder.next()?.context("half an answer")?;
        match Opening::from_frame(&frame) {
            Ok(Opening::Refusal(refusal)) if refusal.code.is_retryable() => back_off(&mut backoff).await?,
            Ok(Opening::Refusal(refusal)) => return Err(refusal.into()),
            _ => return identity(&key, Enrolled::from_frame(&frame)?),
        }
    }
    bail!("not enrolled after {ATTEMPTS_MAX} attempts")
}

fn identity(key: &KeyPair, enrolled: Enrolled) -> anyhow::Result<Identity> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(enrolled.ca))?;
    let private: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let chain = vec![CertificateDer::from(enrolled.certificate)];
    let mut tls = builder()?.with_root_certificates(roots).with_client_auth_cert(chain, private)?;
    tls.alpn_protocols = vec![campanile_agent::identity::tls::ALPN_LINK.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    Ok(Identity { node: enrolled.node, tls })
}

/// Keeps one session.
pub(crate) struct Link {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) identity: Identity,
    pub(crate) dials: Arc<Semaphore>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) interval: Duration,
    pub(crate) index: usize,
}

/// Counts a session while it stands.
struct Standing<'a>(&'a Tally);

impl<'a> Standing<'a> {
    fn new(tally: &'a Tally) -> Self {
        tally.up.fetch_add(1, Ordering::SeqCst);
        Self(tally)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.up.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Link {
    /// Runs until told to stop; every failure is followed by another attempt.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        let Ok(instance) = random().map(InstanceId::from_bytes) else { return };
        while !*stop.borrow() {
            let began = tokio::time::Instant::now();
            match self.session(instance, &mut stop).await {
                Ok(()) => return,
                Err(is_established) if is_established => backoff.session_ended(began.elapsed()),
                Err(_) => {}
            }
            if back_off(&mut backoff).await.is_err() {
                return;
            }
        }
    }

    /// One session; an error tells whether it had stood.
    async fn session(&self, instance: InstanceId, stop: &mut watch::Receiver<bool>) -> Result<(), bool> {
        let opened = async {
            let _turn = self.dials.acquire().await?;
            let connection = self.endpoints.dial(self.index, self.identity.tls.clone()).await?;
            let opened = tokio::time::timeout(PATIENCE, self.open(&connection, instance)).await;
            let (send, receive, decoder) = opened.context("no welcome")??;
            anyhow::Ok((connection, send, receive, decoder))
        };
        let (connection, send, receive, decoder) = opened.await.map_err(|_| false)?;
        let standing = Standing::new(&self.tally);
        let ended = tokio::select! {
            ended = self.send_samples(&connection, instance) => ended,
            ended = self.receive_acknowledgements(receive, decoder) => ended,
            ended = order::answer_all(&connection, now) => ended,
            () = told_to_stop(stop) => {
                goodbye(send, &connection).await;
                return Ok(());
            }
        };
        drop(standing);
        drop(ended);
        self.tally.lost.fetch_add(1, Ordering::SeqCst);
        connection.close(0_u32.into(), b"");
        Err(true)
    }

    async fn open(
        &self,
        connection: &Connection,
        instance: InstanceId,
    ) -> anyhow::Result<(SendStream, RecvStream, FrameDecoder)> {
        let hello = Hello {
            fleet: self.endpoints.fleet,
            node: self.identity.node,
            instance,
            version_min: 1,
            version_max: 1,
            capabilities: vec!["orders".to_owned()],
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            authority_version: 1,
            interval_ms: u32::try_from(self.interval.as_millis())?,
            clock: now(),
        };
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(&Opening::Hello(hello).to_bytes()?).await?;
        let mut decoder = FrameDecoder::default();
        loop {
            if let Some(frame) = decoder.next()? {
                return match Opening::from_frame(&frame)? {
                    Opening::Welcome(_) => Ok((send, receive, decoder)),
                    other => Err(anyhow!("not welcomed: {other:?}")),
                };
            }
            let chunk = receive.read_chunk(FRAME_BYTES_MAX, true).await?.context("the stream ended")?;
            decoder.push(&chunk.bytes);
        }
    }

    async fn send_samples(&self, connection: &Connection, instance: InstanceId) -> anyhow::Result<()> {
        let mut lane = connection.open_uni().await?;
        lane.write_all(&Block::Open(Lane::Control).to_bytes()?).await?;
        let (schema, mut encoder, mut bytes) = (schema(), SampleEncoder::default(), Vec::new());
        // Spread over the interval as agents are by the hash of their ids.
        let spread = u64::try_from(self.interval.as_millis())?.max(1);
        let wait = u64::from_le_bytes(random()?) % spread;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let mut tick = tokio::time::interval(self.interval);
        let began = now().as_millis();
        loop {
            tick.tick().await;
            // Ticks count time, so that the numbers rise over all sessions of one run.
            let sequence = now().as_millis() / spread;
            let reading = i64::try_from(now().as_millis() - began)?;
            let readings = (0..VALUES).map(|index| Some(reading * i64::from(index % 10))).collect();
            let position = Position { instance, sequence };
            let sample = Sample { position, time: now(), schema: Arc::clone(&schema), readings };
            bytes.clear();
            encoder.encode(&sample, &mut bytes)?;
            lane.write_all(&bytes).await?;
            self.tally.samples.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn receive_acknowledgements(
        &self,
        mut receive: RecvStream,
        mut decoder: FrameDecoder,
    ) -> anyhow::Result<()> {
        loop {
            while let Some(frame) = decoder.next()? {
                match Control::from_frame(&frame)? {
                    Control::Ack(_) => {
                        self.tally.acknowledgements.fetch_add(1, Ordering::SeqCst);
                    }
                    Control::Goodbye { reason, .. } => bail!("goodbye: {reason:?}"),
                    _ => {}
                }
            }
            let chunk = receive.read_chunk(FRAME_BYTES_MAX, true).await?.context("the stream ended")?;
            decoder.push(&chunk.bytes);
        }
    }
}

async fn goodbye(mut send: SendStream, connection: &Connection) {
    let message = Control::Goodbye { reason: GoodbyeReason::Stopping, return_after_ms: 0 };
    if let Ok(bytes) = message.to_bytes()
        && send.write_all(&bytes).await.is_ok()
        && send.finish().is_ok()
    {
        drop(tokio::time::timeout(Duration::from_secs(2), send.stopped()).await);
    }
    connection.close(0_u32.into(), b"");
}

fn schema() -> Schema {
    let series = |index: u32| Series {
        name: format!("node_swarm_{}_total", index / 10),
        labels: vec![("device".to_owned(), (index % 10).to_string())],
        kind: SeriesKind::Counter,
        scale: Scale::ONE,
    };
    Arc::new((0..VALUES).map(series).collect())
}

async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    drop(stop.wait_for(|stop| *stop).await);
}
