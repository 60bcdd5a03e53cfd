//! The UDP socket, the limits of the transport, and the loop that accepts.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use campanile_daemon::watchdog::Pulse;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    ConnectionError, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig,
    VarInt,
};
use ring::hmac;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::StartHandshake;
use tokio_util::sync::CancellationToken;

use super::{ALPN_ENROLL, ALPN_LINK, ALPN_STORE, Carrier, Context, enroll, session, store, stream};

/// A peer that is silent for so long is gone; agents keep alive at a third of it.
const IDLE_TIMEOUT_MS: u32 = 2000;
/// Longest time for one handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way before a peer has to prove that it receives at its address (a QUIC Retry). 28 agents that
/// come back at once stay below; a flood from forged addresses holds no more than this.
const HANDSHAKES_UNPROVEN_MAX: usize = 64;
/// Handshakes under way, proven or not. Past it, newcomers are refused and dial again after their back-off.
const HANDSHAKES_MAX: usize = 1024;
/// Connections. A connection costs about 30 KiB.
const CONNECTIONS_MAX: usize = 60_000;
/// Connections over TCP among them. One costs about 150 KiB and a file descriptor; past it newcomers are closed and dial
/// again after their back-off.
const STREAMS_CARRIED_MAX: usize = 4096;
/// Packets of connections not yet accepted: each, and together.
const INCOMING_BYTES: u64 = 8 * 1024;
const INCOMING_BYTES_TOTAL: u64 = 4 * 1024 * 1024;
/// What an agent may send on one stream before it is read: two of the largest frames.
const STREAM_WINDOW: u32 = 128 * 1024;
/// What it may send on all streams together: each stream's own, so that orders whose output nobody has room for take
/// nothing from the samples, which are the heartbeat. Only orders and requests that we have under way make it large.
const CONNECTION_WINDOW: u32 =
    STREAM_WINDOW * (BIDIRECTIONAL_MAX as u32 + UNIDIRECTIONAL_MAX as u32 + STREAMS_OPENED_MAX);
/// What we may have sent and not acknowledged.
const SEND_WINDOW: u64 = 256 * 1024;
/// Streams an agent opens: control; live samples and late ones.
const BIDIRECTIONAL_MAX: u8 = 1;
const UNIDIRECTIONAL_MAX: u8 = 2;
/// Streams that we open to one agent: 16 orders and 8 requests.
const STREAMS_OPENED_MAX: u32 = 16 + 8;
/// Asked of the kernel: all agents share this socket, and 200 of them that send at one moment overflow the default
/// 208 KiB (one in ten packets was lost). The kernel may give less.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP {address}")]
pub struct EndpointError {
    address: SocketAddr,
    source: io::Error,
}

/// A bound socket.
#[derive(Debug)]
pub struct Endpoint(quinn::Endpoint);

impl Endpoint {
    /// Binds `address`. `reset_key` must be the same after a restart: with it agents learn at once that their
    /// sessions are gone.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(
        address: SocketAddr,
        tls: Arc<rustls::ServerConfig>,
        reset_key: &[u8; 32],
    ) -> Result<Self, EndpointError> {
        let error = |source| EndpointError { address, source };
        let socket = bind_socket(address).map_err(error)?;
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset_key)));
        // Stateless resets are cheap and each one brings an agent back sooner.
        config.min_reset_interval(Duration::from_millis(1));
        let endpoint = quinn::Endpoint::new(config, Some(server_config(tls)), socket, Arc::new(TokioRuntime))
            .map_err(error)?;
        Ok(Self(endpoint))
    }
}

fn bind_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    // Best effort: the kernel caps both at net.core.{r,w}mem_max.
    drop(socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES));
    drop(socket.set_send_buffer_size(SOCKET_BUFFER_BYTES));
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Limits of one connection.
pub(super) fn transport_config() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .max_concurrent_bidi_streams(BIDIRECTIONAL_MAX.into())
        .max_concurrent_uni_streams(UNIDIRECTIONAL_MAX.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(None);
    transport
}

fn server_config(tls: Arc<rustls::ServerConfig>) -> ServerConfig {
    let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3 with ring has QUIC's initial cipher suite");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport_config()))
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    config
}

/// Accepts connections until cancelled.
#[derive(Debug)]
pub struct ListenerTask {
    endpoint: quinn::Endpoint,
    context: Arc<Context>,
    tls: watch::Receiver<Arc<rustls::ServerConfig>>,
    streams: mpsc::Receiver<StartHandshake<TcpStream>>,
    handshakes: Arc<AtomicUsize>,
    carried: Arc<AtomicUsize>,
}

