//! The one connection of the store: dialled when it is needed, and again when it is gone.

use std::fmt;
use std::time::Duration;

use campanile_tunnel::Dialing;
use quinn::{Connection, IdleTimeout, TransportConfig, VarInt};
use tokio::sync::Mutex;

use super::exchange::Trouble;
use crate::link::endpoint::target_with;
use crate::link::memory::Memory;
use crate::link::{LinkIdentity, LinkWays};

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
    ways: LinkWays,
    /// What the link remembers of networks; only it writes.
    memory: Memory,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    dialing: Dialing,
    connection: Option<Connection>,
    next_address: usize,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    pub(super) fn new(identity: IdentitySource, ways: LinkWays) -> Self {
        let memory = Memory::open(ways.state_dir.as_deref());
        Self { identity, ways, memory, state: Mutex::default() }
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
        let target = target_with(&identity, address, transport_config);
        let (_, hint) = self.memory.network(address).await;
        match state.dialing.dial(&target, &self.ways.ways, hint).await {
            Ok(dialed) => {
                tracing::debug!(transport = %dialed.transport, reason = dialed.reason, "store reached");
                state.connection = Some(dialed.connection.clone());
                Ok(dialed.connection)
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
        state.dialing.close(b"done", CLOSE_TIMEOUT).await;
    }
}

fn transport_config() -> TransportConfig {
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
    transport
}
