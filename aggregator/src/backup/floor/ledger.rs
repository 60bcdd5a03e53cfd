//! The floor as it is stored, and its handle: every change is one commit with its entry in the audit log.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use campanile_common::api::{AuditOutcome, FloorPending, FloorStanding, Proposal, ProposalKind, Submitted};
use campanile_common::authority::{Authority, Role, Signature, SignedFloor};
use campanile_common::backup::Retention;
use campanile_common::time::Timestamp;

use super::super::handle::BackupStore;
use super::{Decision, FloorError, FloorRecord, Ripe, Taken};
use crate::audit::{Audit, Record};
use crate::state::{
    Committed, Compare, Keys, Revision, StateError, Store, Transaction, Write, read_json, to_json,
};

/// How often the time that has passed is made durable: so much of it is lost by a restart, which makes nothing go early.
const PASSED_STEP: Duration = Duration::from_secs(600);
const TARGET: &str = "backup/floor";

/// The floor, as it was last committed.
#[derive(Debug)]
pub(in crate::backup) struct Floor {
    key: String,
    settings_days: u32,
    known: RwLock<FloorRecord>,
    /// Changes take turns; the time that is not stored yet.
    turn: tokio::sync::Mutex<(Revision, Duration)>,
}

impl Floor {
    /// Reads the floor in force; without one, that of the settings is. A higher one in the settings counts at once.
    pub(in crate::backup) async fn open(
        (store, keys): (&Store, &Keys),
        settings_days: u32,
        now: Timestamp,
    ) -> Result<Self, StateError> {
        let key = keys.of("backup-floor", "fleet");
        let (mut record, mut compare) = match read_json::<FloorRecord>(&**store, &key).await? {
            Some((record, revision)) => (record, Some(revision)),
            None => (FloorRecord::first(settings_days, now), None),
        };
        let before = record.days;
        if record.raise(settings_days, now) {
            tracing::warn!(before, days = settings_days, "the settings raise the floor of backups");
        } else if settings_days < record.days {
            tracing::warn!(
                days = record.days,
                settings = settings_days,
                "the settings say a lower floor of backups than is in force; it takes operators to lower it: \
                 `campanile backup floor set {settings_days}`"
            );
        }
        let is_stored = compare.is_some() && record.days == before;
        let revision = match compare.take() {
            Some(revision) if is_stored => revision,
            known => {
                let compare = match known {
                    Some(revision) => Compare::At(key.clone(), revision),
                    None => Compare::Absent(key.clone()),
                };
                let writes = vec![Write::put(key.clone(), to_json(&record))];
                match store.commit(Transaction { compares: vec![compare], writes }).await? {
                    Committed::Done(revision) => revision,
                    Committed::Conflict => {
                        let detail = "it was changed while it was read".to_owned();
                        return Err(StateError::Unreadable { key, detail });
                    }
                }
            }
        };
        let turn = tokio::sync::Mutex::new((revision, Duration::ZERO));
        Ok(Self { key, settings_days, known: RwLock::new(record), turn })
    }

    fn record(&self) -> FloorRecord {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, record: FloorRecord) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = record;
    }

    /// Nothing younger goes.
    pub(in crate::backup) fn days(&self) -> u32 {
        self.known.read().unwrap_or_else(PoisonError::into_inner).days
    }

    async fn put(
        &self,
        audit: &Audit,
        revision: &mut Revision,
        record: FloorRecord,
        entry: Record,
    ) -> Result<(), FloorError> {
        let compare = Compare::At(self.key.clone(), *revision);
        let write = Write::put(self.key.clone(), to_json(&record));
        match audit.commit(vec![compare], vec![write], entry).await? {
            Committed::Done(done) => *revision = done,
            Committed::Conflict => {
                let reason = "somebody else changed the floor at the same moment; look again";
                return Err(FloorError::Conflict(reason.to_owned()));
            }
        }
        self.show(record);
        Ok(())
    }
}

