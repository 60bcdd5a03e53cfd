//! Versions that wait for the signatures of further operators.

use std::time::Duration;

use campanile_common::api::{Proposal, ProposalKind, SignedText, Submitted};
use campanile_common::authority::{SIGNATURES_MAX, Signature};
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CONFLICT, SubmitError, done};
use crate::audit::Audit;
use crate::event::Events;
use crate::state::{
    Committed, Compare, Keys, Range, Record, Revision, StateError, Store, Write, from_json, to_json,
};

/// How long a version waits for signatures, unless it expires before.
const WAIT_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Most versions of one kind that wait.
const WAITING_MAX: usize = 16;

/// Bytes with signatures, of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) bytes: Vec<u8>,
    pub(super) signatures: Vec<Signature>,
}

/// A version that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WaitingRecord {
    pub(super) version: u64,
    pub(super) signed: SignedText,
    pub(super) summary: String,
    pub(super) proposed_by: String,
    pub(super) proposed: Timestamp,
    pub(super) expires: Timestamp,
}

impl Record for WaitingRecord {}

/// A record as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) record: WaitingRecord,
    pub(super) revision: Revision,
}

/// The waiting versions of one kind.
#[derive(Debug)]
pub(super) struct Waiting {
    store: Store,
    keys: Keys,
    kind: ProposalKind,
}

impl WaitingRecord {
    /// What was signed so far.
    pub(super) fn offer(&self) -> Offer {
        let (bytes, signatures) = self.signed.decode().expect("stored as it was decoded");
        Offer { bytes, signatures }
    }

    /// A record for `offer`.
    pub(super) fn new(
        (version, summary): (u64, String),
        offer: &Offer,
        actor: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Self {
        let signed = SignedText::new(&offer.bytes, &offer.signatures);
        let expires = expires.min(now + WAIT_MAX);
        Self { version, signed, summary, proposed_by: actor.to_owned(), proposed: now, expires }
    }
}

impl Waiting {
    pub(super) const fn new(store: Store, keys: Keys, kind: ProposalKind) -> Self {
        Self { store, keys, kind }
    }

    fn noun(&self) -> &'static str {
        match self.kind {
            ProposalKind::Authority => "authority",
            ProposalKind::Catalogue => "catalogue",
            ProposalKind::Order | ProposalKind::Generation | ProposalKind::Floor => {
                unreachable!("orders, generations and floors keep their own proposals")
            }
        }
    }

    fn folder(&self) -> String {
        format!("{}-proposal", self.noun())
    }

    /// What a waiting version is called.
    pub(super) fn id(&self, version: u64) -> String {
        format!("{}-{version}", self.noun())
    }

    pub(super) fn key(&self, version: u64) -> String {
        self.keys.of(&self.folder(), &format!("{version:020}"))
    }

    /// All that wait, also those that waited too long.
    pub(super) async fn all(&self) -> Result<Vec<Held>, StateError> {
        let prefix = self.keys.prefix(&self.folder());
        let range = Range { prefix, after: None, limit: 2 * WAITING_MAX, descending: false };
        let entries = self.store.range(range).await?;
        let held = entries
            .iter()
            .map(|entry| Ok(Held { record: from_json(&entry.key, &entry.value)?, revision: entry.revision }));
        held.collect()
    }

    /// The one with this name, if it still waits.
    pub(super) async fn find(&self, id: &str, now: Timestamp) -> Result<Option<Held>, StateError> {
        let all = self.all().await?;
        Ok(all.into_iter().find(|held| self.id(held.record.version) == id && now < held.record.expires))
    }

    /// Writes that remove every waiting version up to `version`, and those that waited too long.
    pub(super) async fn removals(&self, version: u64, now: Timestamp) -> Result<Vec<Write>, StateError> {
        let all = self.all().await?;
        let over =
            all.into_iter().filter(|held| held.record.version <= version || held.record.expires <= now);
        Ok(over.map(|held| Write::Delete { key: self.key(held.record.version) }).collect())
    }

    /// What stores `record` in the place of `held`.
    fn replacement(&self, held: Option<&Held>, record: &WaitingRecord) -> (Compare, Write) {
        let key = self.key(record.version);
        let compare = match held {
            Some(held) => Compare::At(key.clone(), held.revision),
            None => Compare::Absent(key.clone()),
        };
        (compare, Write::put(key, to_json(record)))
    }

    /// As the API shows it.
    pub(super) fn to_api(&self, record: &WaitingRecord, signed_by: Vec<String>, needed: usize) -> Proposal {
        Proposal {
            id: self.id(record.version),
            kind: self.kind,
            summary: record.summary.clone(),
            proposed_by: record.proposed_by.clone(),
            proposed_at: record.proposed,
            expires_at: record.expires,
            signed_by,
            signatures_needed: u16::try_from(needed).unwrap_or(u16::MAX),
            signed: record.signed.clone(),
        }
    }
}

