//! What a bundle would make of the fleet, before anything is signed: `plan` and `apply` begin here.

use std::path::Path;

use campanile_common::api::Node;

use super::build::{Body, Head, idle_layers};
use super::content::Content;
use super::read;
use super::session::{OrderOptions, Session, chosen};
use crate::context::Context;
use crate::node::Selection;

/// A bundle held against the fleet.
pub(super) struct Proposal {
    /// Who asks whom.
    pub(super) session: Session,
    /// Those that are to plan or apply it.
    pub(super) nodes: Vec<Node>,
    /// What the bundle says.
    pub(super) content: Content,
    /// What it would follow.
    pub(super) head: Option<Head>,
    /// What the fleet would be.
    pub(super) body: Body,
}

/// Reads a bundle and the fleet; what looks unintended is warned of.
///
/// # Errors
/// When anything is wrong with the bundle, or the aggregator cannot be asked.
pub(super) fn propose(
    context: &mut Context<'_>,
    dir: &Path,
    selection: &Selection,
    order: &OrderOptions,
    forget_secrets: bool,
) -> anyhow::Result<Proposal> {
    // Mistakes that show without the fleet are told before anybody is asked for a passphrase.
    let bundle = read::bundle(context, dir)?;
    let session = Session::open(context, &order.passphrase)?;
    let all = session.nodes()?;
    let content = bundle.content(context, &all)?;
    let nodes = chosen(&all, selection.selector.as_ref(), order.expect)?;
    let head = session.head(forget_secrets)?;
    let body = Body::of_layers(content.layer_parts(), head.as_ref(), &all);
    for line in idle_layers(&body).into_iter().chain(body.unsealed()) {
        context.hint(&format!("warning: {line}"))?;
    }
    Ok(Proposal { session, nodes, content, head, body })
}
