//! The limits of the agent's connection, which are far below the library's defaults, whatever carries it.

use std::time::Duration;

use campanile_common::fleet::aggregator_server_name;
use campanile_tunnel::Target;
use quinn::{IdleTimeout, TransportConfig, VarInt};

use super::LinkIdentity;

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

fn transport_config() -> TransportConfig {
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
    transport
}

/// The aggregator at `address`, for the link.
pub(super) fn target(identity: &LinkIdentity, address: &str) -> Target {
    target_with(identity, address, transport_config)
}

/// The aggregator at `address`, under the limits given.
pub(super) fn target_with(
    identity: &LinkIdentity,
    address: &str,
    transport: fn() -> TransportConfig,
) -> Target {
    Target {
        address: address.to_owned(),
        server_name: aggregator_server_name(identity.fleet),
        tls: std::sync::Arc::clone(&identity.tls),
        transport,
    }
}