impl ListenerTask {
    /// A task that has not begun. A new TLS configuration holds for connections that come after it; `streams` are agents'
    /// connections over TCP.
    pub fn new(
        endpoint: Endpoint,
        context: Arc<Context>,
        tls: watch::Receiver<Arc<rustls::ServerConfig>>,
        streams: mpsc::Receiver<StartHandshake<TcpStream>>,
    ) -> Self {
        let endpoint = endpoint.0;
        Self { endpoint, context, tls, streams, handshakes: Arc::default(), carried: Arc::default() }
    }

    /// Accepts until cancelled; then agents are told to come back.
    pub async fn run(mut self, pulse: Pulse, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = pulse.next() => {}
                changed = self.tls.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let tls = Arc::clone(&self.tls.borrow_and_update());
                    self.endpoint.set_server_config(Some(server_config(tls)));
                }
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming, &mut connections, &stop),
                    None => break,
                },
                Some(start) = self.streams.recv() => self.admit_stream(start, &mut connections, &stop),
                Some(_) = connections.join_next() => {}
            }
        }
        self.endpoint.set_server_config(None);
        let goodbyes = async { while connections.join_next().await.is_some() {} };
        drop(tokio::time::timeout(Duration::from_secs(2), goodbyes).await);
        self.endpoint.close(0_u32.into(), b"restarting");
        drop(tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await);
    }

    fn admit(&self, incoming: Incoming, connections: &mut JoinSet<()>, stop: &CancellationToken) {
        let handshakes = self.handshakes.load(Ordering::Relaxed);
        if handshakes >= HANDSHAKES_UNPROVEN_MAX && !incoming.remote_address_validated() {
            // A peer that cannot be asked for proof is one that just gave it; it comes again.
            drop(incoming.retry());
            return;
        }
        if handshakes >= HANDSHAKES_MAX || connections.len() >= CONNECTIONS_MAX {
            incoming.refuse();
            return;
        }
        let under_way = UnderWay::begin(&self.handshakes);
        let (context, stop) = (Arc::clone(&self.context), stop.clone());
        connections.spawn(async move {
            let remote = incoming.remote_address();
            let Ok(connecting) = incoming.accept() else { return };
            let connection = match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    context.refusals.note(
                        remote,
                        &error,
                        matches!(error, ConnectionError::TransportError(_)),
                    );
                    return;
                }
                Err(_) => return,
            };
            drop(under_way);
            serve(connection, Carrier::Udp, context, stop).await;
        });
    }

    fn admit_stream(
        &self,
        start: StartHandshake<TcpStream>,
        connections: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let is_full = self.handshakes.load(Ordering::Relaxed) >= HANDSHAKES_MAX
            || self.carried.load(Ordering::Relaxed) >= STREAMS_CARRIED_MAX;
        if is_full || connections.len() >= CONNECTIONS_MAX {
            tracing::debug!("a TCP connection was closed: too many are open");
            return;
        }
        let (under_way, carried) = (UnderWay::begin(&self.handshakes), UnderWay::begin(&self.carried));
        let (context, stop, tls) = (Arc::clone(&self.context), stop.clone(), Arc::clone(&self.tls.borrow()));
        connections.spawn(async move {
            let _carried = carried;
            let Ok(remote) = start.io.peer_addr() else { return };
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, stream::accept(start, tls)).await {
                Ok(Ok(connection)) => {
                    drop(under_way);
                    serve(connection, Carrier::Tcp, context, stop).await;
                }
                Ok(Err(error)) => context.refusals.note(remote, &error, error.is_verdict()),
                Err(_) => {}
            }
        });
    }
}

/// By what it speaks.
async fn serve(
    connection: quinn::Connection,
    carrier: Carrier,
    context: Arc<Context>,
    stop: CancellationToken,
) {
    match protocol(&connection).as_deref() {
        Some(ALPN_LINK) => session::run(connection, carrier, context, stop).await,
        Some(ALPN_STORE) => store::run(connection, context, stop).await,
        Some(ALPN_ENROLL) => enroll::run(connection, &context).await,
        _ => connection.close(1_u32.into(), b"unknown protocol"),
    }
}

/// Counts until it is over, however it ends.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn protocol(connection: &quinn::Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    data.protocol
}
