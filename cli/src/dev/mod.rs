//! `dev`: a whole fleet of real processes in one directory, without privileges.

mod down;
mod enroll;
mod layout;
mod programs;
mod up;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Exit;

/// Most nodes of such a fleet; a machine is full of agents long before.
const NODES_MAX: u16 = 500;

/// Verbs of `dev`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start an aggregator and N agents in one directory
    #[command(after_help = "Examples:
  campanile dev up --nodes 28 --dir ./demo            until Ctrl-C, then nothing is left
  campanile dev up --nodes 3 --dir ./demo --detach    returns when all nodes are online
  . ./demo/env && campanile node ls                   talk to it")]
    Up(Up),
    /// Stop what `dev up` started there and remove what it made
    #[command(after_help = "Examples:
  campanile dev down --dir ./demo")]
    Down(Down),
}

/// What `dev up` starts.
#[derive(Debug, Args)]
pub struct Up {
    /// How many agents
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: u16,
    /// Directory for everything; must be empty or not exist
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Port of the aggregator [default: 8443, or another if that is taken]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Return when all nodes are online and leave everything running
    #[arg(long)]
    detach: bool,
    /// Where campanile-aggregator and campanile-agent are [default: beside this program, then PATH]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// What `dev down` stops.
#[derive(Debug, Args)]
pub struct Down {
    /// Directory that was given to `dev up`
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Up(arguments) => up::run(context, arguments),
        Verb::Down(arguments) => down::run(context, arguments),
    }
}
