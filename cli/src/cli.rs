//! The command line as clap reads it.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{dev, fleet};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// The API's own schema
    Json,
    /// The same as YAML
    Yaml,
    /// Names alone, one a line
    Name,
}

/// The operator's command line for a Campanile fleet.
#[derive(Debug, Parser)]
#[command(
    name = "campanile",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Options common to all verbs.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options common to all verbs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub struct Global {
    /// How to print results
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true, value_name = "FORMAT")]
    pub output: Output,
    /// Which fleet, of those signed in to [env: CAMPANILE_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// How long to wait for the aggregator
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = crate::duration::parse)]
    pub timeout: Duration,
    /// Do not ask before a destructive step
    #[arg(long, global = true)]
    pub yes: bool,
}

/// Nouns.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a fleet
    #[command(subcommand)]
    Fleet(fleet::Verb),
    /// A whole fleet in one directory, to try things out
    #[command(subcommand)]
    Dev(dev::Verb),
}
