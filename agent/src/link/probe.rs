//! One handshake and no more: whether UDP reaches the aggregator, and whether the two accept each other's certificates.

use std::time::Duration;

use super::LinkIdentity;
use super::endpoint::{Dialing, client_config};

/// Long enough for the last packet.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Shakes hands with whoever is at `address`, and leaves.
///
/// # Errors
/// Why it did not come about.
pub async fn handshake(identity: &LinkIdentity, address: &str) -> Result<(), String> {
    let mut dialing = Dialing::default();
    let dialled = dialing.dial(identity, address, client_config(&identity.tls)).await;
    let answered = dialled.map(|connection| connection.close(0_u32.into(), b"probe"));
    dialing.close(b"probe", CLOSE_TIMEOUT).await;
    answered
}
