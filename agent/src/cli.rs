//! The agent's command line.

use std::path::PathBuf;

use campanile_backup::check::Share;
use campanile_common::authority::Class;
use campanile_common::backup::PolicyName;
use campanile_common::id::{Digest, NodeId};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

/// Campanile's agent: samples this node and holds its link to the aggregator.
#[derive(Debug, Parser)]
#[command(
    name = "campanile-agent",
    version,
    after_help = "Exit codes: 0 fine, 1 failed, 2 usage, 3 done but for some files, 5 refused by the aggregator."
)]
pub struct Cli {
    /// Settings file; drop-ins are read from the folder of the same name ending in .d
    /// [default: /etc/campanile/agent.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the agent can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sample this node and report to the aggregator until stopped
    Run,
    /// Carry out signed orders on this node until stopped; the only part that changes it
    Steward,
    /// Run one command beneath the steward; started by it alone
    #[command(hide = true)]
    Guard {
        /// What the guard of a service order runs
        #[command(subcommand)]
        work: Option<GuardWork>,
    },
    /// Give this node its identity, with a token made by `campanile token create`
    #[command(after_help = "Examples:
  campanile token create -l role=web --ttl 1h | ssh web-1 sudo campanile-agent enroll -
  sudo campanile-agent enroll --allow backup,config,command
  campanile-agent enroll /run/token --name web-1

The token comes from a file or standard input, or is asked for; never from the command line, which every user can read.
As root on an installed node it starts the services, and ends when the aggregator has seen the node.")]
    Enroll(Enroll),
    /// Write the identity that `enroll` hands over, as the user that the agent runs as; started by it alone
    #[command(hide = true)]
    KeepIdentity {
        /// Over one that is there already
        #[arg(long)]
        replace: bool,
    },
    /// Show this node's identity, whether an agent runs and whether a steward answers
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check everything this node needs to report and to take orders, and explain what it would accept
    #[command(
        after_help = "One line a check: OK, WARN or FAIL, with what to do. Exit code 1 when a check fails."
    )]
    Doctor(Doctor),
    /// Save, list, verify and restore files of this node
    #[command(after_help = "Prints one line of JSON for each thing that happens, or text at a terminal.")]
    Backup {
        /// What is done
        #[command(subcommand)]
        work: BackupWork,
    },
    /// Show whether the agent is in safe mode, where it does no more than to show that the node is there, or end that
    #[command(
        after_help = "An agent that ended abnormally 5 times within 5 minutes starts in safe mode. It tries everything again after an
hour, after twice as long when that fails, and with another version of the program."
    )]
    SafeMode {
        /// What is done
        #[command(subcommand)]
        change: SafeModeChange,
    },
    /// Change the log level of the running agent until it restarts
    LogLevel {
        /// error, warn, info, debug or trace
        level: LevelFilter,
    },
}

/// What is done about safe mode.
#[derive(Debug, Subcommand)]
pub enum SafeModeChange {
    /// Do everything again, at once where the agent runs
    Off,
    /// Say whether the agent is in safe mode, since when and why
    Status,
}

/// What a node is enrolled with.
#[derive(Debug, Args)]
pub struct Enroll {
    /// File that holds the token; - reads it from standard input, as without it; a terminal is asked
    #[arg(value_name = "TOKEN_FILE", conflicts_with = "token_file")]
    pub file: Option<PathBuf>,
    /// The same
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What this node accepts from now on, into its policy: backup, config, command, shell, rollout, update
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', value_parser = parse_class)]
    pub allow: Vec<Class>,
    /// Let --allow replace a policy that was changed by hand
    #[arg(long, requires = "allow")]
    pub replace_policy: bool,
    /// Leave the services alone
    #[arg(long)]
    pub no_start: bool,
    /// Name of the node [default: its host name]
    #[arg(long)]
    pub name: Option<String>,
    /// Replace an identity that is there already; the old node stays in the roster until it is retired
    #[arg(long)]
    pub replace: bool,
}

fn parse_class(text: &str) -> Result<Class, String> {
    Class::ALL.into_iter().find(|class| class.as_str() == text).ok_or_else(|| {
        let names: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
        format!("give some of {}", names.join(","))
    })
}

/// How the checks are shown.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The same as a format
    #[arg(short, long, default_value = "text")]
    pub output: DoctorOutput,
}

impl Doctor {
    /// True when JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.json || self.output == DoctorOutput::Json
    }
}

/// How the checks are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DoctorOutput {
    /// A line for each check
    Text,
    /// All of them, in JSON
    Json,
}

