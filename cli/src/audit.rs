//! `audit`: reading the audit log, and checking its chain without trusting the aggregator to do so.

mod compare;
mod witness;

use std::time::Duration;

use campanile_common::api::{AuditEntry, AuditOutcome, AuditVerification, Page};
use campanile_common::audit::{ChainVerifier, Head};
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
  campanile audit verify --with-nodes
  campanile audit verify --with-nodes --orders 1000 -o json

Every entry is downloaded and its hash computed on this machine. With --with-nodes every connected node is asked for
the signed checkpoints that it keeps, each of which must be on the chain, and for its own audit chain, which must be
whole, go through the point that came with its last outcome, and tell of every order that the aggregator says it ended.

Exit code 1 when anything is altered, missing or out of place: the exact entry is named. 4 when nothing is wrong but
some nodes could not be asked.")]
    Verify(Verify),
}

/// How far `audit verify` goes.
#[derive(Debug, Args)]
pub struct Verify {
    /// Also compare with what the nodes keep
    #[arg(long)]
    with_nodes: bool,
    /// Compare the newest so many orders with the chains of their nodes
    #[arg(long, value_name = "N", default_value_t = 200, requires = "with_nodes", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    orders: u16,
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
        Verb::Verify(arguments) if arguments.with_nodes => {
            witness::verify(context, &client, arguments.orders)
        }
        Verb::Verify(_) => verify(context, &client),
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
    // What the aggregator takes for the newest entry before we begin: the log may grow meanwhile, never shrink.
    let newest: Page<AuditEntry> = client.get("/api/v1/audit", &[("newest", "true"), ("limit", "1")])?;
    let (found, last) = check(&witness(&newest.items), |push| {
        client.each_page("/api/v1/audit", &[], |entries: Vec<AuditEntry>| push(&entries))
    })?;
    render::object(context, &found, if found.intact { "intact" } else { "broken" }, |context| {
        Ok(writeln!(context.out, "{}", sentence(&found, last))?)
    })?;
    Ok(if found.intact { Exit::Fine } else { Exit::Failed })
}

/// The last entry as a point that the chain must go through.
fn witness(entries: &[AuditEntry]) -> Vec<Head> {
    entries.last().map(|entry| Head { sequence: entry.sequence, hash: entry.hash }).into_iter().collect()
}

/// Checks the entries that `read` pushes, which is told whether to go on; gives the last good one too.
fn check<E, R>(
    witnesses: &[Head],
    read: impl FnOnce(&mut dyn FnMut(&[AuditEntry]) -> bool) -> Result<R, E>,
) -> Result<(AuditVerification, Head), E> {
    let mut verifier = ChainVerifier::new(Head::START, witnesses);
    let mut result = Ok(());
    read(&mut |entries| {
        result = entries.iter().try_for_each(|entry| verifier.push(entry));
        result.is_ok()
    })?;
    let found = verifier.report(result.and_then(|()| verifier.finish()));
    Ok((found, verifier.last()))
}

fn sentence(found: &AuditVerification, last: Head) -> String {
    match &found.problem {
        None => format!("intact: {} entries, the newest has hash {}", found.entries, last.hash),
        Some(problem) => {
            format!("broken: {problem} (the {} entries before are intact)", found.entries)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::audit::{CHAIN_START, entry_hash};
    use campanile_common::id::Digest;

    fn chain(length: u64) -> Vec<AuditEntry> {
        let mut entries: Vec<AuditEntry> = Vec::new();
        for sequence in 1..=length {
            let mut entry = AuditEntry {
                sequence,
                previous: entries.last().map_or(CHAIN_START, |entry| entry.hash),
                time: Timestamp::from_millis(sequence),
                actor: "person:ada".to_owned(),
                action: "node.rename".to_owned(),
                target: format!("node/{sequence}"),
                outcome: AuditOutcome::Ok,
                detail: String::new(),
                hash: Digest::from_bytes([0; 32]),
            };
            entry.hash = entry_hash(&entry);
            entries.push(entry);
        }
        entries
    }

    #[test]
    fn an_intact_log_names_its_newest_hash() {
        let entries = chain(4);
        let (found, last) =
            check(&witness(&entries), |push| Ok::<_, ()>(entries.chunks(3).all(push))).unwrap();
        assert!(found.intact);
        assert_eq!(
            sentence(&found, last),
            format!("intact: 4 entries, the newest has hash {}", entries[3].hash)
        );
    }

    #[test]
    fn an_altered_entry_ends_the_download_and_is_named() {
        let mut entries = chain(9);
        entries[4].actor = "person:eve".to_owned();
        let mut pages = 0;
        let (found, _) = check(&witness(&entries), |push| {
            Ok::<_, ()>(entries.chunks(3).all(|page| {
                pages += 1;
                push(page)
            }))
        })
        .unwrap();
        assert_eq!((found.intact, found.bad_sequence, pages), (false, Some(5), 2));
    }

    #[test]
    fn a_log_that_ends_before_its_newest_entry_is_broken() {
        let entries = chain(4);
        let (found, _) = check(&witness(&entries), |push| Ok::<_, ()>(push(&entries[..3]))).unwrap();
        assert_eq!((found.intact, found.bad_sequence), (false, Some(4)));
    }
}
