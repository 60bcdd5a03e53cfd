//! From what was asked for to a submitted order: composed, signed where its tier takes that, sent, followed.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use campanile_common::api::{Node, Order, OrderRequest, OrderState, SignedText};
use campanile_common::authority::{
    self, Action, Authority, Limits, OUTPUT_BYTES_MAX, Role, Standing, TARGETS_LISTED_MAX, TargetTree,
    Targets, Tier,
};
use campanile_common::id::{NodeId, OrderId};
use campanile_common::time::Timestamp;
use ureq::http::Method;

use super::follow;
use super::options::{Options, SLACK};
use crate::client::{Client, ClientError};
use crate::context::Context;
use crate::exit::Exit;
use crate::os::signal::StopRequest;
use crate::os::{clock, random};
use crate::signer::{self, Passphrase, Signer, Subject};
use crate::{confirm, render};

/// What is to be ordered.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    /// How grave it is.
    pub tier: Tier,
    /// What to do.
    pub action: Action,
    /// For whom.
    pub nodes: &'a [NodeId],
    /// Within which limits.
    pub limits: Limits,
    /// Present on a standing order.
    pub standing: Option<Standing>,
    /// How long after now it is valid.
    pub valid_for: Duration,
    /// Why.
    pub reason: &'a str,
}

/// An order that was composed: its content, and the leaves where its targets are a tree.
#[derive(Debug)]
pub struct Composed {
    /// What is signed.
    pub order: authority::Order,
    /// The leaves; empty where the targets are listed.
    pub leaves: Vec<NodeId>,
}

impl Draft<'_> {
    /// The order, under this authority and with this id.
    ///
    /// # Errors
    /// When it names no node.
    pub fn compose(&self, authority: &Authority, id: OrderId, now: Timestamp) -> anyhow::Result<Composed> {
        let fleet = authority.document().fleet;
        let mut nodes = self.nodes.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        let (targets, leaves) = if nodes.len() <= TARGETS_LISTED_MAX {
            (Targets::Nodes(nodes), Vec::new())
        } else {
            let tree =
                TargetTree::new(fleet, nodes).ok_or_else(|| anyhow!("too many nodes for one order"))?;
            let count = u32::try_from(tree.nodes().len())?;
            (Targets::Tree { root: tree.root(), nodes: count }, tree.nodes().to_vec())
        };
        let order = authority::Order {
            format: authority::Order::FORMAT,
            fleet,
            id,
            authority_version: authority.document().version,
            tier: self.tier,
            not_before: now - SLACK,
            expires: now + self.valid_for,
            targets,
            action: self.action.clone(),
            limits: self.limits,
            standing: self.standing,
            reason: self.reason.to_owned(),
        };
        Ok(Composed { order, leaves })
    }
}

/// Draws an id for a new order.
pub fn new_id() -> OrderId {
    OrderId::from_bytes(random::bytes())
}

/// The role whose signature an order of this tier takes; none below tier 2.
pub const fn signing_role(tier: Tier) -> Option<Role> {
    match tier {
        Tier::Observe | Tier::Routine => None,
        Tier::Change => Some(Role::Change),
        Tier::Critical => Some(Role::Critical),
    }
}

/// The order's bytes, with the operator's signature where its tier takes one.
///
/// # Errors
/// When it breaks a rule, or the operator may not sign it.
pub fn sign(
    context: &mut Context<'_>,
    authority: &Authority,
    order: &authority::Order,
    passphrase: &Passphrase,
) -> anyhow::Result<SignedText> {
    if signing_role(order.tier).is_some() {
        sign_by(authority, order, &*signer::open(context, passphrase)?)
    } else {
        Ok(SignedText::new(&order.to_bytes()?, &[]))
    }
}

/// As [`sign`], by a hand that is open already.
///
/// # Errors
/// When it breaks a rule, or the operator may not sign it.
pub fn sign_by(
    authority: &Authority,
    order: &authority::Order,
    signer: &dyn Signer,
) -> anyhow::Result<SignedText> {
    let bytes = order.to_bytes()?;
    let mut signatures = Vec::new();
    if let Some(role) = signing_role(order.tier) {
        crate::authority::check_holder(authority, &signer.public(), role)?;
        signatures.push(signer.sign(Subject::Order, &bytes)?);
    }
    Ok(SignedText::new(&bytes, &signatures))
}

/// Submits a signed order and gives it as it was accepted.
///
/// # Errors
/// When it is refused, or nobody knows whether it was.
pub fn place(client: &Client, request: &OrderRequest, id: OrderId) -> anyhow::Result<Order> {
    let accepted: Order =
        client.send(Method::POST, "/api/v1/orders", request).map_err(|error| lost(id, error))?;
    if accepted.order_id != id {
        bail!("the aggregator answered for order {} instead of {id}; is it healthy?", accepted.order_id);
    }
    Ok(accepted)
}

/// What is left to be done about an order that was asked for.
#[derive(Debug)]
pub enum Begun {
    /// Nothing: it was not sent, waits for signatures, or nobody is to wait for it.
    Over(Exit),
    /// It runs and is to be followed, until a stop is asked for.
    Running(Box<Order>, StopRequest),
}

/// Orders it and follows it to its end, as the options say.
///
/// # Errors
/// When it is refused, or nothing could be sent.
pub fn carry_out(
    context: &mut Context<'_>,
    client: &Client,
    authority: &Authority,
    work: (Tier, Action),
    nodes: &[Node],
    options: &Options,
) -> anyhow::Result<Exit> {
    match begin(context, client, authority, work, nodes, options)? {
        Begun::Over(exit) => Ok(exit),
        Begun::Running(order, stop) => follow::follow(context, client, &order, &stop),
    }
}

