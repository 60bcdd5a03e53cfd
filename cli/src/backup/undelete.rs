//! `backup undelete`: bringing back what the store let go, while it still can.

use anyhow::bail;
use campanile_common::api::{StoredSnapshot, UndeleteBackup};
use campanile_common::unit::ByteCount;
use clap::Args;
use ureq::http::Method;

use super::{fetch, list};
use crate::context::Context;
use crate::exit::Exit;
use crate::{confirm, profile};

/// Options of `backup undelete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup ls web-01 --deleted            what can be brought back, and how long
  campanile backup undelete web-01 4f0c2a91
  campanile backup undelete web-01                everything

What comes back counts against the node's quota again.")]
pub struct Undelete {
    /// Name or id
    node: String,
    /// Begin of a snapshot's name; everything without
    snapshot: Option<String>,
}

/// Carries it out.
///
/// # Errors
/// When it fails.
pub(super) fn run(context: &mut Context<'_>, arguments: &Undelete) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let mut deleted = fetch::snapshots(&client, &arguments.node, true)?;
    deleted.retain(|snapshot| snapshot.deleted_until.is_some());
    if deleted.is_empty() {
        bail!("nothing of {} was let go that could be brought back", arguments.node);
    }
    let chosen = arguments.snapshot.as_deref().map(|begin| chosen(&deleted, begin)).transpose()?;
    let question = match chosen {
        Some(one) => format!("bring back snapshot {} of {}?", list::short(one.snapshot), arguments.node),
        None => format!("bring back all of {} ({} snapshots)?", arguments.node, deleted.len()),
    };
    if !confirm::question(context, &question)? {
        context.hint("nothing was done")?;
        return Ok(Exit::Failed);
    }
    let body = UndeleteBackup { snapshot: chosen.map(|one| one.snapshot) };
    client.tell(Method::POST, &format!("{}/undelete", fetch::path(&arguments.node)), &body)?;
    let done = match chosen {
        Some(one) => {
            format!("snapshot {} is back, with {}", list::short(one.snapshot), ByteCount(one.bytes))
        }
        None => format!("{} snapshots are back", deleted.len()),
    };
    context.hint(&done)?;
    Ok(Exit::Fine)
}

fn chosen<'a>(deleted: &'a [StoredSnapshot], begin: &str) -> anyhow::Result<&'a StoredSnapshot> {
    let begin = begin.to_lowercase();
    let found: Vec<_> =
        deleted.iter().filter(|snapshot| snapshot.snapshot.to_string().starts_with(&begin)).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => bail!("no snapshot that was let go begins with `{begin}`; `backup ls --deleted` lists them"),
        several => bail!("{} snapshots' names begin with `{begin}`; give more digits", several.len()),
    }
}
