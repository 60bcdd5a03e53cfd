//! `config apply`: a bundle becomes a release, and nodes are ordered to be what it says.

use std::path::PathBuf;

use campanile_common::config::Purpose;
use clap::Args;

use super::build::{Body, idle_layers};
use super::release::{self, Release, ask, layer_changes};
use super::session::{OrderOptions, Session, WaveOptions, chosen};
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;

/// Options of `config apply`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config apply -m 'nginx: 8 workers'
  campanile config apply ./fleet-config --canary 1 --batch 25% --max-fail 2
  campanile config apply --confirm --confirm-within 2m --yes
  campanile config apply -l role=web -m 'web first'

The bundle becomes a new generation, signed by this operator, unless it says what the head says: then the head is
applied again. If somebody made a generation since the head was read, nothing is done. With -l only the selected nodes
are ordered to apply it now.

Changes of network, firewall, ssh, resolver and the agent itself hold only once the node has reached its aggregator
anew; else the node undoes them by itself. --confirm asks this of every change.

Exit codes: 0 all nodes are what it says, 7 some node reverted, 3 some failed or were skipped, 4 some silent, 5 some
denied; when several apply 7, 3, 4, 5.")]
pub struct Apply {
    /// Directory of the bundle
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    #[command(flatten)]
    selector: Selection,
    #[command(flatten)]
    waves: WaveOptions,
    #[command(flatten)]
    order: OrderOptions,
    /// Go on from a head whose signer is no operator any more, without its secrets
    #[arg(long)]
    forget_secrets: bool,
}

/// Applies.
pub(super) fn run(context: &mut Context<'_>, arguments: &Apply) -> anyhow::Result<Exit> {
    // Mistakes that show without the fleet are told before anybody is asked for a passphrase.
    super::read::bundle(context, &arguments.dir, &[])?;
    let session = Session::open(context, &arguments.order.passphrase)?;
    let all = session.nodes()?;
    let content = super::read::bundle(context, &arguments.dir, &all)?;
    let nodes = chosen(&all, arguments.selector.selector.as_ref(), arguments.order.expect)?;
    let head = session.head(arguments.forget_secrets)?;
    let body = Body::of_layers(content.layer_parts(), head.as_ref(), &all);
    for line in idle_layers(&body).into_iter().chain(body.unsealed()) {
        context.hint(&format!("warning: {line}"))?;
    }
    let changes = layer_changes(head.as_ref(), &body.layers);
    let release = Release { body, parts: &content.parts, head, message: &arguments.message, again: AGAIN };
    let unchanged = release.unchanged();
    let what = match (&unchanged, &release.head) {
        (Some(head), _) => format!("generation {} says this already and is applied again", head.number),
        (None, None) => "generation 1, the first".to_owned(),
        (None, Some(head)) => {
            let before = &head.generation;
            format!("generation {}, after {} by {}", before.number + 1, before.number, before.author)
        }
    };
    if !ask(context, &what, &changes, &nodes, &arguments.waves)? {
        return Ok(Exit::Failed);
    }
    let generation = match unchanged {
        Some(head) => head,
        None => release.submit(context, &session, Purpose::Release)?,
    };
    release::apply(context, &session, generation, &nodes, &arguments.order, &arguments.waves)
}

const AGAIN: &str = "run `campanile config plan` to see what is left, then apply again";
