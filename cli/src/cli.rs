//! The command line as clap reads it.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    api_token, approve, audit, backup, catalogue, config, conn, dev, fleet, freeze, health, key, log_level,
    login, logs, node, operator, order, people, ping, ps, reference, restore, routine, run, schedule, secret,
    status, svc, token, top,
};

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
    arg_required_else_help = true,
    after_help = "Exit codes: 0 fine, 1 failed, 2 usage, 3 some targets failed, 4 some targets silent, 5 denied, 6 accepted \
but waiting, 7 rolled back, 8 frozen, 10 changes pending, 130 interrupted; when several apply 7, 3, 4, 5, 6, 10; `health` and `backup status` have those of monitoring plug-ins.

Environment: CAMPANILE_URL, CAMPANILE_CA and CAMPANILE_TOKEN say which fleet to speak to and as whom, \
CAMPANILE_PROFILE which profile, CAMPANILE_CONFIG_DIR where profiles and the operator's key are, \
CAMPANILE_PASSPHRASE_FILE where the key's passphrase is, NO_COLOR that no \
colours are wanted."
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
    /// The fleet at a glance
    Status(status::Status),
    /// Score, lost points, and an exit code for monitoring
    Health(health::Health),
    /// Run a command on many nodes
    Run(run::Run),
    /// Run a command of the signed catalogue, without a key
    Routine(routine::Routine),
    /// Whether nodes are backed up; have them save, verify and try it
    #[command(subcommand)]
    Backup(backup::Verb),
    /// Restore files of a node's snapshot
    Restore(restore::Restore),
    /// Look at units and act on them
    #[command(subcommand)]
    Svc(svc::Verb),
    /// What was ordered and what became of it
    #[command(subcommand)]
    Order(order::Verb),
    /// What waits for further operators' signatures
    #[command(subcommand)]
    Approve(approve::Verb),
    /// Orders that come again and again
    #[command(subcommand)]
    Schedule(schedule::Verb),
    /// What may be ordered without a key
    #[command(subcommand)]
    Catalogue(catalogue::Verb),
    /// What nodes should be: plan, apply, compare, roll back
    #[command(subcommand)]
    Config(config::Verb),
    /// Values that only their nodes can read
    #[command(subcommand)]
    Secret(secret::Verb),
    /// Refuse every change until `unfreeze`
    Freeze(freeze::Options),
    /// End the freeze
    Unfreeze(freeze::Unfreeze),
    /// Processes of a node
    Ps(ps::Ps),
    /// Journal of a unit on a node
    Logs(logs::Logs),
    /// Round trip to each agent
    Ping(ping::Ping),
    /// List, show, rename, label and retire nodes
    #[command(subcommand)]
    Node(node::Verb),
    /// Heaviest processes of a node
    Top(top::Top),
    /// Sessions of agents
    #[command(subcommand)]
    Conn(conn::Verb),
    /// Enrolment tokens
    #[command(subcommand)]
    Token(token::Verb),
    /// Who did what
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Who may sign in, and what they may do
    #[command(subcommand)]
    People(people::Verb),
    /// Tokens for programs
    #[command(subcommand)]
    ApiToken(api_token::Verb),
    /// Level of the aggregator's log, while it runs
    LogLevel(log_level::Level),
    /// Sign in to a fleet and keep it as a profile
    Login(login::Login),
    /// Revoke and forget the profile's token
    Logout,
    /// The operator's own key on this machine
    #[command(subcommand)]
    Key(key::Verb),
    /// Who may order
    #[command(subcommand)]
    Operator(operator::Verb),
    /// Make a fleet
    #[command(subcommand)]
    Fleet(fleet::Verb),
    /// A whole fleet in one directory, to try things out
    #[command(subcommand)]
    Dev(dev::Verb),
    /// Print a completion script for a shell
    Completion(reference::Completion),
    /// Write manual pages
    Man(reference::Man),
    /// Print the version
    Version,
}

#[cfg(test)]
mod tests;
