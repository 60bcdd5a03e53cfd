//! `backup policy`: what nodes should save, and how each policy stands.

use campanile_common::api::NodeBackup;
use clap::Subcommand;

use super::fetch;
use super::state::{self, PolicyRow};
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;
use crate::profile;
use crate::render::{self, Cell, Column, column, wide};

/// Verbs of `backup policy`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the policies of nodes
    #[command(after_help = "Examples:
  campanile backup policy ls
  campanile backup policy ls web-01 -o wide
  campanile config explain web-01 backup:etc      which layer said what

Policies are part of the configuration: [backup.NAME] in a bundle.")]
    Ls {
        /// Names or ids; all nodes without
        #[arg(value_name = "NODE")]
        nodes: Vec<String>,
        /// Which nodes.
        #[command(flatten)]
        selector: Selection,
    },
}

const COLUMNS: [Column<PolicyRow>; 8] = [
    column("NODE", |row, _| Cell::new(&row.node)),
    column("POLICY", |row, _| Cell::new(&row.policy.policy)),
    column("STATE", |row, _| state::cell(row.policy.state)),
    column("NEWEST", |row, now| Cell::age(row.policy.newest, now)),
    column("MAX AGE", |row, _| Cell::new(max_age(row))),
    column("SNAPSHOTS", |row, _| Cell::new(row.policy.snapshots)),
    column("SCHEDULE", |row, _| Cell::new(&row.policy.schedule)),
    wide("TARGET", |row, _| Cell::new(&row.policy.target)),
];

fn max_age(row: &PolicyRow) -> String {
    super::slo::precise(std::time::Duration::from_secs(row.policy.max_age_seconds))
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub(super) fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls { nodes, selector } => {
            let client = profile::client(context)?;
            let nodes = fetch::nodes(&client, selector.selector.as_ref(), nodes)?;
            let rows: Vec<PolicyRow> = nodes.iter().flat_map(rows).collect();
            print(context, &rows)?;
            Ok(Exit::Fine)
        }
    }
}

/// The policies of a node, each beside its name.
pub(super) fn rows(node: &NodeBackup) -> Vec<PolicyRow> {
    let row = |policy: &_| PolicyRow { node: node.name.clone(), policy: Clone::clone(policy) };
    node.policies.iter().map(row).collect()
}

/// Prints policies.
///
/// # Errors
/// When they cannot be printed.
pub(super) fn print(context: &mut Context<'_>, rows: &[PolicyRow]) -> anyhow::Result<()> {
    render::list(context, rows, &COLUMNS, |row| format!("{}/{}", row.node, row.policy.policy))
}
