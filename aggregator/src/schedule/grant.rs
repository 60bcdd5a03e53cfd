//! Whether a grant carries a schedule. Pure; the nodes decide for themselves at every run.

use std::time::Duration;

use campanile_common::authority::{
    Action, Authority, Catalogue, Order, Role, SignedOrder, Standing, TargetTree, Targets, Tier,
};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;

use super::ScheduleError;
use super::when::When;

/// What a grant is held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) authority: &'a Authority,
    pub(super) catalogue: Option<&'a Catalogue>,
    pub(super) when: &'a When,
    /// The leaves, where the targets are a tree.
    pub(super) nodes: &'a [NodeId],
    pub(super) splay: Duration,
    pub(super) now: Timestamp,
}

/// A grant that carries a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) order: Order,
    pub(super) standing: Standing,
    /// Operators who signed, by name.
    pub(super) signed_by: Vec<String>,
}

/// Nodes that an order is for, where it lists them or `leaves` are those of its tree.
pub(super) fn targets<'a>(order: &'a Order, leaves: &'a [NodeId]) -> Option<&'a [NodeId]> {
    match &order.targets {
        Targets::Nodes(nodes) => leaves.is_empty().then_some(nodes.as_slice()),
        Targets::Tree { root, nodes } => {
            let is_rising = leaves.is_sorted_by(|a, b| a < b);
            let tree = TargetTree::new(order.fleet, leaves.iter().copied())?;
            (is_rising && tree.root() == *root && u32::try_from(leaves.len()) == Ok(*nodes)).then_some(leaves)
        }
    }
}

/// Checks a grant for a schedule.
///
/// # Errors
/// The first reason why nodes would refuse its runs.
pub(super) fn check(grant: &SignedOrder, facts: &Facts<'_>) -> Result<Checked, ScheduleError> {
    let invalid = |reason: String| Err(ScheduleError::Invalid(reason));
    let order = grant.read().map_err(|error| ScheduleError::Invalid(format!("the grant: {error}")))?;
    let document = facts.authority.document();
    if order.fleet != document.fleet {
        return invalid(format!("the grant is of fleet {}, this is {}", order.fleet, document.fleet));
    }
    if order.authority_version > document.version {
        let (theirs, ours) = (order.authority_version, document.version);
        return invalid(format!("the grant is of authority version {theirs}, in force is version {ours}"));
    }
    let Some(standing) = order.standing else {
        return invalid("the grant is no standing order: it would run once".to_owned());
    };
    if order.expires <= facts.now {
        return invalid(format!("the grant expired on {}", order.expires));
    }
    if targets(&order, facts.nodes).is_none() {
        return invalid(
            "`nodes` must be the leaves of the grant's tree, ascending; empty without one".to_owned(),
        );
    }
    check_interval(standing, facts)?;
    check_catalogue(&order, facts)?;
    let signed_by = check_signatures(grant, &order, facts.authority)?;
    Ok(Checked { order, standing, signed_by })
}

fn check_interval(standing: Standing, facts: &Facts<'_>) -> Result<(), ScheduleError> {
    let Some(shortest) = facts.when.shortest_interval(facts.now) else { return Ok(()) };
    if shortest < Duration::from_secs(standing.interval_s.into()) {
        return Err(ScheduleError::Invalid(format!(
            "some runs would be due {} s after each other (clocks may change), but the grant wants {} s between two; \
             sign it with that interval, or be due less often",
            shortest.as_secs(),
            standing.interval_s
        )));
    }
    if facts.splay > Duration::from_secs(standing.lateness_s.into()) {
        return Err(ScheduleError::Invalid(format!(
            "with a splay of {} s some nodes would start later than the {} s after the due time that the grant allows",
            facts.splay.as_secs(),
            standing.lateness_s
        )));
    }
    Ok(())
}

/// Without a signature of its own, an order is what the catalogue permits.
fn check_catalogue(order: &Order, facts: &Facts<'_>) -> Result<(), ScheduleError> {
    let invalid = |reason: String| Err(ScheduleError::Invalid(reason));
    // What a backup does is in signed policies: its order names no command.
    let is_backup = matches!(order.action, Action::Backup(_));
    let is_needed = order.tier <= Tier::Routine || matches!(order.action, Action::Routine { .. });
    if is_backup || !is_needed {
        return Ok(());
    }
    let Some(catalogue) = facts.catalogue.filter(|catalogue| facts.now < catalogue.document().expires) else {
        return invalid("there is no catalogue in force, which tier 1 needs".to_owned());
    };
    match &order.action {
        Action::Routine { catalogue: version, name, arguments } => {
            let ours = catalogue.document().version;
            if *version != ours {
                return invalid(format!("the grant is of catalogue version {version}, in force is {ours}"));
            }
            catalogue.expand(name, arguments).map(drop).or_else(|error| invalid(error.to_string()))
        }
        Action::Service { verb, unit, .. } if !catalogue.document().permits_service(*verb, unit) => {
            invalid(format!("the catalogue does not permit `{} {unit}` without a signature", verb.as_str()))
        }
        Action::Service { .. }
        | Action::Run(_)
        | Action::Cancel { .. }
        | Action::Config { .. }
        | Action::Backup(_) => Ok(()),
    }
}

fn check_signatures(
    grant: &SignedOrder,
    order: &Order,
    authority: &Authority,
) -> Result<Vec<String>, ScheduleError> {
    let role = match order.tier {
        Tier::Observe | Tier::Routine => return Ok(Vec::new()),
        Tier::Change => Role::Change,
        Tier::Critical => Role::Critical,
    };
    let signers = grant.signers(authority, role);
    let (found, needed) = (signers.len(), authority.threshold(role));
    if found < needed {
        return Err(ScheduleError::Signatures(format!(
            "the grant carries {found} valid signatures of distinct operators, tier {} takes {needed}",
            order.tier
        )));
    }
    let operators = authority.document().operators.iter();
    let mut names: Vec<String> =
        operators.filter(|o| signers.contains(&o.key.id())).map(|o| o.name.clone()).collect();
    names.sort();
    Ok(names)
}
