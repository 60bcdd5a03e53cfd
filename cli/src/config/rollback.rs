//! `config rollback`: numbers only rise, so going back is a new generation that names old layers.

use std::collections::BTreeSet;

use anyhow::Context as _;
use campanile_common::id::NodeId;
use clap::Args;

use super::build::Body;
use super::content::Parts;
use super::release::Release;
use super::remote;
use super::session::{OrderOptions, Session, WaveOptions, chosen};
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;

/// Options of `config rollback`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config rollback 41
  campanile config rollback 41 -l role=web -m 'web only, until nginx is fixed'
  campanile config rollback 3f9c2a --canary 1

Makes a new generation that names the layers of the old one and orders nodes to apply it. With -l only the selected
nodes get the old layers; all others keep what the head says. Secrets keep their newest values.

Exit codes as those of `campanile config apply`.")]
pub struct Rollback {
    /// Number, first digits of the digest, or `head`
    #[arg(value_name = "GENERATION")]
    generation: String,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    selector: Selection,
    #[command(flatten)]
    waves: WaveOptions,
    #[command(flatten)]
    order: OrderOptions,
}

/// Goes back.
pub(super) fn run(context: &mut Context<'_>, arguments: &Rollback) -> anyhow::Result<Exit> {
    let session = Session::open(context, &arguments.order.passphrase)?;
    let found = remote::find(&session.client, &arguments.generation)?;
    let verified =
        remote::signed(&session.client, found.digest)?.verify(&session.authority).with_context(|| {
            format!("generation {} is not gone back to; apply a bundle instead", found.number)
        })?;
    let target = verified.generation();
    let head = session.head(false)?.ok_or_else(remote::none_yet)?;
    let all = session.nodes()?;
    let selector = arguments.selector.selector.as_ref();
    let nodes = chosen(&all, selector, arguments.order.expect)?;
    let selected: Option<BTreeSet<NodeId>> =
        selector.map(|_| nodes.iter().map(|node| node.node_id).collect());
    let body = Body::rolled_back(target, &head.generation, &all, selected.as_ref());
    for line in body.unsealed() {
        context.hint(&format!("warning: {line}"))?;
    }
    let message =
        arguments.message.clone().unwrap_or_else(|| format!("back to generation {}", target.number));
    let what = format!(
        "generation {}, with the layers of generation {} by {}",
        head.generation.number + 1,
        target.number,
        target.author
    );
    let parts = Parts::default();
    let release = Release { body, parts: &parts, head: Some(head), message: &message, again: AGAIN };
    let (order, waves) = (&arguments.order, &arguments.waves);
    release.confirm_and_apply(context, &session, &what, &nodes, order, waves)
}

const AGAIN: &str = "look at `campanile config log`, then roll back again";
