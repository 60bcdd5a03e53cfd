//! The one place that decides whether a node carries out an order. Pure: everything it looks at is an argument.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::action::{Action, Command};
use super::catalogue::Catalogue;
use super::order::{Delivery, Order, OrderError, Standing, Targets, Tier};
use super::policy::Policy;
use super::{Authority, Role};
use crate::id::{Digest, NodeId, OrderId};
use crate::time::Timestamp;

/// Why a node does not carry out an order. Codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenialCode {
    /// It cannot be read or breaks a rule.
    Malformed,
    /// It is of another fleet.
    ForeignFleet,
    /// This node is not among its targets.
    NotTarget,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// It was signed under an authority that this node has not seen.
    AuthorityUnknown,
    /// The authority has expired.
    AuthorityExpired,
    /// Too few distinct operators have validly signed.
    Signatures,
    /// The catalogue does not permit it.
    Catalogue,
    /// A run of a standing order that is not due, or due no more.
    Occurrence,
    /// The policy's highest tier is lower.
    PolicyTier,
    /// The policy does not allow its class.
    PolicyClass,
    /// The policy does not list the unit.
    PolicyUnit,
    /// The policy does not take the command.
    PolicyCommand,
    /// The policy does not let commands run as this user.
    PolicyUser,
    /// The same id was used for another order.
    Replayed,
    /// The order of events says that this node's journal was set back.
    JournalSetBack,
    /// The generation of the configuration is not here, not signed, or older than one that was accepted.
    Generation,
    /// The journal cannot be written.
    Storage,
    /// Too many orders run here.
    Busy,
    /// The steward cannot be reached or is not set up.
    NoSteward,
}

impl DenialCode {
    /// The code as it is logged and documented.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::ForeignFleet => "foreign_fleet",
            Self::NotTarget => "not_target",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::AuthorityUnknown => "authority_unknown",
            Self::AuthorityExpired => "authority_expired",
            Self::Signatures => "signatures",
            Self::Catalogue => "catalogue",
            Self::Occurrence => "occurrence",
            Self::PolicyTier => "policy_tier",
            Self::PolicyClass => "policy_class",
            Self::PolicyUnit => "policy_unit",
            Self::PolicyCommand => "policy_command",
            Self::PolicyUser => "policy_user",
            Self::Replayed => "replayed",
            Self::JournalSetBack => "journal_set_back",
            Self::Generation => "generation",
            Self::Storage => "storage",
            Self::Busy => "busy",
            Self::NoSteward => "no_steward",
        }
    }
}

/// A refusal with its reason, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason} ({})", code.as_str())]
pub struct Denial {
    /// Stable code.
    pub code: DenialCode,
    /// What forbids it.
    pub reason: String,
}

/// Everything that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The authority in force, as this node followed it.
    pub authority: &'a Authority,
    /// The newest catalogue that this node accepted.
    pub catalogue: Option<&'a Catalogue>,
    /// The node's policy.
    pub policy: &'a Policy,
    /// The node.
    pub node: NodeId,
    /// As whom commands run that name nobody.
    pub steward_user: &'a str,
    /// The node's clock.
    pub now: Timestamp,
}

/// An order that this node may carry out now. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedOrder {
    order: Order,
    digest: Digest,
    occurrence: Option<Timestamp>,
    command: Option<Command>,
    operators: Vec<String>,
}

/// Names one execution: an order, and which run of it where it is a standing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId {
    /// The order.
    pub order: OrderId,
    /// Due time of the run, of a standing order.
    pub occurrence: Option<Timestamp>,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.occurrence {
            Some(occurrence) => write!(f, "{}@{occurrence}", self.order),
            None => write!(f, "{}", self.order),
        }
    }
}

impl VerifiedOrder {
    /// The order.
    pub const fn order(&self) -> &Order {
        &self.order
    }

    /// Digest of its bytes.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Which execution this is.
    pub const fn run(&self) -> RunId {
        RunId { order: self.order.id, occurrence: self.occurrence }
    }

    /// The command to run, of free commands and routines.
    pub const fn command(&self) -> Option<&Command> {
        self.command.as_ref()
    }

    /// Names of the operators whose signatures counted, in order of their names.
    pub fn operators(&self) -> &[String] {
        &self.operators
    }
}

