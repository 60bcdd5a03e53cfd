//! The HTTPS server: TLS 1.3 on a bound port that it shares with agents, with limits on connections, handshakes and
//! headers.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::connection_limit::{ConnectionLimit, OpenConnection};
use super::door::{self, AgentDoor};
use super::{Services, Shared, layers};
use crate::os::clock::Clock;

/// Open connections; for another one the one idle for longest is closed. Each costs some tens of KiB.
const CONNECTIONS_MAX: usize = 1000;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long an HTTP/1 connection may lie idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// What HTTP/2 begins with. Until so much has come or something was answered, it is open which protocol is spoken,
/// and none of their timeouts run.
const PREFACE_BYTES: usize = 24;
/// Requests at once over one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// Longest head of a request over HTTP/2; HTTP/1's buffer has the same room.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// A peer that takes nothing, or answers no keep-alive, for so long is gone.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Protocols offered where the configuration offers none.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How long requests in hand may take once the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The listener cannot be used.
    #[error("cannot serve HTTPS on the bound port")]
    Listener(#[source] io::Error),
    /// The server broke off.
    #[error("the HTTPS server ended unexpectedly")]
    Server(#[source] io::Error),
}

/// Serves HTTPS on `listener` until `shutdown`. Certificates are replaced when `tls` changes: connections that are
/// open keep the one they began with. Connections of `agents` go to their door.
///
/// # Errors
/// When the listener cannot be used or accepting fails for good.
pub async fn serve(
    listener: TcpListener,
    mut tls: watch::Receiver<Arc<ServerConfig>>,
    services: Services,
    agents: AgentDoor,
    shutdown: CancellationToken,
) -> Result<(), HttpError> {
    listener.set_nonblocking(true).map_err(HttpError::Listener)?;
    let shared = Shared::new(services, shutdown.child_token());
    let config = RustlsConfig::from_config(with_alpn(&tls.borrow_and_update()));
    let acceptor = BoundedAcceptor {
        tls: config.clone(),
        agents,
        limit: ConnectionLimit::new(CONNECTIONS_MAX, Clock::steady()),
    };
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)
        .map_err(HttpError::Listener)?
        .acceptor(acceptor)
        .handle(handle.clone());
    set_limits(&mut server);
    let site = layers::site(Arc::clone(&shared)).into_make_service_with_connect_info::<SocketAddr>();
    let server = server.serve(site);
    tokio::pin!(server);
    let ended = loop {
        tokio::select! {
            ended = &mut server => break ended,
            Ok(()) = tls.changed() => {
                config.reload_from_config(with_alpn(&tls.borrow_and_update()));
                tracing::info!("HTTPS serves with a new certificate");
            }
            () = shutdown.cancelled() => {
                handle.graceful_shutdown(Some(GRACE));
                break server.await;
            }
        }
    };
    shared.shutdown.cancel();
    shared.streams.close();
    shared.streams.wait().await;
    ended.map_err(HttpError::Server)
}

fn with_alpn(config: &Arc<ServerConfig>) -> Arc<ServerConfig> {
    if !config.alpn_protocols.is_empty() {
        return Arc::clone(config);
    }
    let mut config = ServerConfig::clone(config);
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

fn set_limits<A>(server: &mut axum_server::Server<SocketAddr, A>) {
    let builder = server.http_builder();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(PEER_TIMEOUT);
}

/// Takes a connection while there is room or room can be made, then does the TLS handshake.
#[derive(Debug, Clone)]
struct BoundedAcceptor {
    tls: RustlsConfig,
    agents: AgentDoor,
    limit: Arc<ConnectionLimit>,
}

type Accepted<T, S> = Pin<Box<dyn Future<Output = io::Result<(Held<T>, S)>> + Send>>;

impl<S: Send + 'static> Accept<TcpStream, S> for BoundedAcceptor {
    type Stream = Held<TlsStream<TcpStream>>;
    type Service = S;
    type Future = Accepted<TlsStream<TcpStream>, S>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Some(open) = self.limit.open() else {
            tracing::warn!(limit = CONNECTIONS_MAX, "connection refused: too many are open and at work");
            return Box::pin(async { Err(io::Error::other("too many connections")) });
        };
        prepare(&stream);
        let (config, agents) = (self.tls.get_inner(), self.agents.clone());
        Box::pin(async move {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, door::enter(stream, config, &agents));
            let done = tokio::select! {
                done = handshake => done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
                () = open.closed().cancelled() => Err(made_way()),
            };
            let inner = done?;
            open.touch();
            Ok((Held::new(inner, open), service))
        })
    }
}

/// Small answers go out at once, and a peer that takes nothing is cut off by the kernel. Best effort: a connection
/// without them works.
fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    let millis = u32::try_from(PEER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, millis) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT not set");
    }
}

fn made_way() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "idle for longest when another connection came")
}

/// A connection that counts until it is dropped, and fails when it has to make way or begins too slowly.
struct Held<T> {
    inner: T,
    open: OpenConnection,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    beginning: Option<Beginning>,
}

/// The time until which the first bytes must have come, and how many have.
struct Beginning {
    deadline: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<T> Held<T> {
    fn new(inner: T, open: OpenConnection) -> Self {
        let closed = Box::pin(open.closed().clone().cancelled_owned());
        let deadline = Box::pin(tokio::time::sleep(HEADER_TIMEOUT));
        Self { inner, open, closed, beginning: Some(Beginning { deadline, bytes: 0 }) }
    }

    /// Why the connection has to end, if it has to.
    fn poll_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Err(made_way());
        }
        let is_late = |beginning: &mut Beginning| beginning.deadline.as_mut().poll(context).is_ready();
        if self.beginning.as_mut().is_some_and(is_late) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no request came"));
        }
        Ok(())
    }

    fn has_read(&mut self, bytes: usize) {
        if bytes > 0 {
            self.open.touch();
        }
        if let Some(beginning) = &mut self.beginning {
            beginning.bytes += bytes;
            if beginning.bytes >= PREFACE_BYTES {
                self.beginning = None;
            }
        }
    }

    fn has_written(&mut self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.open.touch();
            self.beginning = None;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.has_read(buffer.filled().len() - before);
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_end(context)?;
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.has_written(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_end(context)?;
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.has_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
