//! The backup process's way to its store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::identity::{Identity, tls};
use crate::link::{LinkIdentity, StoreBackend};

/// This node's backup store. The identity is read before each dial, as `run` renews it; `patience` is how long one
/// request may wait for an aggregator that is away.
///
/// # Errors
/// When the node is not enrolled, or its identity cannot be used.
pub fn store_backend(state_dir: &Path, patience: Duration) -> anyhow::Result<StoreBackend> {
    // Told now, and not as a store that cannot be reached.
    link_identity(state_dir)?;
    let state_dir: PathBuf = state_dir.to_owned();
    let identity = move || link_identity(&state_dir).map_err(|error| format!("{error:#}"));
    StoreBackend::new(Box::new(identity), patience).context("cannot use the backup store")
}

fn link_identity(state_dir: &Path) -> anyhow::Result<LinkIdentity> {
    let identity = Identity::load(state_dir)?;
    Ok(LinkIdentity {
        fleet: identity.fleet,
        node: identity.node,
        addresses: identity.addresses.clone(),
        tls: Arc::new(tls::store_config(&identity)?),
        authority_version: identity.authority()?.document().version,
    })
}
