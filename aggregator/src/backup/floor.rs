//! The floor in force, and what becomes of decisions about it. Pure: the record, the authority and the time come in.
//!
//! The settings may raise it, at once. Lower it goes only by a decision that as many operators signed as tier 3 takes,
//! and only after the old floor has passed since the last of them did; their signatures must count then, too. That time is
//! told by a clock that nobody sets, and only while this program runs: setting the machine's clock forward gains nothing.

pub(super) mod ledger;

use std::time::Duration;

use campanile_common::api::SignedText;
use campanile_common::authority::{Authority, FloorDocument, FloorDocumentError, Role, SignedFloor};
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{Record, StateError};

const DAY: Duration = Duration::from_secs(86_400);

/// A decision and who handed it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Decision {
    pub(super) signed: SignedText,
    pub(super) proposed_by: String,
    pub(super) proposed: Timestamp,
}

/// A decision with all its signatures, until it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) decision: Decision,
    /// When it had its last signature.
    pub(super) signed_at: Timestamp,
    /// How long this program ran since, in milliseconds.
    pub(super) passed_ms: u64,
    /// How long that must be.
    pub(super) needed_ms: u64,
}

/// What is remembered of the floor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FloorRecord {
    /// In force.
    pub(super) days: u32,
    /// Since when.
    pub(super) since: Timestamp,
    /// Number of the last decision that was settled, whichever way.
    pub(super) number: u64,
    /// Lacks signatures.
    pub(super) waiting: Option<Decision>,
    /// Lacks time.
    pub(super) pending: Option<Pending>,
}

impl Record for FloorRecord {}

/// Why a decision about the floor is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// It cannot be read or breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// No operator who may signed it.
    #[error("{0}")]
    Signatures(String),
    /// It is of another moment.
    #[error("{0}")]
    Stale(String),
    /// Another one waits.
    #[error("{0}")]
    Conflict(String),
    /// There is none.
    #[error("no decision about the floor waits{0}")]
    NotFound(String),
    /// The store failed.
    #[error("the decision about the floor cannot be stored")]
    State(#[from] StateError),
}

impl From<FloorDocumentError> for FloorError {
    fn from(error: FloorDocumentError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// What a decision has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    /// It waits for signatures.
    Waits,
    /// It has them, and waits for the old floor to pass.
    Pends,
    /// It is in force.
    InForce,
}

/// What time did to a decision that had all its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ripe {
    /// It is in force: from, to.
    InForce(u32, u32),
    /// Its signatures do not count any more.
    Lapsed(u32),
}

impl Decision {
    pub(super) fn signed(&self) -> SignedFloor {
        let (bytes, signatures) = self.signed.decode().unwrap_or_default();
        SignedFloor { bytes, signatures }
    }

    /// Read when it came.
    pub(super) fn document(&self) -> Option<FloorDocument> {
        self.signed().read().ok()
    }
}

impl FloorRecord {
    /// Of a store that has none: the settings' floor is in force.
    pub(super) const fn first(days: u32, now: Timestamp) -> Self {
        Self { days, since: now, number: 0, waiting: None, pending: None }
    }

    /// The settings as the program starts: a higher floor counts at once, and decisions that began at the lower one are
    /// none any more. True when it did.
    pub(super) fn raise(&mut self, settings_days: u32, now: Timestamp) -> bool {
        if settings_days <= self.days {
            return false;
        }
        (self.days, self.since) = (settings_days, now);
        self.drop_decisions();
        true
    }

    fn drop_decisions(&mut self) {
        let numbers = [
            self.waiting.take().and_then(|decision| decision.document()),
            self.pending.take().and_then(|pending| pending.decision.document()),
        ];
        let highest = numbers.into_iter().flatten().map(|document| document.number).max();
        self.number = self.number.max(highest.unwrap_or(0));
    }

    /// Number of the next decision.
    pub(super) fn next_number(&self) -> u64 {
        let pending = self.pending.as_ref().and_then(|pending| pending.decision.document());
        self.number.max(pending.map_or(0, |document| document.number)) + 1
    }

