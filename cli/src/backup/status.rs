//! `backup status`: whether nodes have the snapshots they should have.

use campanile_common::api::{BackupState, NodeBackup};
use campanile_common::time::Timestamp;
use campanile_common::unit::ByteCount;
use clap::Args;

use super::state::{self, PolicyRow};
use super::{fetch, policy};
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;
use crate::profile;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::watch::Watch;

/// Options of `backup status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup status
  campanile backup status -l role=db --policies
  campanile backup status web-01 -o json

Exit codes, as monitoring plug-ins have them: 0 fresh, 1 late, 2 critical, 3 unknown; the worst node decides. A policy
that is new and has no snapshot yet waits, which counts as 0. What counts is when the aggregator received a snapshot.")]
pub struct Status {
    /// Names or ids; all nodes without
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    selector: Selection,
    /// A line for each policy
    #[arg(long)]
    policies: bool,
    #[command(flatten)]
    watch: Watch,
}

const COLUMNS: [Column<NodeBackup>; 12] = [
    column("NODE", |node, _| Cell::new(&node.name)),
    column("STATE", |node, _| state::cell(node.state)),
    column("LATE", |node, _| late(node)),
    column("NEWEST", |node, now| Cell::age(node.newest, now)),
    column("SIZE", |node, _| Cell::new(ByteCount(node.bytes))),
    column("QUOTA", |node, _| quota(node)),
    column("VERIFIED", verified),
    column("HELD", |node, _| alarming(node.held, Tone::Warning)),
    column("DAMAGED", |node, _| alarming(node.damaged, Tone::Bad)),
    wide("SNAPSHOTS", |node, _| Cell::new(node.snapshots)),
    wide("TRASH", |node, _| Cell::new(ByteCount(node.trash_bytes))),
    column("WHY", |node, _| Cell::new(node.reasons.join("; "))),
];

/// How many policies are late, of how many.
fn late(node: &NodeBackup) -> Cell {
    let late = node.policies.iter().filter(|policy| state::is_late(policy)).count();
    match node.policies.len() {
        0 => Cell::new(""),
        count => Cell::new(format!("{late}/{count}")).toned(if late > 0 { Tone::Bad } else { Tone::Plain }),
    }
}

fn quota(node: &NodeBackup) -> Cell {
    if node.quota_bytes == 0 {
        return Cell::new("");
    }
    let percent = percent(node.bytes.saturating_add(node.trash_bytes), node.quota_bytes);
    let tone = if percent >= 90 { Tone::Warning } else { Tone::Plain };
    Cell::new(format!("{percent}% of {}", ByteCount(node.quota_bytes))).toned(tone)
}

/// When everything had been read back, or how far the first reading is.
pub(super) fn verified(node: &NodeBackup, now: Timestamp) -> Cell {
    match node.verified {
        None if node.bytes == 0 => Cell::new(""),
        None => Cell::new(format!("{}%", percent(node.verified_bytes, node.bytes))),
        at => Cell::age(at, now),
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

fn alarming(count: u64, tone: Tone) -> Cell {
    Cell::new(count).toned(if count > 0 { tone } else { Tone::Plain })
}

/// Carries it out. A failure is a verdict too: unknown.
///
/// # Errors
/// When the verdict cannot be printed.
pub(super) fn run(context: &mut Context<'_>, arguments: &Status) -> anyhow::Result<Exit> {
    let done = profile::client(context).and_then(|client| {
        arguments.watch.run(context, |context| {
            let nodes = fetch::nodes(&client, arguments.selector.selector.as_ref(), &arguments.nodes)?;
            print(context, &nodes, arguments.policies)?;
            Ok(state::exit(nodes.iter().map(|node| node.state)))
        })
    });
    match done {
        Err(error) if !Exit::is_closed_pipe(&error) => {
            context.hint(&format!("campanile: backups unknown: {error:#}"))?;
            Ok(state::exit([BackupState::Unknown].into_iter()))
        }
        other => other,
    }
}

fn print(context: &mut Context<'_>, nodes: &[NodeBackup], by_policy: bool) -> anyhow::Result<()> {
    if by_policy {
        let rows: Vec<PolicyRow> = nodes.iter().flat_map(policy::rows).collect();
        policy::print(context, &rows)?;
    } else {
        render::list(context, nodes, &COLUMNS, |node| node.name.clone())?;
    }
    context.hint(&account(nodes))?;
    Ok(())
}

/// `28 nodes: 26 fresh, 1 late, 1 critical`.
fn account(nodes: &[NodeBackup]) -> String {
    let of = |state: BackupState| {
        let count = nodes.iter().filter(|node| node.state == state).count();
        (count > 0).then(|| format!("{count} {}", state.as_str()))
    };
    let states = [
        BackupState::Fresh,
        BackupState::Waiting,
        BackupState::Unknown,
        BackupState::Late,
        BackupState::Critical,
    ];
    let counts: Vec<String> = states.into_iter().filter_map(of).collect();
    match nodes.len() {
        0 => "no node".to_owned(),
        1 => format!("1 node: {}", counts.join(", ")),
        count => format!("{count} nodes: {}", counts.join(", ")),
    }
}
