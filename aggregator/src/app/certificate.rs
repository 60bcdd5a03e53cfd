//! The aggregator's own certificate: issued at the start, and renewed long before it ends.

use std::sync::Arc;

use campanile_common::fleet::FleetFile;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::identity::Ca;
use crate::listener;
use crate::os::clock::Clock;
use crate::settings::Settings;

/// The aggregator's own certificate is renewed when this share of its life is over.
const RENEW_SHARE: u32 = 3;

/// The certificate's two uses, renewed together.
pub(super) struct Certificates {
    pub(super) agents: watch::Sender<Arc<rustls::ServerConfig>>,
    pub(super) people: watch::Sender<Arc<rustls::ServerConfig>>,
    /// Issues them.
    pub(super) ca: Arc<Ca>,
}

/// Certifies a new key of the aggregator: for agents, and for people.
pub(super) fn issue(
    ca: &Ca,
    fleet: &FleetFile,
    settings: &Settings,
    clock: &Clock,
) -> anyhow::Result<(Arc<rustls::ServerConfig>, Arc<rustls::ServerConfig>)> {
    let (chain, key) = ca.issue_server(fleet.aggregator_id, &settings.hosts(), clock.now())?;
    let agents = listener::agent_config(ca.certificate(), chain.clone(), key.clone_key())?;
    let people = listener::people_config(chain, key)?;
    Ok((Arc::new(agents), Arc::new(people)))
}

/// Gives the aggregator a new certificate of its own long before the old one ends.
pub(super) async fn renew(
    certificates: Certificates,
    fleet: FleetFile,
    settings: Settings,
    clock: Clock,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(settings.certificate_lifetime / RENEW_SHARE) => {}
        }
        match issue(&certificates.ca, &fleet, &settings, &clock) {
            Ok((agents, people)) => {
                certificates.agents.send_replace(agents);
                certificates.people.send_replace(people);
                tracing::info!("aggregator certificate renewed");
            }
            Err(error) => tracing::error!(%error, "aggregator certificate not renewed"),
        }
    }
}
