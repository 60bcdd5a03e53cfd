//! Takes connections that come in a stream.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, ConnectionError, ServerConfig, TransportConfig};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::carry::{Carried, for_stream};

/// Bytes of a connection that is not accepted yet; its first packets.
const INCOMING_BYTES: u64 = 16 * 1024;

/// A stream that brought no connection.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It ended, or cannot be used.
    #[error("the stream ended: {0}")]
    Stream(String),
    /// The handshake failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// How connections are taken: with these certificates, under these limits.
#[must_use]
pub fn server_config(tls: Arc<rustls::ServerConfig>, transport: TransportConfig) -> ServerConfig {
    let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3 with ring has QUIC's initial cipher suite");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(for_stream(transport)))
        .migration(false)
        .max_incoming(1)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES);
    config
}

/// The one connection that comes in `stream`. Waits for as long as the peer takes: the caller has a deadline.
///
/// # Errors
/// When the stream ends before, or the handshake fails.
pub async fn accept<S>(
    stream: S,
    addresses: (SocketAddr, SocketAddr),
    config: ServerConfig,
) -> Result<Connection, ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ended = ServeError::Stream;
    let mut carried = Carried::open(stream, addresses, Some(config)).map_err(|e| ended(e.to_string()))?;
    let endpoint = carried.endpoint.clone();
    let accepting = async {
        let incoming = endpoint.accept().await.ok_or_else(|| ended("nothing came".to_owned()))?;
        // One connection a stream: another is neither answered nor kept.
        endpoint.set_server_config(None);
        Ok::<_, ServeError>(incoming.accept()?.await?)
    };
    let connection = carried.during(accepting).await.map_err(ended)??;
    drop(endpoint);
    Ok(carried.keep(connection))
}
