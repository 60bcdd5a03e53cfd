//! Points of the audit chain, which agents keep as witnesses.

use std::time::Duration;

use campanile_common::wire::v1::control::Control;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::audit::Audit;
use crate::node::Nodes;

/// How often a signed point of the audit chain goes to the agents.
const CHECKPOINT_STEP: Duration = Duration::from_secs(60);

/// Sends a signed point of the audit chain to every agent, which keep them as witnesses; before it, records how many
/// denials were left out of the chain since the last.
pub(super) async fn send(audit: Audit, access: Access, nodes: Nodes, stop: CancellationToken) {
    let mut step = tokio::time::interval(CHECKPOINT_STEP);
    step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = step.tick() => {
                access.audit_suppressed().await;
                match audit.checkpoint().await {
                    Ok(Some(checkpoint)) => nodes.broadcast(Control::Checkpoint(checkpoint)).await,
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "no audit checkpoint this minute"),
                }
            }
        }
    }
}
