//! The catalogue in force, and those that wait for signatures.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_common::api::{CatalogueText, Proposal, ProposalKind, SignedText, Submitted};
use campanile_common::authority::{
    Authority, Catalogue, CatalogueDocument, CatalogueError, Role, Signature, SignedCatalogue,
};
use campanile_common::id::Digest;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::waiting::{self, Desk, Held, Meeting, Offer, Short, Waiting};
use super::{CONFLICT, SubmitError, done};
use crate::audit::Audit;
use crate::event::Events;
use crate::os::clock::Clock;
use crate::state::{
    Committed, Compare, Keys, Record, Revision, StateError, Store, Write, read_json, to_json,
};

/// The newest catalogue that was in force, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct CatalogueRecord {
    version: u64,
    signed: SignedText,
}

impl Record for CatalogueRecord {}

/// The newest catalogue that was in force; it is so no more once its signers left the authority.
#[derive(Debug, Clone)]
struct Newest {
    version: u64,
    signed: SignedCatalogue,
    revision: Revision,
}

/// Handle of the catalogue. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Catalogues {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    keys: Keys,
    audit: Audit,
    events: Events,
    clock: Clock,
    authority: watch::Receiver<Arc<Authority>>,
    newest: Mutex<Option<Newest>>,
    in_force: watch::Sender<Option<Arc<Catalogue>>>,
    /// The same as it is sent to agents.
    sent: watch::Sender<Option<SignedCatalogue>>,
    waiting: Waiting,
    /// Submissions take turns: each looks at what is in force and what waits.
    turn: tokio::sync::Mutex<()>,
}

enum Weighed {
    Enough(Catalogue),
    Short { found: usize, needed: usize },
}

