//! `config apply`: a bundle becomes a release, and nodes are ordered to be what it says.

use std::path::PathBuf;

use clap::Args;

use super::proposal::{Proposal, propose};
use super::release::Release;
use super::session::{OrderOptions, WaveOptions};
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

Where changes take the signatures of several operators, it is proposed and exit code 6 says so: the next one runs
`campanile approve sign ORDER`, which shows and signs generation and order.

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
    let Proposal { session, nodes, content, head, body } =
        propose(context, &arguments.dir, &arguments.selector, &arguments.order, arguments.forget_secrets)?;
    let release = Release { body, parts: &content.parts, head, message: &arguments.message, again: AGAIN };
    let what = match (release.unchanged(), &release.head) {
        (Some(head), _) => format!("generation {} says this already and is applied again", head.number),
        (None, None) => "generation 1, the first".to_owned(),
        (None, Some(head)) => {
            let before = &head.generation;
            format!("generation {}, after {} by {}", before.number + 1, before.number, before.author)
        }
    };
    let (order, waves) = (&arguments.order, &arguments.waves);
    release.confirm_and_apply(context, &session, &what, &nodes, order, waves)
}

const AGAIN: &str = "run `campanile config plan` to see what is left, then apply again";