/// Orders it, as the options say.
///
/// # Errors
/// When it is refused, or nothing could be sent.
pub fn begin(
    context: &mut Context<'_>,
    client: &Client,
    authority: &Authority,
    (tier, action): (Tier, Action),
    nodes: &[Node],
    options: &Options,
) -> anyhow::Result<Begun> {
    confirm::expected(nodes.len(), options.expect)?;
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.node_id).collect();
    let draft = Draft {
        tier,
        limits: limits(&action, options)?,
        action,
        nodes: &ids,
        standing: None,
        valid_for: options.validity(nodes.len())?,
        reason: &options.reason,
    };
    let composed = draft.compose(authority, new_id(), clock::now())?;
    // Says what is wrong with it before anybody is asked for a passphrase.
    composed.order.to_bytes()?;
    if options.dry_run {
        return dry_run(context, &composed.order, nodes).map(Begun::Over);
    }
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let what = format!("order `{}` at tier 3", composed.order.action);
    if tier == Tier::Critical && !confirm::targets(context, &what, &names, options.expect)? {
        context.hint("nothing was ordered")?;
        return Ok(Begun::Over(Exit::Failed));
    }
    let order = sign(context, authority, &composed.order, &options.passphrase)?;
    let request = OrderRequest { order, nodes: composed.leaves, dispatch: options.dispatch() };
    // From here on Ctrl-C withdraws what was sent instead of leaving it behind.
    let stop = StopRequest::listen().context("cannot listen for signals")?;
    let id = composed.order.id;
    let accepted = place(client, &request, id)?;
    if accepted.state == OrderState::Proposed {
        let role = signing_role(tier).unwrap_or(Role::Change);
        return proposed(context, &accepted, authority, role).map(Begun::Over);
    }
    if options.detach {
        render::object(context, &accepted, &id.to_string(), |context| Ok(writeln!(context.out, "{id}")?))?;
        context
            .hint(&format!("accepted for {} nodes; `campanile order watch {id}` follows it", nodes.len()))?;
        return Ok(Begun::Over(Exit::Waiting));
    }
    Ok(Begun::Running(Box::new(with_targets(accepted, nodes)), stop))
}

/// What one execution may use. How a backup went is in the last line of its output: all that may be kept is.
fn limits(action: &Action, options: &Options) -> anyhow::Result<Limits> {
    let limits = options.limits()?;
    let is_backup = matches!(action, Action::Backup(_));
    Ok(if is_backup { Limits { output_bytes: OUTPUT_BYTES_MAX, ..limits } } else { limits })
}

/// The order with its targets, if the aggregator left them out.
pub fn with_targets(mut order: Order, nodes: &[Node]) -> Order {
    if order.targets.is_empty() {
        order.targets = nodes.iter().map(waiting).collect();
    }
    order
}

fn waiting(node: &Node) -> campanile_common::api::OrderTarget {
    campanile_common::api::OrderTarget {
        node_id: node.node_id,
        name: node.name.clone(),
        state: campanile_common::api::TargetState::Waiting,
        result: None,
        detail: String::new(),
        exit_code: None,
        started_at: None,
        finished_at: None,
        output_bytes: 0,
        output_kept: 0,
    }
}

/// A request whose answer was lost may have been accepted.
fn lost(id: OrderId, error: ClientError) -> anyhow::Error {
    let is_unclear = matches!(error, ClientError::Timeout { .. } | ClientError::NotUnderstood { .. });
    let error = anyhow::Error::from(error);
    if is_unclear {
        error.context(format!("nobody knows whether it was accepted; see `campanile order show {id}`"))
    } else {
        error
    }
}

fn dry_run(context: &mut Context<'_>, order: &authority::Order, nodes: &[Node]) -> anyhow::Result<Exit> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Planned<'a> {
        action: String,
        kind: &'static str,
        tier: u8,
        timeout_ms: u32,
        expires_at: Timestamp,
        nodes: Vec<&'a str>,
    }
    let planned = Planned {
        action: order.action.to_string(),
        kind: order.action.kind(),
        tier: order.tier.number(),
        timeout_ms: order.limits.timeout_ms,
        expires_at: order.expires,
        nodes: nodes.iter().map(|node| node.name.as_str()).collect(),
    };
    render::object(context, &planned, &planned.nodes.join("\n"), |context| {
        writeln!(context.out, "would order, at tier {}: {}", planned.tier, planned.action)?;
        writeln!(context.out, "on {} nodes:", planned.nodes.len())?;
        for name in &planned.nodes {
            writeln!(context.out, "  {name}")?;
        }
        Ok(())
    })?;
    context.hint("nothing was sent")?;
    Ok(Exit::Fine)
}

/// Says that an order waits for further signatures.
///
/// # Errors
/// When it cannot be printed.
pub fn proposed(
    context: &mut Context<'_>,
    order: &Order,
    authority: &Authority,
    role: Role,
) -> anyhow::Result<Exit> {
    let id = order.order_id;
    render::object(context, order, &id.to_string(), |context| Ok(writeln!(context.out, "{id}")?))?;
    context.hint(&format!(
        "proposed: it has {} of {} signatures ({}) and waits until {}; missing: {}; they run `campanile approve sign {id}`",
        order.signed_by.len(),
        order.signatures_needed,
        order.signed_by.join(", "),
        order.expires_at,
        crate::authority::missing(authority, role, &order.signed_by),
    ))?;
    Ok(Exit::Waiting)
}