impl Catalogues {
    /// Reads the newest catalogue and verifies it under the authority in force.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub async fn open(
        (store, keys): (Store, Keys),
        audit: Audit,
        events: Events,
        clock: Clock,
        authority: watch::Receiver<Arc<Authority>>,
    ) -> Result<Self, StateError> {
        let key = keys.of("catalogue", "newest");
        let newest = match read_json::<CatalogueRecord>(&*store, &key).await? {
            None => None,
            Some((record, revision)) => {
                let Some((bytes, signatures)) = record.signed.decode() else {
                    let detail = "its bytes are no base64".to_owned();
                    return Err(StateError::Unreadable { key, detail });
                };
                let signed = SignedCatalogue { bytes, signatures };
                Some(Newest { version: record.version, signed, revision })
            }
        };
        let waiting = Waiting::new(Arc::clone(&store), keys.clone(), ProposalKind::Catalogue);
        let shared = Shared {
            keys,
            audit,
            events,
            clock,
            authority,
            newest: Mutex::new(newest),
            in_force: watch::Sender::new(None),
            sent: watch::Sender::new(None),
            waiting,
            turn: tokio::sync::Mutex::new(()),
        };
        let catalogues = Self { shared: Arc::new(shared) };
        catalogues.verify_anew();
        Ok(catalogues)
    }

    fn newest(&self) -> MutexGuard<'_, Option<Newest>> {
        // Every change under the lock is one assignment.
        self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn authority(&self) -> Arc<Authority> {
        Arc::clone(&self.shared.authority.borrow())
    }

    /// The catalogue in force. It may have expired.
    pub fn current(&self) -> Option<Arc<Catalogue>> {
        let authority = self.authority();
        // An authority may have changed a moment ago, and the catalogue not been verified anew yet.
        self.shared.in_force.borrow().clone().filter(|catalogue| catalogue.is_verified_under(&authority))
    }

    /// The catalogue in force, whenever it changes.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Catalogue>>> {
        self.shared.in_force.subscribe()
    }

    /// The catalogue to send to agents, whenever it changes.
    pub fn subscribe_signed(&self) -> watch::Receiver<Option<SignedCatalogue>> {
        self.shared.sent.subscribe()
    }

    /// As the API shows it.
    pub fn to_api(&self) -> CatalogueText {
        let signed = self.current().map(|catalogue| text(catalogue.signed()));
        CatalogueText { version: self.version(), signed }
    }

    /// Version of the newest catalogue that was ever in force; 0 before the first.
    fn version(&self) -> u64 {
        self.newest().as_ref().map_or(0, |newest| newest.version)
    }

    /// Verifies the newest catalogue under the authority in force: an operator who left signs for nothing. To be
    /// called whenever the authority changes; true when the catalogue in force changed.
    pub fn verify_anew(&self) -> bool {
        let authority = self.authority();
        let newest = self.newest().clone();
        let found = newest.and_then(|newest| match newest.signed.verify(&authority, None) {
            Ok(catalogue) => Some(Arc::new(catalogue)),
            Err(error) => {
                tracing::warn!(version = newest.version, %error,
                    "the catalogue has no force under the authority; have operators sign a new version");
                None
            }
        });
        let before = self.shared.in_force.send_replace(found.clone());
        let signed = found.as_ref().map(|catalogue| catalogue.signed().clone());
        let has_changed = before.as_ref().map(|catalogue| catalogue.signed()) != signed.as_ref();
        if has_changed {
            self.shared.sent.send_replace(signed);
            self.publish();
        }
        has_changed
    }

    fn publish(&self) {
        let in_force = self.shared.in_force.borrow().is_some();
        let body = serde_json::json!({ "version": self.version(), "inForce": in_force });
        self.shared.events.publish("catalogue.changed", None, &body);
    }

    /// Takes a newer version: in force at once with enough signatures, otherwise it waits for more.
    ///
    /// # Errors
    /// When it is not newer, breaks a rule, no operator signed it, another one waits, or the store fails.
    pub async fn propose(&self, actor: &str, signed: SignedCatalogue) -> Result<Submitted, SubmitError> {
        let _turn = self.shared.turn.lock().await;
        let authority = self.authority();
        if let Some(current) = self.current().filter(|current| current.signed().bytes == signed.bytes) {
            return Ok(self.in_force(&authority, &current));
        }
        let offer = clean(&authority, Offer { bytes: signed.bytes, signatures: signed.signatures })?;
        self.take(actor, &authority, offer).await
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
        let authority = self.authority();
        let held = self.shared.waiting.find(id, self.shared.clock.now()).await?;
        let held = held.ok_or_else(|| SubmitError::NotFound(id.to_owned()))?;
        let offer = Offer { bytes: held.record.offer().bytes, signatures: vec![signature] };
        let offer = clean(&authority, offer)?;
        self.take(actor, &authority, offer).await
    }

    /// Versions that wait for signatures.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn proposals(&self) -> Result<Vec<Proposal>, SubmitError> {
        let (authority, now, newest) = (self.authority(), self.shared.clock.now(), self.version());
        let all = self.shared.waiting.all().await?;
        let open = all.into_iter().filter(|held| held.record.expires > now && held.record.version > newest);
        let proposals = open.map(|Held { record, .. }| {
            let signed_by = names(&authority, &record.offer());
            self.shared.waiting.to_api(&record, signed_by, authority.threshold(Role::Catalogue))
        });
        Ok(proposals.collect())
    }

    async fn take(&self, actor: &str, authority: &Authority, offer: Offer) -> Result<Submitted, SubmitError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let document = signed(&offer).read()?;
        if document.expires <= now {
            return Err(SubmitError::Invalid("it has expired: it would permit nothing".to_owned()));
        }
        let newest = self.version();
        let all = shared.waiting.all().await?;
        let held = all.iter().find(|held| held.record.version == document.version);
        let is_short = matches!(weigh(authority, &offer, newest)?, Weighed::Short { .. });
        let (offer, joined) = match held.map(|held| waiting::meet(&held.record, &offer, now)) {
            Some(Meeting::Join(joined)) => (clean(authority, joined)?, held),
            // With enough signatures it needs nobody's leave.
            Some(Meeting::Refuse) if is_short => {
                return Err(SubmitError::Conflict(format!(
                    "another version {} waits for signatures; sign that one, or take the next number",
                    document.version
                )));
            }
            Some(Meeting::Replace | Meeting::Refuse) | None => (offer, None),
        };
        match weigh(authority, &offer, newest)? {
            Weighed::Enough(catalogue) => self.put_in_force(actor, authority, catalogue).await,
            Weighed::Short { found: 0, needed } => Err(SubmitError::Signatures(format!(
                "no operator of authority version {} validly signed it; {needed} must",
                authority.document().version
            ))),
            Weighed::Short { needed, .. } => {
                let short = Short {
                    version: document.version,
                    summary: summary(&document),
                    expires: document.expires,
                    offer: &offer,
                    names: names(authority, &offer),
                    needed,
                    held,
                    is_joined: joined.is_some(),
                };
                let desk = Desk { audit: &shared.audit, events: &shared.events, actor, now };
                shared.waiting.hold(&desk, short, all.len()).await
            }
        }
    }

    async fn put_in_force(
        &self,
        actor: &str,
        authority: &Authority,
        catalogue: Catalogue,
    ) -> Result<Submitted, SubmitError> {
        let shared = &self.shared;
        let version = catalogue.document().version;
        let key = shared.keys.of("catalogue", "newest");
        let record = CatalogueRecord { version, signed: text(catalogue.signed()) };
        let mut writes = shared.waiting.removals(version, shared.clock.now()).await?;
        writes.push(Write::put(key.clone(), to_json(&record)));
        let compare = match self.newest().as_ref() {
            Some(newest) => Compare::At(key, newest.revision),
            None => Compare::Absent(key),
        };
        let submitted = self.in_force(authority, &catalogue);
        let detail =
            format!("{}; signed by {}", summary(catalogue.document()), submitted.signed_by.join(", "));
        let entry = done(actor, "catalogue.change", format!("catalogue/{version}"), detail);
        match shared.audit.commit(vec![compare], writes, entry).await? {
            Committed::Done(revision) => {
                let signed = catalogue.signed().clone();
                *self.newest() = Some(Newest { version, signed: signed.clone(), revision });
                shared.in_force.send_replace(Some(Arc::new(catalogue)));
                shared.sent.send_replace(Some(signed));
                self.publish();
                // An authority that came meanwhile has the last word.
                self.verify_anew();
                Ok(submitted)
            }
            Committed::Conflict => Err(SubmitError::Conflict(CONFLICT.to_owned())),
        }
    }

    fn in_force(&self, authority: &Authority, catalogue: &Catalogue) -> Submitted {
        let signed = catalogue.signed();
        let offer = Offer { bytes: signed.bytes.clone(), signatures: signed.signatures.clone() };
        let needed = authority.threshold(Role::Catalogue);
        Submitted {
            in_force: true,
            id: self.shared.waiting.id(catalogue.document().version),
            signed_by: names(authority, &offer),
            signatures_needed: u16::try_from(needed).unwrap_or(u16::MAX),
        }
    }
}

