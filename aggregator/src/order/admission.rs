//! Whether an order may be submitted: everything that can be told before a node is asked. Pure.
//!
//! None of this protects a node, which checks all of it itself; it gives whoever orders a clear answer at once.

use campanile_common::api::{DispatchOptions, OrderRequest, SignedText};
use campanile_common::authority::{
    Action, Authority, Catalogue, ConfigMode, Order, Role, SignedOrder, TARGETS_LISTED_MAX, TargetTree,
    Targets, Tier,
};
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;

use super::OrderError;
use super::plan::{Rules, WORD_TIMEOUT, until_undone};

/// Most targets of one order; their ids are stored in one record of it.
pub const TARGETS_MAX: usize = 16_384;
/// Longest pause between waves, in seconds.
const WAVE_PAUSE_S_MAX: u32 = 86_400;
/// Most waves of one order.
const WAVES_MAX: usize = 64;

/// What decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The authority in force.
    pub(super) authority: &'a Authority,
    /// The catalogue in force.
    pub(super) catalogue: Option<&'a Catalogue>,
    /// The time.
    pub(super) now: Timestamp,
    /// Due time, of a run of a standing order.
    pub(super) occurrence: Option<Timestamp>,
}

/// An order that may be submitted.
#[derive(Debug, Clone)]
pub struct Draft {
    pub(super) order: Order,
    pub(super) signed: SignedText,
    pub(super) leaves: Vec<NodeId>,
    pub(super) dispatch: DispatchOptions,
    pub(super) signers: Vec<Signer>,
    pub(super) needed: u16,
}

/// An operator whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signer {
    pub(super) operator: String,
    pub(super) key: Digest,
}

impl Draft {
    /// What was signed.
    pub const fn order(&self) -> &Order {
        &self.order
    }

    /// It lacks signatures, and waits for them once it is submitted.
    pub fn is_proposal(&self) -> bool {
        self.signers.len() < usize::from(self.needed)
    }

    /// The node whose files it has others restore, if it does.
    pub const fn source(&self) -> Option<NodeId> {
        match &self.order.action {
            Action::Backup(backup) => backup.source(),
            Action::Run(_)
            | Action::Routine { .. }
            | Action::Service { .. }
            | Action::Cancel { .. }
            | Action::Config { .. } => None,
        }
    }

    /// Its targets, in ascending order.
    pub fn nodes(&self) -> &[NodeId] {
        targets(&self.order, &self.leaves)
    }
}

