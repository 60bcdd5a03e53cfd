//! Commands that work on the spot: whoever may write the state folder needs no password.

use std::time::Duration;

use campanile_common::api::{AccessRole, Grant};

use super::Stored;
use crate::settings::Settings;

/// Makes and prints an API token.
pub(super) async fn api_token(
    settings: &Settings,
    name: &str,
    role: AccessRole,
    ttl: Duration,
) -> anyhow::Result<()> {
    let stored = Stored::beside(settings).await?;
    let grants = vec![Grant { role, selector: String::new() }];
    let created = stored.access.issue_local_api_token(name, grants, ttl).await?;
    println!("{}", created.token);
    Ok(())
}

/// Makes and prints a one-time sign-in link.
pub(super) async fn signin_link(settings: &Settings, person: &str) -> anyhow::Result<()> {
    let stored = Stored::beside(settings).await?;
    let created = stored.access.issue_local_link(person).await?;
    println!("{}", link_url(settings, &created.link));
    Ok(())
}

/// The whole address of a one-time link.
pub(super) fn link_url(settings: &Settings, link: &str) -> String {
    let address = settings.addresses.first().map_or("localhost:8443", String::as_str);
    format!("https://{address}{link}")
}
