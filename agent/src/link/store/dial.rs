//! The one connection of the store: dialled when it is needed, and again when it is gone.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::fleet::aggregator_server_name;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, IdleTimeout, TransportConfig, VarInt};
use tokio::sync::Mutex;

use super::exchange::Trouble;
use crate::link::{LinkIdentity, endpoint};

/// Longest time for one handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Sent when nothing else was for so long; below half the idle timeout.
const KEEP_ALIVE: Duration = Duration::from_millis(700);
/// A store that is silent for so long is gone. Longer than the link's: this process competes for the disk.
const IDLE_TIMEOUT_MS: u32 = 10_000;
/// What the store may send on one stream before it is read.
const STREAM_WINDOW: u32 = 1 << 20;
/// What it may send on all streams together.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// What we may have sent and not acknowledged.
const SEND_WINDOW: u64 = 2 << 20;
/// How long a goodbye may take to arrive.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Says who dials, and whom; asked before each dial.
pub type IdentitySource = Box<dyn Fn() -> Result<LinkIdentity, String> + Send + Sync>;

/// Holds the connection.
pub(super) struct Dialer {
    identity: IdentitySource,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    endpoint: Option<(Endpoint, bool)>,
    connection: Option<Connection>,
    next_address: usize,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    pub(super) fn new(identity: IdentitySource) -> Self {
        Self { identity, state: Mutex::default() }
    }

    /// The connection, dialled anew when it is gone. Who comes while another dials waits for it.
    pub(super) async fn connection(&self) -> Result<Connection, Trouble> {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|it| it.close_reason().is_none()) {
            return Ok(connection.clone());
        }
        let identity = (self.identity)().map_err(Trouble::Refused)?;
        let count = identity.addresses.len().max(1);
        let Some(address) = identity.addresses.get(state.next_address % count) else {
            return Err(Trouble::Refused("this node knows no aggregator".to_owned()));
        };
        match dial(&mut state.endpoint, &identity, address).await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(reason) => {
                state.next_address += 1;
                Err(Trouble::Passing(format!("{address}: {reason}")))
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(&self) {
        let mut state = self.state.lock().await;
        state.connection = None;
        if let Some((endpoint, _)) = state.endpoint.take() {
            endpoint.close(0_u32.into(), b"done");
            drop(tokio::time::timeout(CLOSE_TIMEOUT, endpoint.wait_idle()).await);
        }
    }
}

async fn dial(
    endpoint: &mut Option<(Endpoint, bool)>,
    identity: &LinkIdentity,
    address: &str,
) -> Result<Connection, String> {
    let remote: SocketAddr = tokio::net::lookup_host(address)
        .await
        .map_err(|error| format!("cannot resolve: {error}"))?
        .next()
        .ok_or("the name has no address")?;
    let is_reusable = endpoint.as_ref().is_some_and(|(_, is_ipv4)| *is_ipv4 == remote.is_ipv4());
    if !is_reusable {
        *endpoint = Some((endpoint::bind(remote).map_err(|error| error.to_string())?, remote.is_ipv4()));
    }
    let (endpoint, _) = endpoint.as_ref().expect("just made");
    let connecting = endpoint
        .connect_with(client_config(&identity.tls), remote, &aggregator_server_name(identity.fleet))
        .map_err(|error| error.to_string())?;
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no handshake in {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

fn client_config(tls: &rustls::ClientConfig) -> ClientConfig {
    let crypto =
        QuicClientConfig::try_from(tls.clone()).expect("TLS 1.3 with ring has QUIC's initial cipher suite");
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .max_concurrent_bidi_streams(0_u8.into())
        .max_concurrent_uni_streams(0_u8.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config
}
