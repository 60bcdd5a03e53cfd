//! `restore`: files of a node's snapshot, into a folder of their own or to where they were.

use anyhow::bail;
use campanile_common::authority::{BackupAction, RestorePlace};
use clap::{ArgGroup, Args};

use crate::backup::WhichPolicy;
use crate::backup::moment::Zone;
use crate::backup::report::Kind;
use crate::backup::work::{Job, Work};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::order::options::Options;
use crate::{authority, profile, targets};

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("place").required(true)), mut_arg("timeout", |timeout| timeout.default_value("12h")))]
#[command(after_help = "Examples:
  campanile restore web-01 /etc/nginx --to /srv/restored
  campanile restore db-01 --policy main-db --at '2026-05-03 10:14' --to /srv/restored
  campanile restore web-01 /etc/nginx --at 4f0c2a91 --in-place

--at picks the newest snapshot that began at that time or before it, by the clock of this machine unless the time says
its offset. Every file is verified while it is written, and no link is followed out of the target. Into a folder, which
must be new or empty, it is signed by an operator (tier 2); in place, over what is there, at tier 3: it asks, and where
the authority wants several operators it waits for them (`campanile approve sign`; --queue 1h gives them the time).
Exit codes are those of `campanile run`; 3 when a file could not be restored as it was, which is named.")]
pub struct Restore {
    /// Name or id
    node: String,
    /// Absolute paths in the snapshot, each with all that is below it; everything without
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// `latest`, a time such as '2026-05-03 10:14' or in RFC 3339, or the begin of a snapshot's name
    #[arg(long, value_name = "WHEN", default_value = "latest")]
    at: String,
    #[command(flatten)]
    which: WhichPolicy,
    /// Into this folder of the node, for root alone
    #[arg(long, value_name = "DIR", group = "place")]
    to: Option<String>,
    /// To where they were, over what is there
    #[arg(long, group = "place")]
    in_place: bool,
    #[command(flatten)]
    options: Options,
}

/// Carries it out.
///
/// # Errors
/// When it is refused, or nothing could be sent.
pub fn run(context: &mut Context<'_>, arguments: &Restore) -> anyhow::Result<Exit> {
    let snapshot = Zone::system().snapshot(&arguments.at).map_err(|error| UsageError(error.to_string()))?;
    let to = match &arguments.to {
        Some(folder) => RestorePlace::Folder(folder.clone()),
        None => RestorePlace::InPlace,
    };
    for path in arguments.paths.iter().chain(&arguments.to) {
        if !path.starts_with('/') {
            return Err(
                UsageError(format!("`{path}` is no absolute path; write it as the node knows it")).into()
            );
        }
    }
    let client = profile::client_of_orders(context)?;
    let nodes = targets::resolve(&client, None, std::slice::from_ref(&arguments.node))?;
    let Some(node) = nodes.first() else { bail!("there is no node `{}`", arguments.node) };
    let policy = arguments.which.find(&client, node)?;
    let action = BackupAction::Restore { policy, snapshot, paths: arguments.paths.clone(), to };
    let work = Work { authority: authority::load(context.environment)?, client };
    let job = Job { action, nodes, options: arguments.options.clone() };
    work.carry_out(context, Kind::Restored, vec![job])
}
