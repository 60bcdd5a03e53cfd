//! `run`: a free command on many nodes, its output as it comes, every node accounted for.

use std::io::Read as _;

use anyhow::Context as _;
use campanile_common::authority::{Action, Command, STDIN_BYTES_MAX};
use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::node::Selection;
use crate::order::options::Options;
use crate::order::submit;
use crate::{authority, order, profile, targets};

/// Options of `run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile run -l role=web -- systemctl is-active nginx
  campanile run web-01 db-01 -- uname -r
  campanile run -l role=web --batch 25% --max-fail 1 --timeout 30s -- apt-get update
  campanile run -l env=prod --expect 28 --queue 1h --reason 'CVE-2026-1' -- /usr/local/sbin/patch
  campanile run web-01 --stdin --as postgres -- psql -f - < fix.sql

The command is started without a shell; for one, say so: -- sh -c 'ps aux | wc -l'. --timeout is the command's time
on each node (5m unless given); the aggregator is waited for as long as elsewhere. Output comes as `name | line`, of a
single node as it is; standard error goes to standard error. Ctrl-C withdraws what was not sent yet and says what
still runs.

Exit codes: 0 all ok, 3 some failed or skipped, 4 some silent, 5 some denied, 6 queued, proposed or detached,
8 frozen, 130 interrupted; when several apply: 3, 4, 5, 6.")]
pub struct Run {
    #[command(flatten)]
    selector: Selection,
    /// Names or ids
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Give the command what comes on standard input, at most 32 KiB
    #[arg(long)]
    stdin: bool,
    /// As whom it runs; without it as the steward's own user
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// Carries it out.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, arguments: &Run) -> anyhow::Result<Exit> {
    let authority = authority::load(context.environment)?;
    let client = profile::client_of_orders(context)?;
    let nodes = targets::resolve(&client, arguments.selector.selector.as_ref(), &arguments.nodes)?;
    let stdin = if arguments.stdin { read_stdin()? } else { Vec::new() };
    let command = Command { argv: arguments.command.clone(), user: arguments.user.clone(), stdin };
    let work = (order::tier(&arguments.options), Action::Run(command));
    submit::carry_out(context, &client, &authority, work, &nodes, &arguments.options)
}

fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(STDIN_BYTES_MAX)? + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes).context("cannot read standard input")?;
    if bytes.len() > STDIN_BYTES_MAX {
        let text =
            format!("standard input is longer than {STDIN_BYTES_MAX} bytes, which is what an order holds");
        return Err(UsageError(text).into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
