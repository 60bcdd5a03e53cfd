//! The chain of authorities while it grows.
//!
//! A new version is first committed to the state store together with its audit entry, then written into the folder of
//! the chain: after a crash in between, [`Authorities::open`] writes the file.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_common::api::{Proposal, ProposalKind, SignedText, Submitted};
use campanile_common::authority::{
    Authority, AuthorityError, Document, PublicKey, Role, Signature, SignedAuthority,
};
use campanile_common::fleet::FleetFile;
use campanile_common::id::Digest;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::summary::summary;
use super::waiting::{self, Desk, Held, Meeting, Offer, Short, Waiting};
use super::{AuthorityChain, CONFLICT, OpenError, SubmitError, done, ledger};
use crate::audit::Audit;
use crate::event::Events;
use crate::os::clock::Clock;
use crate::state::{Committed, Compare, Keys, Record, Store, Write, read_json, to_json};

/// A version past the first, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct AuthorityRecord {
    signed: SignedText,
}

impl Record for AuthorityRecord {}

/// Handle of the chain. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Authorities {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    keys: Keys,
    audit: Audit,
    events: Events,
    clock: Clock,
    chain: Mutex<AuthorityChain>,
    current: watch::Sender<Arc<Authority>>,
    waiting: Waiting,
    /// Submissions take turns: each looks at what is in force and what waits.
    turn: tokio::sync::Mutex<()>,
}

/// An offer with what its signatures amount to.
enum Weighed {
    Enough(Box<Authority>),
    Short { found: usize, needed: usize },
}

fn key(keys: &Keys, version: u64) -> String {
    keys.of("authority", &format!("{version:020}"))
}

impl Authorities {
    /// Reads and verifies the chain, and writes the files of versions that only the store has.
    ///
    /// # Errors
    /// When the chain or the store cannot be used.
    pub async fn open(
        state_dir: &Path,
        fleet: &FleetFile,
        (store, keys): (Store, Keys),
        audit: Audit,
        events: Events,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let mut chain = AuthorityChain::load(state_dir, fleet)?;
        loop {
            let version = chain.current().document().version + 1;
            let Some((record, _)) = read_json::<AuthorityRecord>(&*store, &key(&keys, version)).await? else {
                break;
            };
            let (bytes, signatures) = record.signed.decode().unwrap_or_default();
            let next = chain.current().verify_next(SignedAuthority { bytes, signatures });
            let next = next.map_err(|source| OpenError::Refused { version, source })?;
            write_file(&chain, &next).await;
            chain.push(next);
        }
        let current = watch::Sender::new(Arc::new(chain.current().clone()));
        let waiting = Waiting::new(store, keys.clone(), ProposalKind::Authority);
        let (chain, turn) = (Mutex::new(chain), tokio::sync::Mutex::new(()));
        let shared = Shared { keys, audit, events, clock, chain, current, waiting, turn };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn chain(&self) -> MutexGuard<'_, AuthorityChain> {
        // Every change under the lock is one push.
        self.shared.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version in force.
    pub fn current(&self) -> Arc<Authority> {
        Arc::clone(&self.shared.current.borrow())
    }

    /// The version in force, whenever it changes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Authority>> {
        self.shared.current.subscribe()
    }

    /// The versions from the one with this digest on, as they are sent to a new node; none when it is unknown.
    pub fn from_digest(&self, digest: Digest) -> Option<Vec<SignedAuthority>> {
        self.chain().from_digest(digest)
    }

    /// The versions after this one, which an agent that has it needs.
    pub fn after(&self, version: u64) -> Vec<SignedAuthority> {
        self.chain().after(version)
    }

    /// Takes the next version: in force at once with enough signatures, otherwise it waits for more.
    ///
    /// # Errors
    /// When it is not the next version, breaks a rule, no operator signed it, another one waits, or the store fails.
    pub async fn propose(&self, actor: &str, signed: SignedAuthority) -> Result<Submitted, SubmitError> {
        let _turn = self.shared.turn.lock().await;
        let current = self.current();
        if signed.digest() == current.digest() {
            return Ok(self.in_force(&current));
        }
        let offer = clean(&current, Offer { bytes: signed.bytes, signatures: signed.signatures })?;
        self.take(actor, &current, offer).await
    }

