//! Commands that work on the spot: whoever may write the state folder needs no password.

use std::path::Path;
use std::time::Duration;

use campanile_common::api::{AccessRole, Grant};

use super::{Stored, as_owner, doctor, init, runtime, self_backup};
use crate::cli::{Command, InitOutput};
use crate::settings::Settings;

/// Runs one of them.
pub(super) fn run(command: Command, settings: &Settings, config: Option<&Path>) -> anyhow::Result<()> {
    // What opens the store of an aggregator that may be serving, as whoever typed it.
    let works_in_state =
        matches!(command, Command::ApiToken { .. } | Command::SigninLink { .. } | Command::Doctor { .. });
    if works_in_state && let Some(code) = as_owner::rerun(&settings.state_dir)? {
        std::process::exit(code);
    }
    match command {
        Command::Serve => unreachable!("served elsewhere"),
        Command::Init(arguments) => init::run(settings, config, &arguments),
        Command::Doctor { output } => doctor::run(Ok(settings), output == InitOutput::Json),
        Command::Found => runtime()?.block_on(init::found(settings)),
        Command::ApiToken { name, role, ttl } => runtime()?.block_on(api_token(settings, &name, role, ttl)),
        Command::SigninLink { person } => runtime()?.block_on(signin_link(settings, &person)),
        Command::Backup { to } => runtime()?.block_on(self_backup::make(settings, config, to)),
        Command::Restore(restore) => runtime()?.block_on(self_backup::restore(settings, &restore)),
    }
}

/// Makes and prints an API token.
async fn api_token(settings: &Settings, name: &str, role: AccessRole, ttl: Duration) -> anyhow::Result<()> {
    let stored = Stored::beside(settings).await?;
    let grants = vec![Grant { role, selector: String::new() }];
    let created = stored.access.issue_local_api_token(name, grants, ttl).await?;
    println!("{}", created.token);
    Ok(())
}

/// Makes and prints a one-time sign-in link.
async fn signin_link(settings: &Settings, person: &str) -> anyhow::Result<()> {
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
