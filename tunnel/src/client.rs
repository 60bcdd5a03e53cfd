//! Dials a connection over one way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportConfig, TransportErrorCode};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::carry::{Carried, for_stream};
use crate::dial::DialError;
use crate::proxy::Proxy;

/// What the kernel holds of what it has not sent yet. Little, so that what is important does not wait behind it.
const NOT_SENT_BYTES: u32 = 16 * 1024;

/// Whom to dial, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// The name that the other end's certificate has.
    pub server_name: String,
    /// Certificates, pins and the one protocol.
    pub tls: Arc<rustls::ClientConfig>,
    /// Limits of the connection.
    pub transport: fn() -> TransportConfig,
}

fn client_config(tls: &rustls::ClientConfig, transport: TransportConfig) -> ClientConfig {
    let crypto =
        QuicClientConfig::try_from(tls.clone()).expect("TLS 1.3 with ring has QUIC's initial cipher suite");
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config
}

/// The first address of a name.
pub(crate) async fn resolve(address: &str) -> Result<SocketAddr, DialError> {
    let failed = |text: String| DialError::Unreachable(text);
    let mut found = tokio::net::lookup_host(address)
        .await
        .map_err(|error| failed(format!("cannot resolve {address}: {error}")))?;
    found.next().ok_or_else(|| failed(format!("{address} has no address")))
}

/// Over UDP, from `endpoint`.
pub(crate) async fn over_udp(
    endpoint: &Endpoint,
    remote: SocketAddr,
    target: &Target,
) -> Result<Connection, DialError> {
    let config = client_config(&target.tls, (target.transport)());
    let connecting = endpoint
        .connect_with(config, remote, &target.server_name)
        .map_err(|error| DialError::Unreachable(error.to_string()))?;
    connecting.await.map_err(|error| connection_error(&error))
}

/// In TLS over TCP.
pub(crate) async fn over_tcp(target: &Target, proxy: Option<&Proxy>) -> Result<Connection, DialError> {
    let unreachable = |error: io::Error| DialError::Unreachable(error.to_string());
    let mut stream = match proxy {
        Some(proxy) => {
            let through = |error| DialError::Unreachable(format!("proxy {}: {error}", proxy.address()));
            let remote = resolve(proxy.address()).await?;
            TcpStream::connect(remote).await.map_err(|error| through(error.to_string()))?
        }
        None => TcpStream::connect(resolve(&target.address).await?).await.map_err(unreachable)?,
    };
    prepare(&stream);
    let addresses = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
    let addresses = addresses.map_err(unreachable)?;
    if let Some(proxy) = proxy {
        let connected = proxy.connect(&mut stream, &target.address).await;
        connected.map_err(|error| DialError::Unreachable(format!("proxy {}: {error}", proxy.address())))?;
    }
    let name = ServerName::try_from(target.server_name.clone())
        .map_err(|error| DialError::Unreachable(error.to_string()))?;
    let connector = TlsConnector::from(Arc::clone(&target.tls));
    let stream = connector.connect(name, stream).await.map_err(|error| tls_error(&error))?;
    let mut carried = Carried::open(stream, addresses, None).map_err(unreachable)?;
    let config = client_config(&target.tls, for_stream((target.transport)()));
    let connecting = carried
        .endpoint
        .connect_with(config, addresses.1, &target.server_name)
        .map_err(|error| DialError::Unreachable(error.to_string()))?;
    let connected = carried.during(connecting).await.map_err(DialError::Unreachable)?;
    let connection = connected.map_err(|error| connection_error(&error))?;
    Ok(carried.keep(connection))
}

/// Packets go out at once, and few of them wait where nothing more important can overtake them. Best effort: a stream
/// without works.
pub fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = socket.set_tcp_notsent_lowat(NOT_SENT_BYTES) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT not set");
    }
    // A peer that takes nothing is noticed by the connection in the stream; this frees what the kernel holds for it.
    if let Err(error) = socket.set_tcp_user_timeout(Some(Duration::from_secs(30))) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT not set");
    }
}

fn connection_error(error: &ConnectionError) -> DialError {
    // rustls tells QUIC why it refused a certificate as a TLS alert: 0x100 plus 48, unknown_ca.
    let is_foreign = matches!(error, ConnectionError::TransportError(transport)
        if transport.code == TransportErrorCode::crypto(48));
    if is_foreign {
        DialError::ForeignCa(error.to_string())
    } else {
        DialError::Unreachable(error.to_string())
    }
}

fn tls_error(error: &io::Error) -> DialError {
    use rustls::{CertificateError, Error};
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            DialError::ForeignCa(error.to_string())
        }
        _ => DialError::Unreachable(format!("TLS: {error}")),
    }
}