/// What is done with backups.
#[derive(Debug, Subcommand)]
pub enum BackupWork {
    /// Save what a policy says
    Run {
        /// Name of the policy, or its file
        #[arg(long)]
        policy: String,
        /// The steward started it, because it was due
        #[arg(long, hide = true)]
        scheduled: bool,
        /// Make no snapshot where nothing changed since the last one
        #[arg(long)]
        if_changed: bool,
    },
    /// Show what ran of each policy, how it ended, and when it runs next
    Runs {
        /// How it is shown
        #[arg(short, long, default_value = "text")]
        output: RunsOutput,
    },
    /// Tell of changes of policies' files; started by the steward alone
    #[command(hide = true)]
    Watch {
        /// Names of the policies
        #[arg(long)]
        policy: Vec<PolicyName>,
    },
    /// List snapshots, oldest first, or the files of one
    List {
        /// The files of this snapshot instead: `latest`, a time, or the begin of a name
        #[arg(long, value_name = "SNAPSHOT")]
        files: Option<String>,
        /// Only this file or folder, with all that is below it
        #[arg(requires = "files")]
        path: Option<PathBuf>,
        /// Which repository
        #[command(flatten)]
        of: RepositoryArgs,
    },
    /// List what differs between two snapshots
    Diff {
        /// The first: `latest`, a time, or the begin of a name
        before: String,
        /// The second, likewise
        after: String,
        /// Which repository
        #[command(flatten)]
        of: RepositoryArgs,
    },
    /// Restore files of a snapshot, all of them or those named
    #[command(group(clap::ArgGroup::new("place").required(true)))]
    Restore {
        /// `latest`, a time such as 2026-05-03T10:14:00Z (the newest snapshot at that time), or the begin of a name
        snapshot: String,
        /// Absolute paths in the snapshot
        paths: Vec<PathBuf>,
        /// Into this folder, which must be new or empty
        #[arg(long, value_name = "DIR", group = "place")]
        to: Option<PathBuf>,
        /// To where they were, over what is there
        #[arg(long, group = "place")]
        in_place: bool,
        /// What this other node saved to the aggregator's store; an order brings the way into it on standard input
        #[arg(long, value_name = "NODE-ID", requires = "policy", conflicts_with = "target")]
        from_node: Option<NodeId>,
        /// Have the command of the policy's drill look at what was restored
        #[arg(long = "try", requires = "from_node")]
        is_tried: bool,
        /// Which repository
        #[command(flatten)]
        of: RepositoryArgs,
    },
    /// Print one file of a snapshot on standard output, encrypted; what happens is told on standard error
    Dump {
        /// `latest`, a time, or the begin of a name
        snapshot: String,
        /// Absolute path in the snapshot
        path: PathBuf,
        /// For whom: an age recipient, `age1...`
        #[arg(long, value_name = "RECIPIENT")]
        recipient: String,
        /// Most bytes that are printed; a longer file is refused
        #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
        most: u64,
        /// Which repository
        #[command(flatten)]
        of: RepositoryArgs,
    },
    /// Read back, decrypt and compare what is in a repository
    Check {
        /// A share of the packs only, e.g. 2/7: the second of seven
        #[arg(long, value_name = "N/M", value_parser = parse_share, default_value = "1/1")]
        share: Share,
        /// The steward started it, because it was due
        #[arg(long, hide = true)]
        scheduled: bool,
        /// Which repository
        #[command(flatten)]
        of: RepositoryArgs,
    },
    /// Restore a policy's newest snapshot into a private folder, compare it, have the policy's command look at it, and
    /// remove it
    Drill {
        /// Name of the policy, or its file
        #[arg(long)]
        policy: String,
        /// The steward started it, because it was due
        #[arg(long, hide = true)]
        scheduled: bool,
    },
    /// Show the repository's identity and who can open it; never a key
    Key {
        /// Which repository
        #[command(flatten)]
        of: RepositoryArgs,
    },
}

/// How runs are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RunsOutput {
    /// A line for each policy
    Text,
    /// All that is kept, in JSON
    Json,
}

/// Which repository is meant; without a word, the one that all policies of this node save to.
#[derive(Debug, Args)]
pub struct RepositoryArgs {
    /// That of this policy: its name, or its file
    #[arg(long, conflicts_with = "target")]
    pub policy: Option<String>,
    /// The one there: `aggregator`, `dir:/path`, or `s3:...` and `sftp:...` as a policy of this node has it
    #[arg(long)]
    pub target: Option<String>,
}

fn parse_share(text: &str) -> Result<Share, String> {
    let wrong = || format!("`{text}` is no share: give for example 2/7");
    let (part, of) = text.split_once('/').ok_or_else(wrong)?;
    let (part, of) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
    Share::new(part, of).map_err(|error| error.to_string())
}

/// What runs beneath a guard and is of this program.
#[derive(Debug, Subcommand)]
pub enum GuardWork {
    /// Act on a unit and wait for it to be healthy
    Service {
        /// Path of systemctl
        systemctl: PathBuf,
        /// start, stop, restart or reload
        verb: String,
        /// Full name of the unit
        unit: String,
        /// Milliseconds to wait
        wait_ms: Option<u64>,
    },
    /// Make this node what its configuration says
    Config {
        /// What is done
        #[command(subcommand)]
        work: ConfigWork,
    },
}

/// What the program of the configuration does.
#[derive(Debug, Subcommand)]
pub enum ConfigWork {
    /// Print what an apply would change
    Plan {
        /// Digest of the generation
        generation: Digest,
    },
    /// Go to a generation
    Apply {
        /// Digest of the generation
        generation: Digest,
        /// Have every change confirmed
        #[arg(long)]
        confirm: bool,
        /// Seconds within which the node must reach its aggregator anew
        #[arg(long, value_name = "S", default_value_t = 60)]
        confirm_within: u32,
    },
    /// Compare this node with its generation
    Check {
        /// Put right what is to be enforced
        #[arg(long)]
        enforce: bool,
    },
    /// Bring an interrupted apply to its end
    Recover,
    /// Put this node back when a change is not confirmed in time
    Guardian,
}
