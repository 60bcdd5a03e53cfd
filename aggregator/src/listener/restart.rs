//! How agents are sent away when the aggregator stops.

use std::time::Duration;

use campanile_common::connection::AggregatorEvent;
use campanile_common::wire::v1::control::GoodbyeReason;

use crate::os::random;

/// When the aggregator restarts, agents come back spread over this.
const RETURN_SPREAD_MS: u64 = 400;

/// The aggregator stops: agents come back in a moment, not all at once.
pub(super) fn restarting() -> AggregatorEvent {
    let spread = u64::from_le_bytes(random::bytes()) % RETURN_SPREAD_MS;
    let return_after = Duration::from_millis(100 + spread);
    AggregatorEvent::Stop { reason: GoodbyeReason::Restarting, return_after }
}
