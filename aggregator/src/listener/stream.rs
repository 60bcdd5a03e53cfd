//! The way in over TCP: the handshake of a connection that came to the people's port, and the QUIC connection in it.
//!
//! Both shake hands with the same certificates, and speak the same protocol: what a peer may do over UDP it may do here,
//! and nothing else. Only who enrols comes without a certificate.

use std::io;
use std::sync::Arc;

use quinn::{Connection, ConnectionError};
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;

use super::ALPN_ENROLL;
use super::endpoint::{protocol, transport_config};
use campanile_tunnel::{client, server};

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The peer went away, or does not speak TLS as we do.
    #[error("TLS over TCP failed: {0}")]
    Tls(#[from] io::Error),
    /// It did not say who it is.
    #[error("a TCP connection without a node's certificate")]
    Unknown,
    /// It said one thing outside and another inside.
    #[error("a TCP connection that speaks another protocol inside than outside")]
    Protocol,
    /// The handshake of QUIC within failed.
    #[error(transparent)]
    Served(#[from] server::ServeError),
}

impl StreamError {
    /// Our own verdict; everything else is a peer that went away.
    pub(super) fn is_verdict(&self) -> bool {
        match self {
            Self::Unknown | Self::Protocol => true,
            Self::Tls(error) => error.kind() == io::ErrorKind::InvalidData,
            Self::Served(server::ServeError::Connection(error)) => {
                matches!(error, ConnectionError::TransportError(_))
            }
            Self::Served(server::ServeError::Stream(_)) => false,
        }
    }
}

/// The connection in a stream. Waits for as long as the peer takes: the caller has a deadline.
pub(super) async fn accept(
    start: StartHandshake<TcpStream>,
    tls: Arc<rustls::ServerConfig>,
) -> Result<Connection, StreamError> {
    client::prepare(&start.io);
    let addresses = (start.io.local_addr()?, start.io.peer_addr()?);
    let stream = start.into_stream(Arc::clone(&tls)).await?;
    let (_, session) = stream.get_ref();
    let spoken = session.alpn_protocol().unwrap_or_default().to_vec();
    if session.peer_certificates().is_none() && spoken != ALPN_ENROLL {
        return Err(StreamError::Unknown);
    }
    let config = server::server_config(tls, transport_config());
    let connection = server::accept(stream, addresses, config).await?;
    if protocol(&connection).as_deref() != Some(&spoken) {
        connection.close(1_u32.into(), b"another protocol than that of the stream");
        return Err(StreamError::Protocol);
    }
    Ok(connection)
}