/// The targets of an order, in ascending order.
pub(super) fn targets<'a>(order: &'a Order, leaves: &'a [NodeId]) -> &'a [NodeId] {
    match &order.targets {
        Targets::Nodes(nodes) => nodes,
        Targets::Tree { .. } => leaves,
    }
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, OrderError> {
    Err(OrderError::Invalid(reason.into()))
}

/// Reads and checks what somebody wants to submit.
///
/// # Errors
/// With the first reason against it.
pub(super) fn admit(request: &OrderRequest, facts: &Facts<'_>) -> Result<Draft, OrderError> {
    let Some((bytes, signatures)) = request.order.decode() else {
        return invalid("the order is no base64");
    };
    let signed = SignedOrder { bytes, signatures };
    let order = signed.read().map_err(|error| OrderError::Invalid(error.to_string()))?;
    let document = facts.authority.document();
    if order.fleet != document.fleet {
        return invalid(format!("the order is of fleet {}, this is fleet {}", order.fleet, document.fleet));
    }
    if order.authority_version != document.version {
        let (theirs, ours) = (order.authority_version, document.version);
        return Err(OrderError::Stale(format!(
            "the order was made under authority version {theirs}, version {ours} is in force; make it anew"
        )));
    }
    if facts.now >= document.expires {
        return Err(OrderError::Signatures(format!(
            "the fleet's authority expired on {}; an operator must renew it",
            document.expires
        )));
    }
    check_time(&order, facts)?;
    check_catalogue(&order, facts)?;
    rules(&order, &request.dispatch, facts.occurrence)?;
    let leaves = leaves(&order, &request.nodes)?;
    let (signers, needed) = signers(&order, &signed, facts.authority)?;
    let signed = SignedText::new(&signed.bytes, &signed.signatures);
    Ok(Draft { order, signed, leaves, dispatch: request.dispatch.clone(), signers, needed })
}

fn check_time(order: &Order, facts: &Facts<'_>) -> Result<(), OrderError> {
    let now = facts.now;
    match (order.standing, facts.occurrence) {
        (None, None) => {}
        (Some(_), Some(due)) => {
            if due < order.not_before || due >= order.expires {
                return invalid(format!("the standing order permits no run due at {due}"));
            }
        }
        (Some(_), None) => {
            return invalid("a standing order runs by a schedule: give it to one instead of submitting it");
        }
        (None, Some(_)) => return invalid("an order that runs once has no due times"),
    }
    let end = end(order, facts.occurrence);
    if now >= end {
        return invalid(format!("the order expired on {end}; make it anew"));
    }
    Ok(())
}

/// Until when it may be started.
fn end(order: &Order, occurrence: Option<Timestamp>) -> Timestamp {
    match (order.standing, occurrence) {
        (Some(standing), Some(due)) => {
            let lateness = std::time::Duration::from_secs(standing.lateness_s.into());
            order.expires.min(due + lateness + std::time::Duration::from_millis(1))
        }
        _ => order.expires,
    }
}

fn check_catalogue(order: &Order, facts: &Facts<'_>) -> Result<(), OrderError> {
    let catalogue = facts.catalogue.filter(|catalogue| facts.now < catalogue.document().expires);
    let missing =
        || OrderError::Invalid("there is no catalogue in force; push one, or sign it as a change".to_owned());
    match &order.action {
        Action::Run(_) | Action::Cancel { .. } | Action::Config { .. } | Action::Backup(_) => Ok(()),
        Action::Routine { catalogue: version, name, arguments } => {
            let catalogue = catalogue.ok_or_else(missing)?;
            let ours = catalogue.document().version;
            if *version != ours {
                return Err(OrderError::Stale(format!(
                    "ordered from catalogue version {version}, version {ours} is in force; order it anew"
                )));
            }
            catalogue
                .expand(name, arguments)
                .map(drop)
                .map_err(|error| OrderError::Invalid(error.to_string()))
        }
        Action::Service { .. } if order.tier > Tier::Routine => Ok(()),
        Action::Service { verb, unit, .. } => {
            if catalogue.ok_or_else(missing)?.document().permits_service(*verb, unit) {
                return Ok(());
            }
            invalid(format!("the catalogue does not permit `{} {unit}`; sign it as a change", verb.as_str()))
        }
    }
}

fn leaves(order: &Order, nodes: &[NodeId]) -> Result<Vec<NodeId>, OrderError> {
    match &order.targets {
        Targets::Nodes(_) if nodes.is_empty() => Ok(Vec::new()),
        Targets::Nodes(_) => invalid("`nodes` goes with an order whose targets are a tree"),
        Targets::Tree { root, nodes: count } => {
            if nodes.len() > TARGETS_MAX {
                return invalid(format!("an order has at most {TARGETS_MAX} targets"));
            }
            let tree = TargetTree::new(order.fleet, nodes.iter().copied());
            match tree {
                Some(tree) if tree.root() == *root && u32::try_from(tree.nodes().len()) == Ok(*count) => {
                    Ok(tree.nodes().to_vec())
                }
                _ => invalid(format!(
                    "`nodes` are not the targets that were signed; up to {TARGETS_LISTED_MAX} may be listed instead"
                )),
            }
        }
    }
}

/// The role that signs at this tier; none where no signature is needed.
pub(super) const fn role(tier: Tier) -> Option<Role> {
    match tier {
        Tier::Observe | Tier::Routine => None,
        Tier::Change => Some(Role::Change),
        Tier::Critical => Some(Role::Critical),
    }
}

/// Whose signatures count, and how many are needed.
///
/// # Errors
/// When one does not count, or there is none where some are needed, or too few of an order that takes only one.
pub(super) fn signers(
    order: &Order,
    signed: &SignedOrder,
    authority: &Authority,
) -> Result<(Vec<Signer>, u16), OrderError> {
    let Some(role) = role(order.tier) else { return Ok((Vec::new(), 0)) };
    let counted = signed.signers(authority, role);
    if let Some(signature) = signed.signatures.iter().find(|signature| !counted.contains(&signature.key)) {
        return Err(OrderError::Signatures(format!(
            "the signature of key {} does not count: the key is no operator's with role {role:?}, or the signature is \
             of other bytes",
            &signature.key.to_string()[..16]
        )));
    }
    let needed = authority.threshold(role);
    if counted.is_empty() {
        return Err(OrderError::Signatures(format!(
            "an order of tier {} takes the signatures of {needed} operators, this one has none",
            order.tier
        )));
    }
    let operators = &authority.document().operators;
    let mut signers: Vec<Signer> = operators
        .iter()
        .filter(|operator| counted.contains(&operator.key.id()))
        .map(|operator| Signer { operator: operator.name.clone(), key: operator.key.id() })
        .collect();
    signers.sort_by(|a, b| a.operator.cmp(&b.operator));
    Ok((signers, u16::try_from(needed).unwrap_or(u16::MAX)))
}

/// How the order is to be spread over its targets.
///
/// # Errors
/// When an option cannot be used.
pub(super) fn rules(
    order: &Order,
    dispatch: &DispatchOptions,
    occurrence: Option<Timestamp>,
) -> Result<Rules, OrderError> {
    if dispatch.wave_pause_s > WAVE_PAUSE_S_MAX {
        return invalid(format!("`wavePauseS` is {WAVE_PAUSE_S_MAX} at most"));
    }
    if dispatch.parallel == Some(0) {
        return invalid("`parallel` must be at least 1");
    }
    let count = match &order.targets {
        Targets::Nodes(nodes) => u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        Targets::Tree { nodes, .. } => *nodes,
    };
    Ok(Rules {
        parallel: dispatch.parallel,
        batch: dispatch.batch.as_deref().map(|batch| batch_size(batch, count)).transpose()?,
        max_fail: dispatch.max_fail,
        waves: waves(&dispatch.waves, count)?,
        wave_pause: std::time::Duration::from_secs(dispatch.wave_pause_s.into()),
        queue: dispatch.queue,
        not_before: occurrence.unwrap_or(order.not_before),
        expires: end(order, occurrence),
        timeout: std::time::Duration::from_millis(order.limits.timeout_ms.into()),
        absence: absence(&order.action),
    })
}

/// How long a node that is at work may be out of reach: one that applies a configuration may have cut itself off, and is
/// back when it has undone that.
fn absence(action: &Action) -> std::time::Duration {
    match action {
        Action::Config { mode: ConfigMode::Apply { confirm_within_s, .. }, .. } => {
            until_undone(std::time::Duration::from_secs((*confirm_within_s).into()))
        }
        _ => WORD_TIMEOUT,
    }
}

/// `10`, or `25%` of so many, rounded up so that no share is none.
fn batch_size(text: &str, count: u32) -> Result<u32, OrderError> {
    let size = match text.strip_suffix('%') {
        Some(share) => share.parse::<u32>().ok().filter(|share| (1..=100).contains(share)).map(|share| {
            let part = (u64::from(count) * u64::from(share)).div_ceil(100);
            u32::try_from(part).unwrap_or(u32::MAX).max(1)
        }),
        None => text.parse::<u32>().ok().filter(|size| *size > 0),
    };
    size.map_or_else(
        || invalid(format!("`batch` is `{text}`; give a number of nodes, or a share from 1% to 100%")),
        Ok,
    )
}

/// How many targets are reached at the end of each wave; each more than the one before, the last all of them.
fn waves(texts: &[String], count: u32) -> Result<Vec<usize>, OrderError> {
    if texts.len() > WAVES_MAX {
        return invalid(format!("`waves` has at most {WAVES_MAX} entries"));
    }
    let mut ends: Vec<usize> = Vec::new();
    for text in texts {
        let Ok(end) = batch_size(text, count) else {
            return invalid(format!(
                "`waves` has `{text}`; give numbers of nodes, or shares from 1% to 100%"
            ));
        };
        let end = end.min(count) as usize;
        match ends.last() {
            Some(last) if end < *last => {
                return invalid(format!("`waves` has `{text}` behind more than that; each is of all nodes"));
            }
            // In a small fleet two shares may come to the same nodes.
            Some(last) if end == *last => {}
            _ => ends.push(end),
        }
    }
    if ends.last().is_some_and(|last| *last < count as usize) {
        ends.push(count as usize);
    }
    Ok(ends)
}

#[cfg(test)]
mod tests;
