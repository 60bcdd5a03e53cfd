//! `logs`: the journal of a unit on a node, of the units that its policy shows.

use std::time::Duration;

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::{duration, node, order, profile, svc};

/// Options of `logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile logs web-01 -u nginx
  campanile logs web-01 -u nginx --since 1h -n 1000
  campanile logs web-01 -u nginx -f            until Ctrl-C

Needs no key; a node shows the journals of the units that its policy lists under units.observe.")]
pub struct Logs {
    /// Name or id
    node: String,
    /// Name of the unit; `nginx` means `nginx.service`
    #[arg(short, long)]
    unit: String,
    /// Only lines of so long, e.g. 1h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// At most so many lines from before now, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    lines: u32,
    /// Go on with new lines
    #[arg(short, long)]
    follow: bool,
}

/// Carries it out.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, arguments: &Logs) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let (unit, lines) = (svc::unit_name(&arguments.unit)?, arguments.lines.to_string());
    let since = arguments.since.map(|since| since.as_secs().to_string());
    let mut query = vec![("unit", unit.as_str()), ("lines", lines.as_str())];
    if let Some(since) = &since {
        query.push(("sinceS", since));
    }
    if arguments.follow {
        query.push(("follow", "true"));
    }
    let path = format!("{}/journal", node::path(&arguments.node));
    let mut body = client
        .stream(&path, &query, "text/plain")
        .map_err(|error| node::unknown(&client, &arguments.node, error))?;
    order::copy(context, &mut body)?;
    Ok(Exit::Fine)
}