fn signed(offer: &Offer) -> SignedCatalogue {
    SignedCatalogue { bytes: offer.bytes.clone(), signatures: offer.signatures.clone() }
}

fn text(signed: &SignedCatalogue) -> SignedText {
    SignedText::new(&signed.bytes, &signed.signatures)
}

/// Leaves the signatures that count under the authority.
fn clean(authority: &Authority, offer: Offer) -> Result<Offer, SubmitError> {
    let holders: BTreeSet<Digest> = authority
        .document()
        .operators
        .iter()
        .filter(|operator| operator.roles.contains(&Role::Catalogue))
        .map(|operator| operator.key.id())
        .collect();
    // A signature of somebody else costs no look at the bytes.
    let counts = |signature: &Signature| {
        let alone = || Offer { bytes: offer.bytes.clone(), signatures: vec![signature.clone()] };
        holders.contains(&signature.key) && !signed(&alone()).signers(authority).is_empty()
    };
    let signatures = waiting::keep_counting(&offer.signatures, counts)?;
    if signatures.is_empty() {
        return Err(SubmitError::Signatures(
            "no signature on it is one of an operator who signs catalogues".to_owned(),
        ));
    }
    Ok(Offer { signatures, ..offer })
}

fn weigh(authority: &Authority, offer: &Offer, newest: u64) -> Result<Weighed, SubmitError> {
    let newest = (newest > 0).then_some(newest);
    match signed(offer).verify(authority, newest) {
        Ok(catalogue) => Ok(Weighed::Enough(catalogue)),
        Err(CatalogueError::Signatures { found, needed }) => Ok(Weighed::Short { found, needed }),
        Err(error) => Err(error.into()),
    }
}

/// Names of the operators in force who validly signed.
fn names(authority: &Authority, offer: &Offer) -> Vec<String> {
    let signers = signed(offer).signers(authority);
    let operators = authority.document().operators.iter();
    let mut names: Vec<String> =
        operators.filter(|o| signers.contains(&o.key.id())).map(|o| o.name.clone()).collect();
    names.sort();
    names
}

/// What it holds, in one line.
fn summary(document: &CatalogueDocument) -> String {
    let (commands, rules) = (document.commands.len(), document.services.len());
    format!("catalogue version {}: {commands} commands, {rules} rules for units", document.version)
}