/// A version that lacks signatures, and how it stands to the one of its number that waits already.
pub(super) struct Short<'a> {
    pub(super) version: u64,
    pub(super) summary: String,
    pub(super) expires: Timestamp,
    /// Its bytes with the signatures that count.
    pub(super) offer: &'a Offer,
    /// Whose signatures they are.
    pub(super) names: Vec<String>,
    /// How many it takes.
    pub(super) needed: usize,
    /// The one that waits under its number, whose place it takes.
    pub(super) held: Option<&'a Held>,
    /// True when they are the same bytes: then it keeps its proposer.
    pub(super) is_joined: bool,
}

/// Where a waiting version is noted and told, by whom and when.
pub(super) struct Desk<'a> {
    pub(super) audit: &'a Audit,
    pub(super) events: &'a Events,
    pub(super) actor: &'a str,
    pub(super) now: Timestamp,
}

impl Waiting {
    /// Keeps a version until it has the signatures it takes; `waiting` is how many there are of its kind.
    pub(super) async fn hold(
        &self,
        desk: &Desk<'_>,
        short: Short<'_>,
        waiting: usize,
    ) -> Result<Submitted, SubmitError> {
        if short.held.is_none() && waiting >= WAITING_MAX {
            return Err(SubmitError::Conflict("too many versions wait for signatures".to_owned()));
        }
        let title = (short.version, short.summary);
        let mut record = WaitingRecord::new(title, short.offer, desk.actor, desk.now, short.expires);
        if let Some(held) = short.held.filter(|_| short.is_joined) {
            record = WaitingRecord { signed: record.signed, ..held.record.clone() };
        }
        let action = match (self.kind, short.is_joined) {
            (ProposalKind::Authority, false) => "authority.propose",
            (ProposalKind::Authority, true) => "authority.sign",
            (_, false) => "catalogue.propose",
            (_, true) => "catalogue.sign",
        };
        let (compare, write) = self.replacement(short.held, &record);
        let detail = format!("{}; signed by {}", record.summary, short.names.join(", "));
        let entry = done(desk.actor, action, format!("{}/{}", self.noun(), record.version), detail);
        if desk.audit.commit(vec![compare], vec![write], entry).await? == Committed::Conflict {
            return Err(SubmitError::Conflict(CONFLICT.to_owned()));
        }
        let proposal = self.to_api(&record, short.names, short.needed);
        desk.events.publish("order.proposed", None, &serde_json::json!({ "id": proposal.id }));
        Ok(Submitted {
            in_force: false,
            id: proposal.id,
            signed_by: proposal.signed_by,
            signatures_needed: proposal.signatures_needed,
        })
    }
}

/// Keeps the signatures that count, each key's once, so that nothing else is stored or sent to agents.
pub(super) fn keep_counting(
    signatures: &[Signature],
    counts: impl Fn(&Signature) -> bool,
) -> Result<Vec<Signature>, SubmitError> {
    if signatures.len() > 2 * SIGNATURES_MAX {
        return Err(SubmitError::Invalid(format!(
            "more than {SIGNATURES_MAX} signatures; leave out the rest"
        )));
    }
    let mut kept: Vec<Signature> = Vec::new();
    for signature in signatures {
        if kept.iter().all(|known| known.key != signature.key) && counts(signature) {
            kept.push(signature.clone());
        }
    }
    Ok(kept)
}

/// What to do with an offer when a version of its number waits.
pub(super) enum Meeting {
    /// Take the offer, with these signatures of both, and keep who proposed it.
    Join(Offer),
    /// Take the offer; what waited goes.
    Replace,
    /// Refuse it.
    Refuse,
}

/// The same bytes are signed by both. Other bytes replace those that wait when everybody who signed those signed these
/// as well, or they waited too long: one operator cannot push another's proposal aside.
pub(super) fn meet(held: &WaitingRecord, offer: &Offer, now: Timestamp) -> Meeting {
    let waiting = held.offer();
    if waiting.bytes == offer.bytes {
        let mut joined = waiting;
        for signature in &offer.signatures {
            if joined.signatures.iter().all(|known| known.key != signature.key) {
                joined.signatures.push(signature.clone());
            }
        }
        return Meeting::Join(joined);
    }
    let has_signed = |key| offer.signatures.iter().any(|signature| signature.key == key);
    if held.expires <= now || waiting.signatures.iter().all(|signature| has_signed(signature.key)) {
        Meeting::Replace
    } else {
        Meeting::Refuse
    }
}