/// Decides whether the node may carry out what was delivered. That it has not done so before is the journal's to say.
///
/// # Errors
/// The first reason against it.
pub fn verify(delivery: &Delivery, facts: &Facts<'_>) -> Result<VerifiedOrder, Denial> {
    let deny = |code, reason: String| Err(Denial { code, reason });
    let order = match delivery.order.read() {
        Ok(order) => order,
        Err(error @ (OrderError::Unreadable | OrderError::Invalid { .. })) => {
            return deny(DenialCode::Malformed, error.to_string());
        }
    };
    let document = facts.authority.document();
    if order.fleet != document.fleet {
        return deny(DenialCode::ForeignFleet, format!("the order is of fleet {}", order.fleet));
    }
    let is_target = match (&order.targets, &delivery.proof) {
        (Targets::Nodes(nodes), None) => nodes.binary_search(&facts.node).is_ok(),
        (Targets::Tree { root, nodes }, Some(proof)) => proof.holds(order.fleet, facts.node, *root, *nodes),
        (Targets::Nodes(_), Some(_)) | (Targets::Tree { .. }, None) => false,
    };
    if !is_target {
        return deny(DenialCode::NotTarget, "this node is not among the order's targets".to_owned());
    }
    check_time(&order, delivery.occurrence, facts.now)?;
    if order.authority_version > document.version {
        let (theirs, ours) = (order.authority_version, document.version);
        return deny(
            DenialCode::AuthorityUnknown,
            format!("it was ordered under authority version {theirs}, this node has seen version {ours}"),
        );
    }
    // Tier 1 is ordered without a signature of its own, but by a catalogue that hangs on the authority as well.
    if facts.now >= document.expires {
        return deny(
            DenialCode::AuthorityExpired,
            format!("the fleet's authority expired on {}; an operator must renew it", document.expires),
        );
    }
    let operators = check_signatures(&order, delivery, facts.authority)?;
    let command = command(&order, facts)?;
    facts.policy.permit(order.tier, &order.action, command.as_ref(), facts.steward_user)?;
    let digest = delivery.order.digest();
    Ok(VerifiedOrder { order, digest, occurrence: delivery.occurrence, command, operators })
}

fn check_time(order: &Order, occurrence: Option<Timestamp>, now: Timestamp) -> Result<(), Denial> {
    let clock = format!("this node's clock says {now}");
    let deny = |code, reason: String| Err(Denial { code, reason });
    if now < order.not_before {
        return deny(DenialCode::NotYetValid, format!("valid from {}, {clock}", order.not_before));
    }
    if now >= order.expires {
        return deny(DenialCode::Expired, format!("expired on {}, {clock}", order.expires));
    }
    match (order.standing, occurrence) {
        (None, None) => Ok(()),
        (Some(standing), Some(due)) => check_due(order, standing, due, now),
        (Some(_), None) => deny(DenialCode::Occurrence, "a standing order without a due time".to_owned()),
        (None, Some(_)) => deny(DenialCode::Occurrence, "a due time on an order that runs once".to_owned()),
    }
}

fn check_due(order: &Order, standing: Standing, due: Timestamp, now: Timestamp) -> Result<(), Denial> {
    let lateness = std::time::Duration::from_secs(standing.lateness_s.into());
    if due < order.not_before || due >= order.expires || now < due || now.since(due) > lateness {
        let reason = format!("the run due at {due} may not start at {now}");
        return Err(Denial { code: DenialCode::Occurrence, reason });
    }
    Ok(())
}

fn check_signatures(
    order: &Order,
    delivery: &Delivery,
    authority: &Authority,
) -> Result<Vec<String>, Denial> {
    let role = match order.tier {
        // The tier's rule is the catalogue's to keep.
        Tier::Observe | Tier::Routine => return Ok(Vec::new()),
        Tier::Change => Role::Change,
        Tier::Critical => Role::Critical,
    };
    let signers = delivery.order.signers(authority, role);
    let (found, needed) = (signers.len(), authority.threshold(role));
    if found < needed {
        return Err(Denial {
            code: DenialCode::Signatures,
            reason: format!(
                "an order of tier {} takes the signatures of {needed} operators, this one has {found}",
                order.tier
            ),
        });
    }
    let operators = &authority.document().operators;
    let mut names: Vec<String> =
        operators.iter().filter(|o| signers.contains(&o.key.id())).map(|o| o.name.clone()).collect();
    names.sort();
    Ok(names)
}

/// The command an order stands for; checks what the catalogue has to say.
fn command(order: &Order, facts: &Facts<'_>) -> Result<Option<Command>, Denial> {
    let deny = |reason: String| Err(Denial { code: DenialCode::Catalogue, reason });
    let catalogue = facts
        .catalogue
        .filter(|catalogue| catalogue.is_verified_under(facts.authority))
        .filter(|catalogue| facts.now < catalogue.document().expires);
    match &order.action {
        Action::Run(command) => Ok(Some(command.clone())),
        Action::Cancel { .. } | Action::Config { .. } | Action::Backup(_) => Ok(None),
        Action::Service { verb, unit, .. } => {
            if order.tier > Tier::Routine {
                return Ok(None);
            }
            let Some(catalogue) = catalogue else {
                return deny("this node has no catalogue in force".to_owned());
            };
            if !catalogue.document().permits_service(*verb, unit) {
                return deny(format!("the catalogue does not permit `{} {unit}`", verb.as_str()));
            }
            Ok(None)
        }
        Action::Routine { catalogue: version, name, arguments } => {
            let Some(catalogue) = catalogue else {
                return deny("this node has no catalogue in force".to_owned());
            };
            let ours = catalogue.document().version;
            if *version != ours {
                return deny(format!(
                    "ordered from catalogue version {version}, this node has version {ours}"
                ));
            }
            catalogue.expand(name, arguments).map(Some).or_else(|error| deny(error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests;
