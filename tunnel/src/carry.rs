//! An endpoint of one connection over one stream.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::packet::PACKET_BYTES_MAX;
use crate::socket::socket;

/// How long the last packets of a connection that has ended may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The stream under a connection ended; only this end sees it.
const CODE_STREAM_ENDED: VarInt = VarInt::from_u32(7);

/// What moves packets between stream and socket.
type Carrying = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// An endpoint, and what has to be polled for anything to move.
pub(crate) struct Carried {
    pub(crate) endpoint: Endpoint,
    carrying: Carrying,
}

impl Carried {
    /// An endpoint over `stream`, between the addresses of its two ends.
    pub(crate) fn open<S>(
        stream: S,
        (local, peer): (SocketAddr, SocketAddr),
        server: Option<ServerConfig>,
    ) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(PACKET_BYTES_MAX).expect("more than the least that QUIC allows");
        let (socket, end) = socket(local, peer);
        let endpoint = Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))?;
        Ok(Self { endpoint, carrying: Box::pin(end.carry(stream)) })
    }

    /// Carries while something comes about; none when the stream ends before.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, String> {
        tokio::select! {
            done = work => Ok(done),
            ended = &mut self.carrying => Err(match ended {
                Ok(()) => "the other end closed the connection".to_owned(),
                Err(error) => error.to_string(),
            }),
        }
    }

    /// Carries for as long as the connection lasts, which is the endpoint's only one. Ends with it, as the library's own
    /// tasks do.
    pub(crate) fn keep(self, connection: Connection) -> Connection {
        tokio::spawn(keep(self.endpoint, self.carrying));
        connection
    }
}

async fn keep(endpoint: Endpoint, mut carrying: Carrying) {
    tokio::select! {
        ended = &mut carrying => {
            let why = ended.err().map_or_else(|| "the TCP connection ended".to_owned(), |error| error.to_string());
            tracing::debug!(why, "stream of a connection ended");
            endpoint.close(CODE_STREAM_ENDED, why.as_bytes());
            return;
        }
        () = endpoint.wait_idle() => {}
    }
    // The endpoint's own task ends, and nobody can send any more: then the stream is closed.
    drop(endpoint);
    drop(tokio::time::timeout(FLUSH_TIMEOUT, carrying).await);
}

/// Adapts limits that are made for packets of a network.
pub(crate) fn for_stream(mut transport: TransportConfig) -> TransportConfig {
    transport
        .initial_mtu(PACKET_BYTES_MAX)
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false)
        .datagram_receive_buffer_size(None);
    transport
}
