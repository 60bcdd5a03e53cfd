//! `backup hold`: settling deletions and alarms that wait for a person.

use anyhow::bail;
use campanile_common::api::{BackupHold, HoldSettlement, SettleHold};
use clap::{Args, Subcommand};
use ureq::http::Method;

use super::fetch;
use crate::context::Context;
use crate::exit::Exit;
use crate::order::summary;
use crate::{confirm, profile};

/// Verbs of `backup hold`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Let the rules decide what was proposed: it was as it should be
    #[command(after_help = "Examples:
  campanile backup show web-01                    what waits, and why
  campanile backup hold release web-01 3

What goes then can be brought back with `campanile backup undelete` until the floor has passed.")]
    Release(Which),
    /// Drop what was proposed: nothing is deleted
    #[command(after_help = "Examples:
  campanile backup hold refuse web-01 3

Look at the node afterwards: somebody there wanted snapshots gone.")]
    Refuse(Which),
}

/// Which hold.
#[derive(Debug, Args)]
pub struct Which {
    /// Name or id
    node: String,
    /// Its number, as `backup show` lists it
    id: u64,
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub(super) fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    let (which, settlement) = match verb {
        Verb::Release(which) => (which, HoldSettlement::Release),
        Verb::Refuse(which) => (which, HoldSettlement::Refuse),
    };
    let client = profile::client(context)?;
    let detail = fetch::detail(&client, &which.node)?;
    let Some(hold) = detail.holds.iter().find(|hold| hold.id == which.id) else {
        bail!("{}", unknown(&detail.backup.name, which.id, &detail.holds));
    };
    context.hint(&summary::plain(&format!("{}: {}", hold.reasons.join(", "), hold.detail)))?;
    let question = match settlement {
        HoldSettlement::Release => {
            format!("let the rules decide on {} proposed deletions of {}?", hold.proposed, detail.backup.name)
        }
        HoldSettlement::Refuse => {
            format!("drop {} proposed deletions of {}?", hold.proposed, detail.backup.name)
        }
    };
    if !confirm::question(context, &question)? {
        context.hint("nothing was done")?;
        return Ok(Exit::Failed);
    }
    let path = format!("{}/holds/{}", fetch::path(&which.node), which.id);
    client.tell(Method::POST, &path, &SettleHold { settlement })?;
    let done = match settlement {
        HoldSettlement::Release => "released",
        HoldSettlement::Refuse => "refused",
    };
    context.hint(&format!("hold {} of {} is {done}", which.id, detail.backup.name))?;
    Ok(Exit::Fine)
}

fn unknown(node: &str, id: u64, holds: &[BackupHold]) -> String {
    let ids: Vec<String> = holds.iter().map(|hold| hold.id.to_string()).collect();
    match ids.as_slice() {
        [] => format!("nothing of {node} waits for a person"),
        _ => format!("{node} has no hold {id}; there are: {}", ids.join(", ")),
    }
}
