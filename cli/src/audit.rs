//! `audit`: reading the audit log, and checking its chain without trusting the aggregator to do so.

use std::time::Duration;

use campanile_common::api::{AuditEntry, AuditOutcome, AuditVerification, Page};
use campanile_common::time::Timestamp;
use clap::{Args, Subcommand};

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::os::clock;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::watch::Watch;
use crate::{duration, profile};

/// Verbs of `audit`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the newest entries, oldest first
    #[command(after_help = "Examples:
  campanile audit ls
  campanile audit ls --since 7d --actor person:ada
  campanile audit ls --action node.retire -o json")]
    Ls(Ls),
    /// Read the whole log and check its chain here
    #[command(after_help = "Examples:
  campanile audit verify
  campanile audit verify -o json

Every entry is downloaded and its hash computed on this machine. Exit code 1 when an entry was altered, is missing or
out of place; the first bad one is named.")]
    Verify,
}

/// Which entries.
#[derive(Debug, Args)]
pub struct Ls {
    /// Only of this actor: person:NAME, token:ID, node:ID, local, aggregator
    #[arg(long)]
    actor: Option<String>,
    /// Only of this action, e.g. node.retire
    #[arg(long)]
    action: Option<String>,
    /// Only of so long, e.g. 7d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    watch: Watch,
}

const COLUMNS: [Column<AuditEntry>; 8] = [
    column("SEQUENCE", |entry, _| Cell::new(entry.sequence)),
    column("TIME", |entry, _| Cell::new(entry.time)),
    column("ACTOR", |entry, _| Cell::new(&entry.actor)),
    column("ACTION", |entry, _| Cell::new(&entry.action)),
    column("OUTCOME", |entry, _| outcome(entry.outcome)),
    column("TARGET", |entry, _| Cell::new(&entry.target)),
    wide("HASH", |entry, _| Cell::new(entry.hash)),
    wide("DETAIL", |entry, _| Cell::new(&entry.detail)),
];

fn outcome(outcome: AuditOutcome) -> Cell {
    match outcome {
        AuditOutcome::Ok => Cell::new("ok").toned(Tone::Good),
        AuditOutcome::Denied => Cell::new("denied").toned(Tone::Warning),
        AuditOutcome::Failed => Cell::new("failed").toned(Tone::Bad),
    }
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    match verb {
        Verb::Ls(arguments) => arguments.watch.run(context, |context| {
            let entries = list(&client, arguments, clock::now())?;
            render::list(context, &entries, &COLUMNS, |entry| entry.sequence.to_string())?;
            Ok(Exit::Fine)
        }),
        Verb::Verify => verify(context, &client),
    }
}

fn list(client: &Client, arguments: &Ls, now: Timestamp) -> anyhow::Result<Vec<AuditEntry>> {
    let limit = arguments.limit.to_string();
    let since = arguments.since.map(|since| (now - since).to_string());
    let mut query = vec![("newest", "true"), ("limit", limit.as_str())];
    let optional = [("actor", &arguments.actor), ("action", &arguments.action), ("since", &since)];
    query.extend(optional.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))));
    let page: Page<AuditEntry> = client.get("/api/v1/audit", &query)?;
    Ok(page.items)
}

fn verify(context: &mut Context<'_>, client: &Client) -> anyhow::Result<Exit> {
    let found: AuditVerification = client.get("/api/v1/audit/verify", &[])?;
    render::object(context, &found, if found.intact { "intact" } else { "broken" }, |context| {
        Ok(writeln!(context.out, "{}", sentence(&found))?)
    })?;
    Ok(if found.intact { Exit::Fine } else { Exit::Failed })
}

fn sentence(found: &AuditVerification) -> String {
    match &found.problem {
        None => format!("intact: {} entries", found.entries),
        Some(problem) => format!("broken: {problem} (the {} entries before are intact)", found.entries),
    }
}