    /// Adds a signature to the version that waits as `id`.
    ///
    /// # Errors
    /// When there is none of that name, the signature does not count, or the store fails.
    pub async fn add_signature(
        &self,
        actor: &str,
        id: &str,
        signature: Signature,
    ) -> Result<Submitted, SubmitError> {
        let _turn = self.shared.turn.lock().await;
        let current = self.current();
        let held = self.shared.waiting.find(id, self.shared.clock.now()).await?;
        let held = held.ok_or_else(|| SubmitError::NotFound(id.to_owned()))?;
        let mut offer = held.record.offer();
        offer.signatures.push(signature.clone());
        let offer = clean(&current, offer)?;
        if !offer.signatures.contains(&signature) {
            return Err(SubmitError::Signatures(
                "that is no valid signature of an operator who signs for the authority".to_owned(),
            ));
        }
        self.take(actor, &current, offer).await
    }

    /// Versions that wait for signatures.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn proposals(&self) -> Result<Vec<Proposal>, SubmitError> {
        let (current, now) = (self.current(), self.shared.clock.now());
        let mut proposals = Vec::new();
        for Held { record, .. } in self.shared.waiting.all().await? {
            // One that a recovery overtook can never come into force.
            if record.expires <= now || record.version <= current.document().version {
                continue;
            }
            if let Ok(Weighed::Short { needed, .. }) = weigh(&current, &record.offer()) {
                let signed_by = signed_by(&current, &record.offer());
                proposals.push(self.shared.waiting.to_api(&record, signed_by, needed));
            }
        }
        Ok(proposals)
    }

    async fn take(&self, actor: &str, current: &Authority, offer: Offer) -> Result<Submitted, SubmitError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let document = read(&offer)?;
        if document.expires <= now {
            return Err(SubmitError::Invalid("it has expired: it would authorise nothing".to_owned()));
        }
        let all = shared.waiting.all().await?;
        let held = all.iter().find(|held| held.record.version == document.version);
        let is_short = matches!(weigh(current, &offer)?, Weighed::Short { .. });
        let (offer, joined) = match held.map(|held| waiting::meet(&held.record, &offer, now)) {
            Some(Meeting::Join(joined)) => (joined, held),
            // With enough signatures it needs nobody's leave.
            Some(Meeting::Refuse) if is_short => {
                return Err(SubmitError::Conflict(format!(
                    "another version {} waits for signatures; sign that one, or have its signers sign yours",
                    document.version
                )));
            }
            Some(Meeting::Replace | Meeting::Refuse) | None => (offer, None),
        };
        match weigh(current, &offer)? {
            Weighed::Enough(next) => self.put_in_force(actor, *next).await,
            Weighed::Short { found: 0, needed } => Err(SubmitError::Signatures(format!(
                "no operator of authority version {} validly signed it; {needed} must",
                current.document().version
            ))),
            Weighed::Short { needed, .. } => {
                let short = Short {
                    version: document.version,
                    summary: summary(current.document(), &document),
                    expires: document.expires,
                    offer: &offer,
                    names: signed_by(current, &offer),
                    needed,
                    held,
                    is_joined: joined.is_some(),
                };
                let desk = Desk { audit: &shared.audit, events: &shared.events, actor, now };
                shared.waiting.hold(&desk, short, all.len()).await
            }
        }
    }

    async fn put_in_force(&self, actor: &str, next: Authority) -> Result<Submitted, SubmitError> {
        let shared = &self.shared;
        let version = next.document().version;
        let record = AuthorityRecord { signed: text(next.signed()) };
        let key = key(&shared.keys, version);
        let mut writes = shared.waiting.removals(version, shared.clock.now()).await?;
        writes.push(Write::put(key.clone(), to_json(&record)));
        let submitted = self.in_force_after(&next);
        let summary = summary(self.current().document(), next.document());
        let detail =
            format!("{summary}; digest {}; signed by {}", next.digest(), submitted.signed_by.join(", "));
        let entry = done(actor, "authority.change", format!("authority/{version}"), detail);
        match shared.audit.commit(vec![Compare::Absent(key)], writes, entry).await? {
            Committed::Done(_) => {}
            Committed::Conflict => return Err(SubmitError::Conflict(CONFLICT.to_owned())),
        }
        let chain = self.chain().clone();
        write_file(&chain, &next).await;
        tracing::warn!(version, digest = %next.digest(), "a new authority is in force");
        let body = serde_json::json!({ "version": version, "expiresAt": next.document().expires });
        self.chain().push(next.clone());
        shared.current.send_replace(Arc::new(next));
        shared.events.publish("authority.changed", None, &body);
        Ok(submitted)
    }

    fn in_force(&self, current: &Authority) -> Submitted {
        let mut names = names(current.document(), current.signed());
        names.sort();
        submitted(self.shared.waiting.id(current.document().version), names, current)
    }

    /// As [`Self::in_force`], named by who could sign under the version before.
    fn in_force_after(&self, next: &Authority) -> Submitted {
        let offer =
            Offer { bytes: next.signed().bytes.clone(), signatures: next.signed().signatures.clone() };
        let names = signed_by(&self.current(), &offer);
        submitted(self.shared.waiting.id(next.document().version), names, &self.current())
    }
}

