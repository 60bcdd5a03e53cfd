//! `config plan`: a draft that nodes plan by the code that would apply it.

use std::path::PathBuf;

use campanile_common::config::Purpose;
use clap::Args;

use super::proposal::{Proposal, propose};
use super::release::{self, Release};
use super::session::{OrderOptions, Work};
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;

/// Options of `config plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config plan
  campanile config plan ./fleet-config -l role=web
  campanile config plan -o json | jq '.nodes[].changes[].resource'

Each node says itself what it would change, as text differences; nodes that say the same are shown once. What holds a
secret is never shown. The operator signs a draft, which nodes plan and never apply.

Exit codes: 0 nothing would change, 10 changes pend, 3 some nodes failed, 4 some silent, 5 some denied; when several
apply 3, 4, 5, 10.")]
pub struct Plan {
    /// Directory of the bundle
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    selector: Selection,
    #[command(flatten)]
    order: OrderOptions,
    /// Plan without the secrets of a head whose signer is no operator any more
    #[arg(long)]
    forget_secrets: bool,
}

/// Plans.
pub(super) fn run(context: &mut Context<'_>, arguments: &Plan) -> anyhow::Result<Exit> {
    let Proposal { session, nodes, content, head, body } =
        propose(context, &arguments.dir, &arguments.selector, &arguments.order, arguments.forget_secrets)?;
    let release = Release { body, parts: &content.parts, head, message: "", again: AGAIN };
    let draft = release.submit(context, &session, Purpose::Draft)?;
    release::carry_out(context, &session, &Work::plan(&nodes, draft, &arguments.order))
}

const AGAIN: &str = "run `campanile config plan` again";
