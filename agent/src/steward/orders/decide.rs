//! What becomes of a delivery. Everything it looks at is an argument; nothing is done here.

use std::time::Duration;

use campanile_common::authority::{
    Denial, DenialCode, Facts, Order, Policy, RunId, Standing, VerifiedOrder, verify,
};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::{Deliver, DeliveryMode};

use crate::steward::journal::{Journal, StandingMemory};
use crate::steward::pin::Pin;

/// Orders are made valid from a little before they are made, for nodes whose clocks are behind.
const VALID_BEFORE_MADE: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Decision {
    /// It is in the journal: tell what became of it.
    Known,
    /// It was never started, and shall not be.
    Unknown,
    /// Nobody knows whether it was started.
    Indeterminate(String),
    /// It is not carried out.
    Denied(Denial),
    /// It may start now.
    Accepted(Box<VerifiedOrder>),
}

/// What a decision depends on.
pub(super) struct Situation<'a> {
    pub(super) pin: Result<&'a Pin, String>,
    pub(super) policy: &'a Policy,
    /// What is wrong with the policy file.
    pub(super) policy_problem: Option<&'a str>,
    pub(super) steward_user: &'a str,
    pub(super) journal: Result<&'a Journal, &'a str>,
    /// When the journal was opened.
    pub(super) opened: Timestamp,
    pub(super) now: Timestamp,
}

fn denied(code: DenialCode, reason: impl Into<String>) -> Decision {
    Decision::Denied(Denial { code, reason: reason.into() })
}

/// Decides on one delivery of `order`, which is what its bytes say.
pub(super) fn decide(deliver: &Deliver, order: &Order, situation: &Situation<'_>) -> Decision {
    let digest = deliver.delivery.order.digest();
    let run = RunId { order: order.id, occurrence: deliver.delivery.occurrence };
    if let Ok(journal) = situation.journal {
        if journal.digest_of(order.id).is_some_and(|known| known != digest) {
            return denied(DenialCode::Replayed, "another order was received under this id before");
        }
        if journal.known(run).is_some() {
            return Decision::Known;
        }
    }
    let lost = lost_history(order, situation);
    match (deliver.mode, lost) {
        (DeliveryMode::Report, Some(reason)) => Decision::Indeterminate(reason),
        (DeliveryMode::Report, None) => Decision::Unknown,
        (DeliveryMode::Start, lost) => {
            let decision = decide_start(deliver, situation);
            match (&decision, lost) {
                (_, None) => decision,
                // What could never have been started for this node was not.
                (Decision::Denied(denial), Some(_)) if is_for_ever(denial.code) => decision,
                (_, Some(reason)) => Decision::Indeterminate(reason),
            }
        }
    }
}

/// Why it is not known here whether an order that is not in the journal was started, if so.
fn lost_history(order: &Order, situation: &Situation<'_>) -> Option<String> {
    match situation.journal {
        Ok(journal) => {
            let blind = journal.blind_before().filter(|blind| order.not_before < *blind)?;
            Some(format!("this node's journal was lost or set back before {blind}: it may have been started"))
        }
        Err(problem) => (order.not_before + VALID_BEFORE_MADE < situation.opened)
            .then(|| format!("it may have been started: {problem}")),
    }
}

const fn is_for_ever(code: DenialCode) -> bool {
    matches!(
        code,
        DenialCode::Malformed
            | DenialCode::ForeignFleet
            | DenialCode::NotTarget
            | DenialCode::Replayed
            | DenialCode::NoSteward
    )
}

fn decide_start(deliver: &Deliver, situation: &Situation<'_>) -> Decision {
    let pin = match &situation.pin {
        Ok(pin) => pin,
        Err(problem) => return denied(DenialCode::NoSteward, problem.clone()),
    };
    let facts = Facts {
        authority: &pin.authority,
        catalogue: pin.catalogue.as_ref(),
        policy: situation.policy,
        node: pin.node,
        steward_user: situation.steward_user,
        now: situation.now,
    };
    let verified = match verify(&deliver.delivery, &facts) {
        Ok(verified) => verified,
        Err(denial) => return Decision::Denied(explained(denial, situation.policy_problem)),
    };
    let journal = match situation.journal {
        Ok(journal) => journal,
        Err(problem) => return denied(DenialCode::Storage, problem),
    };
    let order = verified.order();
    if order.expires <= journal.forgotten() {
        let until = journal.forgotten();
        let reason = format!("orders that expire by {until} are forgotten here; is this node's clock right?");
        return denied(DenialCode::Expired, reason);
    }
    if let (Some(standing), Some(due), Some(memory)) =
        (order.standing, verified.run().occurrence, journal.standing(order.id))
        && let Err(reason) = check_due(standing, due, *memory)
    {
        return denied(DenialCode::Occurrence, reason);
    }
    Decision::Accepted(Box::new(verified))
}

/// A policy file that cannot be used is named as the reason for what it denies.
fn explained(denial: Denial, problem: Option<&str>) -> Denial {
    match (denial.code, problem) {
        (DenialCode::PolicyTier | DenialCode::PolicyClass, Some(problem)) => {
            Denial { reason: problem.to_owned(), ..denial }
        }
        _ => denial,
    }
}

fn check_due(standing: Standing, due: Timestamp, memory: StandingMemory) -> Result<(), String> {
    if memory.runs >= standing.runs_max {
        return Err(format!("it has run {} times, as often as it may", memory.runs));
    }
    let next = memory.last_due + Duration::from_secs(standing.interval_s.into());
    if due < next {
        return Err(format!("the run before was due at {}, the next may be at {next}", memory.last_due));
    }
    Ok(())
}
