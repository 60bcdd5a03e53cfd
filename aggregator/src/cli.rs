//! The aggregator's command line.

use std::path::PathBuf;

use campanile_common::api::AccessRole;
use clap::{Parser, Subcommand};

/// Campanile's aggregator: takes what agents report, judges the fleet, serves people.
#[derive(Debug, Parser)]
#[command(name = "campanile-aggregator", version)]
pub struct Cli {
    /// Settings file; drop-ins are read from the folder of the same name ending in .d
    /// [default: /etc/campanile/aggregator.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the aggregator can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve agents and people until stopped
    Serve,
    /// Found a fleet on this machine, start its aggregator, and say how nodes join; again: what is there, with a new link
    #[command(after_help = "Examples:
  sudo campanile-aggregator init
  campanile fleet init --name acme --operator ada --foundation - | ssh root@tower campanile-aggregator init --foundation -

Without --foundation the operator's key is made on this machine, by `campanile` in the home of whoever typed sudo: fine for a
few nodes. With it the key stays on the operator's machine. Nothing that exists is overwritten.")]
    Init(Init),
    /// Check everything that this aggregator needs to serve, and say what to do
    #[command(
        after_help = "One line a check: OK, WARN or FAIL, with what to do. Exit code 1 when a check fails."
    )]
    Doctor {
        /// How the checks are printed
        #[arg(short, long, default_value = "text")]
        output: InitOutput,
    },
    /// Write what `init` hands over, as the user that the aggregator runs as; started by it alone
    #[command(hide = true)]
    Found,
    /// Make an API token on the spot, for whoever may write the state folder; prints it
    #[command(after_help = "Example:
  campanile-aggregator api-token --name ci --role viewer --ttl 30d")]
    ApiToken {
        /// What it is for
        #[arg(long)]
        name: String,
        /// viewer, operator, deployer, backup, security or admin
        #[arg(long, value_parser = parse_role)]
        role: AccessRole,
        /// How long it is valid, e.g. 90s, 12h, 30d
        #[arg(long, default_value = "1d", value_parser = parse_duration)]
        ttl: std::time::Duration,
    },
    /// Make a one-time sign-in link for a person, also when nobody can sign in any more; prints it
    SigninLink {
        /// Sign-in name; `admin` is made when there is nobody yet
        #[arg(long, default_value = "admin")]
        person: String,
    },
    /// Back up the aggregator itself into one encrypted file, also while it serves; prints where it is
    #[command(after_help = "Encrypts to `recipients` of [self_backup] in the settings.

Example:
  campanile-aggregator backup --to /mnt/usb")]
    Backup {
        /// Folder, or file that does not exist [default: the setting `self_backup.dir`]
        #[arg(long, value_name = "FILE|DIR")]
        to: Option<PathBuf>,
    },
    /// Become the aggregator of a backup: fills the state folder, which must be empty
    #[command(after_help = "Example:
  campanile-aggregator restore campanile-....age --identity recovery-key.txt")]
    Restore(Restore),
}

/// What a fleet is founded with. Nothing here has to be given.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// What `campanile fleet init --foundation` wrote on the operator's machine; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    pub foundation: Option<PathBuf>,
    /// What the fleet is called [default: the name of this host]
    #[arg(long, conflicts_with = "foundation")]
    pub name: Option<String>,
    /// What the first operator is called [default: who typed this]
    #[arg(long, conflicts_with = "foundation")]
    pub operator: Option<String>,
    /// File whose first line is the passphrase of the operator's key; asked for without it
    #[arg(long, value_name = "FILE", conflicts_with = "foundation")]
    pub passphrase_file: Option<PathBuf>,
    /// How nodes and people reach this machine, a name or an address; may be given more than once [default: found out]
    #[arg(long, value_name = "HOST")]
    pub address: Vec<String>,
    /// Leave the service alone
    #[arg(long)]
    pub no_start: bool,
    /// How the result is printed
    #[arg(short, long, default_value = "text")]
    pub output: InitOutput,
}

/// How results of `init` and `doctor` are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum InitOutput {
    /// For people.
    Text,
    /// JSON.
    Json,
}

/// What is restored.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// File with the age identity that can read it, as `age-keygen` writes it
    #[arg(long, value_name = "KEYFILE")]
    pub identity: PathBuf,
    /// Read and compare everything, and write nothing
    #[arg(long)]
    pub check: bool,
}

fn parse_role(text: &str) -> Result<AccessRole, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| "give viewer, operator, deployer, backup, security or admin".to_owned())
}

/// Reads `90s`, `15m`, `12h` or `30d`.
fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let error = || format!("`{text}` is no duration; write 90s, 15m, 12h or 30d");
    let split = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(error)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(error()),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(seconds).map(std::time::Duration::from_secs).ok_or_else(error)
}
