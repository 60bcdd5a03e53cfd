//! `restore`: files of a node's snapshot, into a folder of their own or to where they were, there or on another node.

use std::path::Path;

use anyhow::bail;
use campanile_common::api::Node;
use campanile_common::authority::{BackupAction, RestorePlace};
use clap::{ArgGroup, Args};

use crate::backup::WhichPolicy;
use crate::backup::foreign::{Handing, Ways};
use crate::backup::moment::Zone;
use crate::backup::report::Kind;
use crate::backup::work::{Job, Work};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::order::options::Options;
use crate::{authority, node, profile, targets};

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("place").required(true)), mut_arg("timeout", |timeout| timeout.default_value("12h")))]
#[command(after_help = "Examples:
  campanile restore web-01 /etc/nginx --to /srv/restored
  campanile restore db-01 --policy main-db --at '2026-05-03 10:14' --to /srv/restored
  campanile restore web-01 /etc/nginx --at 4f0c2a91 --in-place
  campanile restore web-01 /srv --to-node web-02 --to /srv/restored --identity recovery/escrow.key

--at picks the newest snapshot that began at that time or before it, by the clock of this machine unless the time says
its offset. Every file is verified while it is written, and no link is followed out of the target. Into a folder, which
must be new or empty, it is signed by an operator (tier 2); in place, over what is there, at tier 3: it asks, and where
the authority wants several operators it waits for them (`campanile approve sign`; --queue 1h gives them the time).
To another node it needs an escrow identity of the node that saved them, which opens that node's key here; the key goes
to the other one sealed, and the store lets it read for as long as the order is at work. That is for what was saved to the
aggregator's store.
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
    /// On this other node, which may be another machine altogether
    #[arg(long, value_name = "NODE", requires = "identity")]
    to_node: Option<String>,
    #[command(flatten)]
    handing: Handing,
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
    let work = Work { authority: authority::load(context.environment)?, client };
    let paths = arguments.paths.clone();
    let (action, nodes) = match (&arguments.to_node, &arguments.handing.identity) {
        (Some(other), Some(identity)) => {
            elsewhere(context, &work, arguments, other, identity, (snapshot, to))?
        }
        (None, Some(_)) => {
            let text = "--identity is for --to-node: a node opens what it saved itself by its own key";
            return Err(UsageError(text.to_owned()).into());
        }
        (_, None) => {
            let nodes = targets::resolve(&work.client, None, std::slice::from_ref(&arguments.node))?;
            let Some(node) = nodes.first() else { bail!("there is no node `{}`", arguments.node) };
            let policy = arguments.which.find(&work.client, node)?;
            (BackupAction::Restore { policy, snapshot, paths, to }, nodes)
        }
    };
    let job = Job { action, nodes, options: arguments.options.clone() };
    work.carry_out(context, Kind::Restored, vec![job])
}

/// What another node is ordered to restore.
fn elsewhere(
    context: &Context<'_>,
    work: &Work,
    arguments: &Restore,
    other: &str,
    identity: &Path,
    (snapshot, to): (String, RestorePlace),
) -> anyhow::Result<(BackupAction, Vec<Node>)> {
    let client = &work.client;
    let source = node::find(client, &arguments.node)?;
    let nodes = targets::resolve(client, None, &[other.to_owned()])?;
    let Some(target) = nodes.first() else { bail!("there is no node `{other}`") };
    if target.node_id == source.node_id {
        let text = format!("{other} saved them itself: leave --to-node out");
        return Err(UsageError(text).into());
    }
    let policy = arguments.which.find(client, &source)?;
    let ways = Ways::open(client, &source, identity)?;
    let accepts_new = arguments.handing.accept_new_keys;
    let sealed = ways.seal(context, client, &work.authority, target, accepts_new)?;
    let (source, paths) = (source.node_id, arguments.paths.clone());
    let action = BackupAction::RestoreFrom { source, policy, snapshot, paths, to, sealed, is_tried: false };
    Ok((action, nodes))
}
