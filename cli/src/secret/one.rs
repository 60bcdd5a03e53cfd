//! The key to which something is sealed for one node.

use anyhow::bail;
use campanile_common::api::Node;
use campanile_common::id::FleetId;

use super::pins::{Pins, Recipient};
use crate::client::Client;
use crate::config::node_configs;
use crate::context::Context;

/// The sealing key of a node as it reported it, pinned when it is first seen.
///
/// # Errors
/// When it reported none, or another than before and that is not accepted.
pub(crate) fn recipient(
    context: &Context<'_>,
    client: &Client,
    fleet: FleetId,
    node: &Node,
    accepts_new: bool,
) -> anyhow::Result<String> {
    let reported = node_configs(client, None)?.into_iter().find(|known| known.node == node.node_id);
    let Some(key) = reported.and_then(|known| known.sealing_key) else {
        bail!(
            "no sealing key is known of {}: it has not reported one yet; is its steward running, and does its policy allow \
             class `config`?",
            node.name
        );
    };
    let recipient = Recipient { node: node.node_id, name: node.name.clone(), key };
    let mut pins = Pins::load(context)?;
    pins.take(fleet, std::slice::from_ref(&recipient), accepts_new)?;
    pins.store(context)?;
    Ok(recipient.key)
}
