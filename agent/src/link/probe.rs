//! One handshake and no more: whether UDP reaches the aggregator, and whether the two accept each other's certificates.

use std::time::Duration;

use campanile_tunnel::Dialing;

use super::LinkIdentity;
use super::endpoint::target;

/// Long enough for the last packet.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Shakes hands over UDP with whoever is at `address`, and leaves.
///
/// # Errors
/// Why it did not come about.
pub async fn handshake(identity: &LinkIdentity, address: &str) -> Result<(), String> {
    let mut dialing = Dialing::default();
    let dialled = dialing.quic(&target(identity, address)).await;
    let answered = dialled.map(|connection| connection.close(0_u32.into(), b"probe"));
    dialing.close(b"probe", CLOSE_TIMEOUT).await;
    answered.map_err(|error| error.to_string())
}
