//! `backup`: what is saved of nodes, whether it is fresh, and having nodes save, verify and try it.
//!
//! What the aggregator's store knows is read from its API. What only a node can do, because it has the key of its
//! repository, is an order; see [`work`].

mod cat;
pub mod fetch;
mod files;
mod floor;
pub mod foreign;
mod gaps;
mod hold;
mod key;
mod list;
pub mod moment;
mod policy;
pub mod report;
mod show;
mod slo;
mod state;
mod status;
mod undelete;
pub mod work;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;
use crate::watch::Watch;

pub use files::WhichPolicy;

/// Verbs of `backup`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Whether nodes have the snapshots they should have; exit code for monitoring
    Status(status::Status),
    /// List snapshots of a node, oldest first
    Ls(list::Ls),
    /// Show the backups of one node: policies, what waits for a person, what is damaged
    #[command(after_help = "Examples:
  campanile backup show web-01
  campanile backup show web-01 -o json")]
    Show {
        /// Name or id
        node: String,
        /// How often it is drawn.
        #[command(flatten)]
        watch: Watch,
    },
    /// Have nodes save what their policies say, now
    Run(work::Run),
    /// Have nodes read back, decrypt and compare what they saved
    Check(work::Check),
    /// Have nodes restore their newest snapshot on trial
    Drill(work::Drill),
    /// List the files of a snapshot
    Files(files::Files),
    /// What differs between two snapshots of a node
    Diff(files::Diff),
    /// Print one file of a snapshot, which nobody on the way can read
    Cat(cat::Cat),
    /// What is promised for each policy, and what was kept
    Slo(slo::Slo),
    /// What nodes should save
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Deletions that wait for a person
    #[command(subcommand)]
    Hold(hold::Verb),
    /// Bring back what was let go
    Undelete(undelete::Undelete),
    /// How old snapshots must be before anything of them goes
    #[command(args_conflicts_with_subcommands = true)]
    Floor {
        /// What is done; it is shown without a word.
        #[command(subcommand)]
        verb: Option<floor::Verb>,
    },
    /// Ways into a repository without its node
    #[command(subcommand)]
    Key(key::Verb),
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Status(arguments) => status::run(context, arguments),
        Verb::Ls(arguments) => list::run(context, arguments),
        Verb::Show { node, watch } => show::run(context, node, *watch),
        Verb::Run(arguments) => work::run(context, arguments),
        Verb::Check(arguments) => work::check(context, arguments),
        Verb::Drill(arguments) => work::drill(context, arguments),
        Verb::Files(arguments) => files::files(context, arguments),
        Verb::Diff(arguments) => files::diff(context, arguments),
        Verb::Cat(arguments) => cat::run(context, arguments),
        Verb::Slo(arguments) => slo::run(context, arguments),
        Verb::Policy(verb) => policy::run(context, verb),
        Verb::Hold(verb) => hold::run(context, verb),
        Verb::Undelete(arguments) => undelete::run(context, arguments),
        Verb::Floor { verb } => floor::run(context, verb.as_ref()),
        Verb::Key(verb) => key::run(context, verb),
    }
}

#[cfg(test)]
pub(crate) mod tests;