fn submitted(id: String, signed_by: Vec<String>, judge: &Authority) -> Submitted {
    let needed = u16::try_from(judge.threshold(Role::Authority)).unwrap_or(u16::MAX);
    Submitted { in_force: true, id, signed_by, signatures_needed: needed }
}

fn signed(offer: &Offer) -> SignedAuthority {
    SignedAuthority { bytes: offer.bytes.clone(), signatures: offer.signatures.clone() }
}

fn text(signed: &SignedAuthority) -> SignedText {
    SignedText::new(&signed.bytes, &signed.signatures)
}

fn read(offer: &Offer) -> Result<Document, SubmitError> {
    Ok(signed(offer).read()?)
}

/// Leaves the signatures that may count: of operators in force and recovery keys; with one of those, also of the
/// operators that the version brings.
fn clean(current: &Authority, offer: Offer) -> Result<Offer, SubmitError> {
    let authority = signed(&offer);
    let (judge, next) = (current.document(), authority.read()?);
    let is_by = |signature: &Signature, key: &PublicKey| authority.is_signature_of(signature, key);
    let is_recovery = |signature: &Signature| judge.recovery.iter().any(|key| is_by(signature, key));
    let may_be_new = offer.signatures.iter().any(is_recovery);
    let operators = judge.operators.iter().chain(next.operators.iter().filter(|_| may_be_new));
    let keys: Vec<&PublicKey> =
        operators.filter(|operator| operator.roles.contains(&Role::Authority)).map(|o| &o.key).collect();
    let counts =
        |signature: &Signature| is_recovery(signature) || keys.iter().any(|key| is_by(signature, key));
    let signatures = waiting::keep_counting(&offer.signatures, counts)?;
    if signatures.is_empty() {
        return Err(SubmitError::Signatures(
            "no signature on it is one of an operator who signs for the authority".to_owned(),
        ));
    }
    Ok(Offer { signatures, ..offer })
}

fn weigh(current: &Authority, offer: &Offer) -> Result<Weighed, SubmitError> {
    match current.verify_next(signed(offer)) {
        Ok(next) => Ok(Weighed::Enough(Box::new(next))),
        Err(AuthorityError::Signatures { found, needed }) => Ok(Weighed::Short { found, needed }),
        Err(error) => Err(error.into()),
    }
}

/// Names of the operators of `judge` who validly signed.
fn names(judge: &Document, signed: &SignedAuthority) -> Vec<String> {
    let signers = signed.signers(judge);
    judge.operators.iter().filter(|o| signers.contains(&o.key.id())).map(|o| o.name.clone()).collect()
}

/// Who signed: operators in force; by a recovery key, those of the next version.
fn signed_by(current: &Authority, offer: &Offer) -> Vec<String> {
    let signed = signed(offer);
    let mut found = names(current.document(), &signed);
    if found.is_empty()
        && let Ok(next) = signed.read()
    {
        found = names(&next, &signed);
        found.push("a recovery key".to_owned());
    }
    found.sort();
    found
}

/// The store has the version already, so a file that cannot be written now is written at the next start.
async fn write_file(chain: &AuthorityChain, version: &Authority) {
    let (path, bytes) = match chain.file(version) {
        Ok(file) => file,
        Err(error) => {
            tracing::error!(%error, "an authority is too long for a file");
            return;
        }
    };
    let written = tokio::task::spawn_blocking(move || ledger::write(&path, &bytes)).await;
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "an authority's file is not written; the state store has it")
        }
        Err(error) => tracing::error!(%error, "an authority's file is not written; the state store has it"),
    }
}