    /// Takes a decision, or further signatures for the one that waits.
    pub(super) fn take(
        &mut self,
        mut signed: SignedFloor,
        authority: &Authority,
        actor: &str,
        now: Timestamp,
    ) -> Result<Taken, FloorError> {
        let document = signed.read()?;
        self.check(&document, authority, now)?;
        let waiting =
            self.waiting.take_if(|waiting| waiting.document().is_none_or(|known| known.expires <= now));
        drop(waiting);
        let mut decision =
            Decision { signed: SignedText::new(&[], &[]), proposed_by: actor.to_owned(), proposed: now };
        if let Some(waiting) = &self.waiting {
            let known = waiting.signed();
            if known.bytes != signed.bytes {
                return Err(FloorError::Conflict(
                    "another decision about the floor waits: `campanile approve ls` shows it, `campanile backup floor \
                     withdraw` drops it"
                        .to_owned(),
                ));
            }
            signed.signatures.extend(known.signatures);
            decision.clone_from(waiting);
        }
        signed.keep_counting(authority);
        let (found, needed) = (signed.signers(authority).len(), authority.threshold(Role::Critical));
        if found == 0 {
            let reason = "no operator of the authority in force who may decide in tier 3 validly signed it";
            return Err(FloorError::Signatures(reason.to_owned()));
        }
        decision.signed = SignedText::new(&signed.bytes, &signed.signatures);
        if found < needed {
            self.waiting = Some(decision);
            return Ok(Taken::Waits);
        }
        self.waiting = None;
        if document.days > self.days {
            (self.days, self.since) = (document.days, now);
            self.drop_decisions();
            self.number = self.number.max(document.number);
            return Ok(Taken::InForce);
        }
        let needed_ms = u64::try_from((DAY * self.days).as_millis()).unwrap_or(u64::MAX);
        self.pending = Some(Pending { decision, signed_at: now, passed_ms: 0, needed_ms });
        Ok(Taken::Pends)
    }

    fn check(
        &self,
        document: &FloorDocument,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<(), FloorError> {
        let ours = authority.document();
        if document.fleet != ours.fleet {
            return Err(FloorError::Invalid(format!(
                "it is of fleet {}, ours is {}",
                document.fleet, ours.fleet
            )));
        }
        if ours.expires <= now {
            return Err(FloorError::Invalid(
                "the authority has expired; operators sign its next version".to_owned(),
            ));
        }
        if document.expires <= now {
            return Err(FloorError::Stale("it has expired".to_owned()));
        }
        if document.number != self.next_number() || document.from_days != self.days {
            return Err(FloorError::Stale(format!(
                "it is number {} and begins at a floor of {} days; next is number {} from {} days",
                document.number,
                document.from_days,
                self.next_number(),
                self.days
            )));
        }
        Ok(())
    }

    /// Drops what waits, for signatures or for its time; how low it would have been.
    pub(super) fn withdraw(&mut self) -> Result<u32, FloorError> {
        let waiting = self.waiting.as_ref().and_then(Decision::document);
        let pending = self.pending.as_ref().and_then(|pending| pending.decision.document());
        let Some(document) = waiting.or(pending) else { return Err(FloorError::NotFound(String::new())) };
        self.drop_decisions();
        Ok(document.days)
    }

    /// So much time has passed while this program ran.
    pub(super) fn pass(&mut self, time: Duration, authority: &Authority, now: Timestamp) -> Option<Ripe> {
        let pending = self.pending.as_mut()?;
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        pending.passed_ms = pending.passed_ms.saturating_add(millis);
        if pending.passed_ms < pending.needed_ms {
            return None;
        }
        let pending = self.pending.take()?;
        let document = pending.decision.document()?;
        self.number = self.number.max(document.number);
        if pending.decision.signed().signers(authority).len() < authority.threshold(Role::Critical) {
            return Some(Ripe::Lapsed(document.days));
        }
        let before = self.days;
        (self.days, self.since) = (document.days, now);
        Some(Ripe::InForce(before, document.days))
    }
}

#[cfg(test)]
mod tests;
