//! `status`: the fleet at a glance.

use campanile_common::api::{FleetStatus, UnsupportedAgents};
use campanile_common::time::Timestamp;
use clap::Args;

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::node::score;
use crate::os::clock;
use crate::render::{self, Cell, Tone};
use crate::watch::Watch;
use crate::{duration, profile};

/// Options of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile status
  campanile status --watch
  campanile status -o json")]
pub struct Status {
    #[command(flatten)]
    watch: Watch,
}

/// Carries it out.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, arguments: &Status) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    arguments.watch.run(context, |context| print(context, &client))
}

fn print(context: &mut Context<'_>, client: &Client) -> anyhow::Result<Exit> {
    let status: FleetStatus = client.get("/api/v1/status", &[])?;
    render::object(context, &status, &status.fleet, |context| {
        Ok(render::fields(context, &rows(&status, clock::now()))?)
    })?;
    Ok(Exit::Fine)
}

fn rows(status: &FleetStatus, now: Timestamp) -> Vec<(&'static str, Cell)> {
    let tone = |bad: bool, tone| if bad { tone } else { Tone::Plain };
    let mut rows = vec![
        ("fleet", Cell::new(format!("{} ({})", status.fleet, status.fleet_id))),
        ("health", score(Some(status.overall_system_health))),
        (
            "nodes",
            Cell::new(format!(
                "{}: {} online, {} late, {} offline",
                status.nodes, status.online, status.late, status.offline
            ))
            .toned(tone(status.offline > 0, Tone::Bad)),
        ),
        (
            "judged",
            Cell::new(format!(
                "{} healthy, {} warning, {} critical",
                status.healthy, status.warning, status.critical
            ))
            .toned(tone(status.critical > 0, Tone::Bad)),
        ),
        (
            "aggregator",
            Cell::new(format!(
                "{}, up {}",
                status.aggregator_version,
                duration::short(now.since(status.started_at))
            )),
        ),
        (
            "authority",
            Cell::new(format!("version {}, until {}", status.authority_version, status.authority_expires_at)),
        ),
    ];
    if let Some(unsupported) = &status.unsupported_agents {
        rows.push(("agents", Cell::new(described(unsupported)).toned(Tone::Bad)));
    }
    rows
}

/// Which agents the aggregator does not promise to serve, and what to do.
fn described(unsupported: &UnsupportedAgents) -> String {
    let UnsupportedAgents { newer, older, first } = unsupported;
    let mut said = Vec::new();
    if *newer > 0 {
        said.push(format!("{newer} newer than the aggregator, which goes first: upgrade it"));
    }
    if *older > 0 {
        said.push(format!("{older} older than the release before the aggregator's: upgrade them"));
    }
    let more = (newer + older).saturating_sub(first.len());
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{} ({}{more})", said.join("; "), first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Environment;
    use crate::testing;
    use campanile_common::id::FleetId;

    #[test]
    fn the_fleet_fits_six_lines() {
        let status = FleetStatus {
            fleet: "acme".to_owned(),
            fleet_id: FleetId::from_bytes([1; 16]),
            aggregator_version: "0.1.0".to_owned(),
            started_at: Timestamp::from_millis(1_750_000_000_000),
            nodes: 28,
            online: 26,
            late: 1,
            offline: 1,
            healthy: 25,
            warning: 2,
            critical: 0,
            overall_system_health: 94,
            authority_version: 1,
            authority_expires_at: Timestamp::from_millis(2_065_000_000_000),
            frozen: None,
            confinement: Default::default(),
            unsupported_agents: None,
        };
        let now = Timestamp::from_millis(1_750_000_000_000 + 7_500_000);
        let printed = testing::with_context(&[], &Environment::default(), |context| {
            render::fields(context, &rows(&status, now)).unwrap();
        });
        insta::assert_snapshot!(printed, @r"
        fleet       acme (01010101010101010101010101010101)
        health      94
        nodes       28: 26 online, 1 late, 1 offline
        judged      25 healthy, 2 warning, 0 critical
        aggregator  0.1.0, up 2h
        authority   version 1, until 2035-06-09T11:06:40.000Z
        ");
    }

    #[test]
    fn agents_that_are_not_served_are_named_with_what_to_do() {
        let first = vec!["db-1 0.9.0".to_owned(), "web-1 0.1.0".to_owned()];
        let some = UnsupportedAgents { newer: 2, older: 1, first };
        assert_eq!(
            described(&some),
            "2 newer than the aggregator, which goes first: upgrade it; 1 older than the release before the \
             aggregator's: upgrade them (db-1 0.9.0, web-1 0.1.0, and 1 more)"
        );
    }
}
