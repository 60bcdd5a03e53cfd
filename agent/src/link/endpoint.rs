//! The agent's QUIC endpoint and its limits, which are far below the library's defaults.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::fleet::aggregator_server_name;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, IdleTimeout, TransportConfig, VarInt};

use super::LinkIdentity;

/// Longest time for one handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sent when nothing else was for so long; below half the idle timeout.
const KEEP_ALIVE: Duration = Duration::from_millis(700);
/// A peer that is silent for so long is gone.
const IDLE_TIMEOUT_MS: u32 = 2000;
/// Streams the aggregator may have open: 16 orders, and 8 requests beside them, so that a node with all its orders
/// under way still answers a ping.
const STREAMS_MAX: u8 = 16 + 8;
/// What the aggregator may send on one stream before it is read: two of the largest frames.
const STREAM_WINDOW: u32 = 128 * 1024;
/// What it may send on all streams together.
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// What we may have sent and not acknowledged.
const SEND_WINDOW: u64 = 256 * 1024;

/// No socket could be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a UDP socket for {family}")]
pub struct EndpointError {
    family: &'static str,
    source: io::Error,
}

/// An endpoint that only dials, of the family of `remote`.
///
/// # Errors
/// When no socket can be had.
pub fn bind(remote: SocketAddr) -> Result<Endpoint, EndpointError> {
    let (local, family) = if remote.is_ipv4() { ("0.0.0.0:0", "IPv4") } else { ("[::]:0", "IPv6") };
    let local = local.parse().expect("a constant address parses");
    Endpoint::client(local).map_err(|source| EndpointError { family, source })
}

pub(super) fn client_config(tls: &rustls::ClientConfig) -> ClientConfig {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(0_u8.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        // Larger packets gain nothing for messages of a few hundred bytes and cost probes.
        .mtu_discovery_config(None);
    with_transport(tls, transport)
}

/// What one side of a connection demands of the other: who it is, and these limits.
pub(super) fn with_transport(tls: &rustls::ClientConfig, transport: TransportConfig) -> ClientConfig {
    let crypto =
        QuicClientConfig::try_from(tls.clone()).expect("TLS 1.3 with ring has QUIC's initial cipher suite");
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config
}

/// Dials from one endpoint, which is made when it is needed and kept while the family of addresses stays.
#[derive(Debug, Default)]
pub(super) struct Dialing {
    endpoint: Option<(Endpoint, bool)>,
}

impl Dialing {
    /// One handshake with whoever is at `address`.
    pub(super) async fn dial(
        &mut self,
        identity: &LinkIdentity,
        address: &str,
        config: ClientConfig,
    ) -> Result<Connection, String> {
        let remote: SocketAddr = tokio::net::lookup_host(address)
            .await
            .map_err(|error| format!("cannot resolve: {error}"))?
            .next()
            .ok_or("the name has no address")?;
        let is_reusable = self.endpoint.as_ref().is_some_and(|(_, is_ipv4)| *is_ipv4 == remote.is_ipv4());
        if !is_reusable {
            self.endpoint = Some((bind(remote).map_err(|error| error.to_string())?, remote.is_ipv4()));
        }
        let (endpoint, _) = self.endpoint.as_ref().expect("just made");
        let connecting = endpoint
            .connect_with(config, remote, &aggregator_server_name(identity.fleet))
            .map_err(|error| error.to_string())?;
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no handshake in {} s", CONNECT_TIMEOUT.as_secs())),
        }
    }

    /// The next one is from a new port.
    pub(super) fn forget(&mut self) {
        self.endpoint = None;
    }

    /// Says goodbye, and waits for `patience` at most until it is on its way.
    pub(super) async fn close(&mut self, reason: &[u8], patience: Duration) {
        if let Some((endpoint, _)) = self.endpoint.take() {
            endpoint.close(0_u32.into(), reason);
            drop(tokio::time::timeout(patience, endpoint.wait_idle()).await);
        }
    }
}
