//! `ps`: the processes of a node, as many as one answer holds.

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::top::{self, Top};
use crate::watch::Watch;

/// Processes in one answer, at most.
const PROCESSES_MAX: u16 = 100;

/// Options of `ps`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile ps web-01
  campanile ps web-01 -o json

The 100 that use most, heaviest first; arguments of processes stay on the node.")]
pub struct Ps {
    /// Name or id
    node: String,
    #[command(flatten)]
    watch: Watch,
}

/// Carries it out.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, arguments: &Ps) -> anyhow::Result<Exit> {
    top::run(context, &Top::new(&arguments.node, PROCESSES_MAX, arguments.watch))
}