fn entry(actor: &str, action: &'static str, outcome: AuditOutcome, detail: String) -> Record {
    Record { actor: actor.to_owned(), action, target: TARGET.to_owned(), outcome, detail }
}

fn id(number: u64) -> String {
    format!("floor-{number}")
}

fn names(signed: &SignedFloor, authority: &Authority) -> Vec<String> {
    let keys = signed.signers(authority);
    let operators = authority.document().operators.iter();
    operators
        .filter(|operator| keys.contains(&operator.key.id()))
        .map(|operator| operator.name.clone())
        .collect()
}

fn needed(authority: &Authority) -> u16 {
    u16::try_from(authority.threshold(Role::Critical)).unwrap_or(u16::MAX)
}

impl BackupStore {
    /// What every node keeps, with the floor that is in force.
    pub fn retention(&self) -> Retention {
        Retention { floor_days: self.shared.floor.days(), ..self.shared.settings.retention }
    }

    /// How the floor stands.
    pub fn floor(&self, authority: &Authority) -> FloorStanding {
        let (floor, now) = (&self.shared.floor, self.shared.clock.now());
        let record = floor.record();
        let pending = record.pending.as_ref().and_then(|pending| {
            let left = Duration::from_millis(pending.needed_ms.saturating_sub(pending.passed_ms));
            Some(FloorPending {
                days: pending.decision.document()?.days,
                signed_by: names(&pending.decision.signed(), authority),
                signed_at: pending.signed_at,
                counts_at: now + left,
            })
        });
        FloorStanding {
            days: record.days,
            since: record.since,
            settings_days: floor.settings_days,
            next_number: record.next_number(),
            pending,
            waiting: self.floor_proposal(authority),
        }
    }

    /// The decision that lacks signatures.
    pub fn floor_proposal(&self, authority: &Authority) -> Option<Proposal> {
        let record = self.shared.floor.record();
        let Decision { signed: text, proposed_by, proposed } = record.waiting.clone()?;
        let signed = record.waiting?.signed();
        let document = signed.read().ok().filter(|document| self.shared.clock.now() < document.expires)?;
        Some(Proposal {
            id: id(document.number),
            kind: ProposalKind::Floor,
            summary: format!("floor of backups from {} to {} days", document.from_days, document.days),
            proposed_by,
            proposed_at: proposed,
            expires_at: document.expires,
            signed_by: names(&signed, authority),
            signatures_needed: needed(authority),
            signed: text,
        })
    }

    /// Takes a decision about the floor, or further signatures for the one that waits.
    ///
    /// # Errors
    /// When it is not of this moment, no operator signed it who may, or it cannot be stored.
    pub async fn decide_floor(
        &self,
        actor: &str,
        signed: SignedFloor,
        authority: &Authority,
    ) -> Result<Submitted, FloorError> {
        let (floor, now) = (&self.shared.floor, self.shared.clock.now());
        let mut turn = floor.turn.lock().await;
        let mut record = floor.record();
        let document = signed.read()?;
        let mut all = signed.clone();
        let known = record.waiting.as_ref().map(Decision::signed).filter(|known| known.bytes == signed.bytes);
        all.signatures.extend(known.into_iter().flat_map(|known| known.signatures));
        let signed_by = names(&all, authority);
        let taken = record.take(signed, authority, actor, now)?;
        let action = match taken {
            Taken::Waits => "backup.floor-propose",
            Taken::Pends => "backup.floor-decide",
            Taken::InForce => "backup.floor",
        };
        let detail = format!(
            "from {} to {} days; signed by {}",
            document.from_days,
            document.days,
            signed_by.join(", ")
        );
        tracing::warn!(actor, action, detail, "the floor of backups");
        floor
            .put(&self.shared.audit, &mut turn.0, record, entry(actor, action, AuditOutcome::Ok, detail))
            .await?;
        if taken == Taken::Pends {
            turn.1 = Duration::ZERO;
        }
        Ok(Submitted {
            in_force: taken != Taken::Waits,
            id: id(document.number),
            signed_by,
            signatures_needed: needed(authority),
        })
    }

