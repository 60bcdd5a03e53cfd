//! `backup cat`: one file of a snapshot on standard output.
//!
//! The node encrypts it to a key that is made here for this once and is gone with the command: the aggregator passes on
//! and keeps ciphertext. Length and hash tell that what was decrypted is what the node read.

use std::str;

use age::x25519::Identity;
use anyhow::{anyhow, bail};
use campanile_common::api::{Node, Order, TargetState};
use campanile_common::authority::{Action, BackupAction, sha256};
use clap::Args;
use zeroize::Zeroizing;

use super::files::WhichPolicy;
use super::moment::Zone;
use super::report::{self, Said};
use crate::client::{Client, segment};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::order::follow::{self, Quiet};
use crate::order::options::Options;
use crate::order::submit::{self, Begun};
use crate::order::summary;
use crate::{authority, profile, targets};

/// Longest output of either stream: what an order keeps, and a little.
const OUTPUT_MAX: usize = 2 * 1024 * 1024;

/// Options of `backup cat`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup cat web-01 /etc/hosts
  campanile backup cat db-01 /etc/app.conf --at '2026-05-03 10:14' > app.conf

The node encrypts the file to a key that is made here for this once: neither the aggregator nor its disk ever has the
content. For files of up to about a mebibyte, as much as an order prints; the node's policy may allow less
(`limits.output_bytes`). A larger one is refused before it is read: `campanile restore NODE PATH --to DIR`. The order is
signed (tier 2). Exit codes are those of `campanile run`; 1 when what came is not what the node read.")]
pub struct Cat {
    /// Name or id
    node: String,
    /// Absolute path of a file
    path: String,
    /// `latest`, a time such as '2026-05-03 10:14' (the newest snapshot at that time), or the begin of a name
    #[arg(long, value_name = "WHEN", default_value = "latest")]
    at: String,
    #[command(flatten)]
    which: WhichPolicy,
    #[command(flatten)]
    options: Options,
}

/// Prints the file.
///
/// # Errors
/// When it is refused, or what came is not what the node read.
pub(super) fn run(context: &mut Context<'_>, arguments: &Cat) -> anyhow::Result<Exit> {
    let Cat { path, options, .. } = arguments;
    let snapshot = Zone::system().snapshot(&arguments.at).map_err(|error| UsageError(error.to_string()))?;
    if options.detach || options.queue.is_some() {
        let text = "the key of the file is gone with this command: it waits for the node, without --detach and --queue";
        return Err(UsageError(text.to_owned()).into());
    }
    if !path.starts_with('/') {
        return Err(UsageError(format!("`{path}` is no absolute path; write it as the node knows it")).into());
    }
    let client = profile::client_of_orders(context)?;
    let nodes = targets::resolve(&client, None, std::slice::from_ref(&arguments.node))?;
    let [node] = nodes.as_slice() else { bail!("there is no node `{}`", arguments.node) };
    let identity = Identity::generate();
    let action = BackupAction::Dump {
        policy: arguments.which.find(&client, node)?,
        snapshot,
        path: path.clone(),
        recipient: identity.to_public().to_string(),
    };
    let authority = authority::load(context.environment)?;
    let work = (action.tier_min(), Action::Backup(action));
    let (order, stop) = match submit::begin(context, &client, &authority, work, &nodes, options)? {
        Begun::Over(exit) => return Ok(exit),
        Begun::Running(order, stop) => (order, stop),
    };
    let Some(ended) = follow::watch(context, &client, &order, &stop, &mut Quiet)? else {
        return follow::interrupt(context, &client, order.order_id);
    };
    let exit = summary::exit(&ended);
    let said = report::parse(&output(&client, &ended, node, "stderr")?);
    if exit != Exit::Fine {
        for problem in &said.problems {
            context.hint(&summary::plain(&format!("  {}: {problem}", node.name)))?;
        }
        for line in summary::problems(&ended.targets) {
            context.hint(&line)?;
        }
        return Ok(exit);
    }
    let plain = opened(&output(&client, &ended, node, "stdout")?, &said, &identity)?;
    if context.environment.stdout_is_terminal && !is_for_terminals(&plain) {
        bail!("{path} holds what a terminal would obey; send it to a file: campanile backup cat ... > FILE");
    }
    context.out.write_all(&plain)?;
    context.out.flush()?;
    let snapshot = said.snapshot.as_deref().and_then(|id| id.get(..8)).unwrap_or("-");
    context.hint(&format!("{path}: {} bytes, of snapshot {snapshot}, verified", plain.len()))?;
    Ok(Exit::Fine)
}

/// What the node wrote; nothing where it wrote nothing, or never began.
fn output(client: &Client, order: &Order, node: &Node, stream: &str) -> anyhow::Result<Vec<u8>> {
    let target = order.targets.iter().find(|target| target.node_id == node.node_id);
    if target.is_none_or(|target| target.output_kept == 0 && target.state != TargetState::Ok) {
        return Ok(Vec::new());
    }
    let (path, node) = (follow::path(order.order_id), node.node_id.to_string());
    Ok(client.bytes(&format!("{path}/output/{}?stream={stream}", segment(&node)), OUTPUT_MAX)?)
}

/// The file, once it is what the node says that it read.
fn opened(sealed: &[u8], said: &Said, identity: &Identity) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let (bytes, sha256_said) =
        said.content.ok_or_else(|| anyhow!("the node did not say what it printed; run it again"))?;
    let plain = age::decrypt(identity, sealed).map(Zeroizing::new);
    let plain =
        plain.map_err(|error| anyhow!("what came from the node was cut short or altered: {error}"))?;
    let length = u64::try_from(plain.len()).unwrap_or(u64::MAX);
    if length != bytes || sha256(&[&plain]) != sha256_said {
        bail!("what came is not what the node read: {length} bytes of {bytes}, or other ones; run it again");
    }
    Ok(plain)
}

fn is_for_terminals(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(content: &[u8]) -> Said {
        let length = u64::try_from(content.len()).unwrap();
        Said { content: Some((length, sha256(&[content]))), ..Said::default() }
    }

    #[test]
    fn a_file_is_given_out_only_when_it_is_what_the_node_read() {
        let identity = Identity::generate();
        let sealed = age::encrypt(&identity.to_public(), b"content").unwrap();
        assert_eq!(*opened(&sealed, &said(b"content"), &identity).unwrap(), b"content");
        for (sealed, said) in [
            (&sealed[..], said(b"another")),
            (&sealed[..], said(b"content and more")),
            (&sealed[..sealed.len() - 1], said(b"content")),
            (&sealed[..], Said::default()),
        ] {
            assert!(opened(sealed, &said, &identity).is_err());
        }
        assert!(opened(&sealed, &said(b"content"), &Identity::generate()).is_err());
    }

    #[test]
    fn a_terminal_gets_text_and_nothing_that_it_would_obey() {
        assert!(is_for_terminals("a\tb\né".as_bytes()));
        assert!(!is_for_terminals(b"\x1b[2J") && !is_for_terminals(&[0xFF]));
    }
}
