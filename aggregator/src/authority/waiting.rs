//! Versions that wait for the signatures of further operators.

use std::time::Duration;

use campanile_common::api::{Proposal, ProposalKind, SignedText};
use campanile_common::authority::{SIGNATURES_MAX, Signature};
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::SubmitError;
use crate::state::{Compare, Keys, Range, Record, Revision, StateError, Store, Write, from_json, to_json};

/// How long a version waits for signatures, unless it expires before.
const WAIT_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Most versions of one kind that wait.
pub(super) const WAITING_MAX: usize = 16;

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

    fn folder(&self) -> &'static str {
        match self.kind {
            ProposalKind::Authority => "authority-proposal",
            ProposalKind::Catalogue => "catalogue-proposal",
            ProposalKind::Order => unreachable!("orders keep their own proposals"),
        }
    }

    /// What a waiting version is called.
    pub(super) fn id(&self, version: u64) -> String {
        match self.kind {
            ProposalKind::Authority => format!("authority-{version}"),
            ProposalKind::Catalogue => format!("catalogue-{version}"),
            ProposalKind::Order => unreachable!("orders keep their own proposals"),
        }
    }

    pub(super) fn key(&self, version: u64) -> String {
        self.keys.of(self.folder(), &format!("{version:020}"))
    }

    /// All that wait, also those that waited too long.
    pub(super) async fn all(&self) -> Result<Vec<Held>, StateError> {
        let prefix = self.keys.prefix(self.folder());
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
    pub(super) fn replacement(&self, held: Option<&Held>, record: &WaitingRecord) -> (Compare, Write) {
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