    /// Adds a signature to the decision that waits under this name.
    ///
    /// # Errors
    /// When there is none, or as [`BackupStore::decide_floor`].
    pub async fn sign_floor(
        &self,
        actor: &str,
        name: &str,
        signature: Signature,
        authority: &Authority,
    ) -> Result<Submitted, FloorError> {
        let waiting = self.shared.floor.record().waiting.map(|waiting| waiting.signed());
        let is_it = |signed: &SignedFloor| signed.read().is_ok_and(|document| id(document.number) == name);
        let Some(mut signed) = waiting.filter(is_it) else {
            return Err(FloorError::NotFound(format!(" as `{name}`")));
        };
        let (key, before) = (signature.key, signed.signers(authority).len());
        signed.signatures.push(signature);
        let signers = signed.signers(authority);
        if signers.len() == before {
            let reason = if signers.contains(&key) {
                "this operator has signed it already"
            } else {
                "the signature is not valid, or not of an operator who may decide in tier 3"
            };
            return Err(FloorError::Signatures(reason.to_owned()));
        }
        self.decide_floor(actor, signed, authority).await
    }

    /// Drops the decision that waits, for signatures or for its time.
    ///
    /// # Errors
    /// When there is none, or it cannot be stored.
    pub async fn withdraw_floor(&self, actor: &str) -> Result<(), FloorError> {
        let floor = &self.shared.floor;
        let mut turn = floor.turn.lock().await;
        let mut record = floor.record();
        let days = record.withdraw()?;
        let detail = format!("to {days} days; {} days stay", record.days);
        let entry = entry(actor, "backup.floor-withdraw", AuditOutcome::Ok, detail);
        floor.put(&self.shared.audit, &mut turn.0, record, entry).await
    }

    /// So much time has passed while this program ran: a decision whose time has come counts.
    pub async fn pass_floor(&self, time: Duration, authority: &Authority) {
        let (floor, now) = (&self.shared.floor, self.shared.clock.now());
        let mut turn = floor.turn.lock().await;
        let mut record = floor.record();
        let Some(pending) = &record.pending else { return };
        let is_ripe =
            Duration::from_millis(pending.needed_ms.saturating_sub(pending.passed_ms)) <= turn.1 + time;
        turn.1 += time;
        if !is_ripe && turn.1 < PASSED_STEP {
            return;
        }
        let ripe = record.pass(turn.1, authority, now);
        let written = match ripe {
            None => {
                let compares = vec![Compare::At(floor.key.clone(), turn.0)];
                let writes = vec![Write::put(floor.key.clone(), to_json(&record))];
                let store = &self.shared.ledger.store;
                match store.commit(Transaction { compares, writes }).await {
                    Ok(Committed::Done(revision)) => {
                        turn.0 = revision;
                        floor.show(record);
                        Ok(())
                    }
                    Ok(Committed::Conflict) => {
                        Err(FloorError::Conflict("it was changed elsewhere".to_owned()))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Some(ripe) => {
                let (action, outcome, detail) = match ripe {
                    Ripe::InForce(from, to) => (
                        "backup.floor",
                        AuditOutcome::Ok,
                        format!("from {from} to {to} days: the old floor has passed"),
                    ),
                    Ripe::Lapsed(days) => {
                        let why = "its signatures do not count under the authority in force";
                        ("backup.floor-lapse", AuditOutcome::Failed, format!("to {days} days: {why}"))
                    }
                };
                tracing::warn!(action, detail, "the floor of backups");
                let entry = entry("aggregator", action, outcome, detail);
                floor.put(&self.shared.audit, &mut turn.0, record, entry).await
            }
        };
        match written {
            Ok(()) => turn.1 = Duration::ZERO,
            Err(error) => {
                tracing::warn!(%error, "how far a decision about the floor is was not stored; tried again")
            }
        }
    }
}
