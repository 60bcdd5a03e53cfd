//! Generations that wait for the signatures of further operators: listed, signed, withdrawn once another came first.

use std::sync::Arc;

use campanile_common::api::{AuditOutcome, GenerationSummary, Proposal, ProposalKind, SignedText, Submitted};
use campanile_common::authority::Signature;
use campanile_common::config::{Purpose, SignedGeneration};
use campanile_common::id::Digest;

use super::keep::{WAIT_MAX, WAITING_MAX};
use super::record::{GenerationRecord, generation_key};
use super::submit::{Expected, Handed};
use super::{Config, ConfigError};
use crate::audit::Record as AuditRecord;
use crate::state::Write;

/// Digits of the digest by which one is called.
const ID_DIGITS: usize = 16;
/// What its name begins with.
const ID_PREFIX: &str = "generation-";

/// What a generation that waits is called.
pub(super) fn id(digest: Digest) -> String {
    format!("{ID_PREFIX}{}", &digest.to_string()[..ID_DIGITS])
}

/// Refuses to take a generation for more than a proposal.
pub(super) fn lacking(summary: &GenerationSummary) -> ConfigError {
    ConfigError::Invalid(format!(
        "generation {} itself lacks {} signatures; `campanile approve sign {}` adds one",
        summary.number,
        summary.signatures_missing,
        id(summary.digest)
    ))
}

fn to_api(record: &GenerationRecord, signed: SignedText) -> Proposal {
    let verb = match record.purpose {
        Purpose::Draft => "plan",
        Purpose::Release => "release",
    };
    let why = if record.message.is_empty() { String::new() } else { format!(": {}", record.message) };
    Proposal {
        id: id(record.point.digest),
        kind: ProposalKind::Generation,
        summary: format!("{verb} generation {} for {} nodes{why}", record.point.number, record.members),
        proposed_by: record.submitted_by.clone(),
        proposed_at: record.submitted,
        expires_at: record.submitted + WAIT_MAX,
        signed_by: record.operators.clone(),
        signatures_needed: u16::try_from(record.signatures_needed).unwrap_or(u16::MAX),
        signed,
    }
}

impl Config {
    fn waiting(&self) -> Vec<Arc<GenerationRecord>> {
        let now = self.now();
        let known = self.known();
        let waits =
            |record: &&Arc<GenerationRecord>| record.is_waiting() && now < record.submitted + WAIT_MAX;
        known.generations.values().filter(waits).cloned().collect()
    }

    fn waiting_as(&self, name: &str) -> Result<Arc<GenerationRecord>, ConfigError> {
        let found = self.waiting().into_iter().find(|record| id(record.point.digest) == name);
        found.ok_or_else(|| ConfigError::NotFound(format!("no generation waits for signatures as {name}")))
    }

    /// Generations that wait for signatures, without their bytes.
    pub fn proposals(&self) -> Vec<Proposal> {
        self.waiting().iter().map(|record| to_api(record, SignedText::new(&[], &[]))).collect()
    }

    /// The one of this name with the bytes to sign; none where the name is no generation's.
    ///
    /// # Errors
    /// When none of this name waits, or its bytes cannot be read.
    pub async fn proposal(&self, name: &str) -> Result<Option<Proposal>, ConfigError> {
        if !name.starts_with(ID_PREFIX) {
            return Ok(None);
        }
        let record = self.waiting_as(name)?;
        let signed = SignedGeneration::decode(&self.read_part(record.signed).await?)?;
        Ok(Some(to_api(&record, SignedText::new(&signed.bytes, &signed.signatures))))
    }

    /// Adds an operator's signature. With the last one a release takes the place of the head that it was made on top
    /// of; where that is the head no more it is withdrawn.
    ///
    /// # Errors
    /// When none of this name waits, the signature does not count, or another release came first.
    pub async fn add_signature(
        &self,
        by: &str,
        name: &str,
        signature: Signature,
    ) -> Result<Submitted, ConfigError> {
        if *self.shared.with.is_frozen.borrow() {
            return Err(ConfigError::Frozen);
        }
        let mut turn = self.shared.turn.lock().await;
        let held = self.waiting_as(name)?;
        let before = Arc::clone(&held);
        let bytes = self.blocking(move |config| config.with_signature(&before, signature)).await?;
        let named = held.point.digest;
        let expected = held.parent.map_or(Expected::Nothing, Expected::Head);
        match self.take(&mut turn, Handed { named, bytes, expected, by }).await {
            Ok(summary) => Ok(Submitted {
                in_force: summary.signatures_missing == 0,
                id: name.to_owned(),
                signatures_needed: u16::try_from(summary.signatures_missing)
                    .unwrap_or(u16::MAX)
                    .saturating_add(u16::try_from(summary.operators.len()).unwrap_or(u16::MAX)),
                signed_by: summary.operators,
            }),
            Err(error @ (ConfigError::Conflict(_) | ConfigError::Stale(_))) => {
                self.withdraw(&held, by, &error).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The bytes of one that waits, with another signature that counts.
    fn with_signature(&self, held: &GenerationRecord, signature: Signature) -> Result<Vec<u8>, ConfigError> {
        let mut signed = SignedGeneration::decode(&self.parts().read(held.signed)?)?;
        let authority = Arc::clone(&self.shared.with.authority.borrow());
        let key = signature.key;
        if signed.signers(&authority).contains(&key) {
            let text = "this operator has signed already; it takes the signatures of distinct operators";
            return Err(ConfigError::Invalid(text.to_owned()));
        }
        signed.signatures.retain(|known| known.key != key);
        signed.signatures.push(signature);
        if signed.signers(&authority).contains(&key) {
            return Ok(signed.encode());
        }
        Err(ConfigError::Signatures(format!(
            "the signature of key {} does not count: the key is no operator's with the role for changes, or the \
             signature is of other bytes",
            &key.to_string()[..ID_DIGITS]
        )))
    }

    /// Lets go of one that can never be in force.
    async fn withdraw(
        &self,
        held: &GenerationRecord,
        by: &str,
        why: &ConfigError,
    ) -> Result<(), ConfigError> {
        let digest = held.point.digest;
        let writes = vec![Write::Delete { key: generation_key(&self.shared.with.keys, digest) }];
        let audit = AuditRecord {
            actor: by.to_owned(),
            action: "config.withdraw",
            target: format!("generation:{digest}"),
            outcome: AuditOutcome::Ok,
            detail: why.to_string(),
        };
        let _done = self.shared.with.audit.commit(Vec::new(), writes, audit).await?;
        self.known().remove(digest);
        Ok(())
    }

    /// Those that go for another one to wait: the same people signed it instead. Refuses one more than may wait.
    pub(super) fn make_room(&self, newer: &GenerationRecord) -> Result<Vec<Digest>, ConfigError> {
        let head = self.known().head.as_ref().map(|head| head.point.digest);
        let (replaced, others): (Vec<_>, Vec<_>) = self.waiting().into_iter().partition(|old| {
            old.purpose == newer.purpose && old.operators.iter().all(|name| newer.operators.contains(name))
        });
        if others.iter().filter(|record| !record.is_overtaken(head)).count() < WAITING_MAX {
            return Ok(replaced.iter().map(|record| record.point.digest).collect());
        }
        Err(ConfigError::Busy(format!(
            "{WAITING_MAX} generations wait for signatures, which is the most; sign some, see `campanile approve ls`"
        )))
    }
}
