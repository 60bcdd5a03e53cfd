//! The audit log: append-only, hash-chained, in the state store.
//!
//! What is recorded and what it is about are written in one transaction, so neither exists without the other. The
//! chain itself is `campanile_common::audit`; this keeps it and hands out signed points of it.
//! Invariant: the key of the newest entry is compared in every append, so two appends never share a sequence,
//! whichever process makes them.

#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use campanile_common::api::{AuditEntry, AuditOutcome, AuditVerification};
use campanile_common::audit::{AuditKey, CHAIN_START, ChainError, ChainVerifier, Head, entry_hash};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::Checkpoint;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::os::clock::Clock;
use crate::state::{
    Committed, Compare, Entry, Keys, Range, Revision, StateError, Store, Write, from_json, read_json, to_json,
};

/// Entries read at a time.
const PAGE: usize = 512;
/// Most entries that one list gives.
const LIST_MAX: usize = 10_000;
/// Appends by another process that one append yields to before it gives up.
const RETRIES_MAX: usize = 32;
/// Digits of a sequence in its key: as many as the largest has, so that keys sort as numbers do.
const SEQUENCE_DIGITS: usize = 20;

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct Record {
    /// Who: `person:NAME`, `token:ID`, `node:ID`, `local`, `aggregator`.
    pub actor: String,
    /// What, `noun.verb`.
    pub action: &'static str,
    /// To what.
    pub target: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Anything else, never a secret.
    pub detail: String,
}

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only entries after this sequence.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
    /// Only of this actor.
    pub actor: Option<String>,
    /// Only of this action.
    pub action: Option<String>,
    /// Only since.
    pub since: Option<Timestamp>,
    /// The newest `limit` matching entries instead of the oldest (still returned in ascending order).
    pub newest: bool,
}

impl crate::state::Record for AuditEntry {}

/// The newest entry, as it is stored beside the log.
#[derive(Debug, Serialize, Deserialize)]
struct StoredHead {
    sequence: u64,
    hash: Digest,
}

impl crate::state::Record for StoredHead {}

/// The newest entry and the commit that wrote it; none before the first.
type KnownHead = (Head, Option<Revision>);

/// Handle of the audit log.
#[derive(Debug, Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    keys: Keys,
    clock: Clock,
    key: AuditKey,
    /// None when it has to be read anew. Appends of this process take turns here, or all but one would conflict.
    head: Mutex<Option<KnownHead>>,
}

impl Audit {
    /// Opens the log; `key_seed` is that of the key which signs checkpoints.
    ///
    /// # Errors
    /// When the store fails, or there are entries and no record of which is the newest.
    pub async fn open(
        store: Store,
        keys: Keys,
        clock: Clock,
        key_seed: [u8; 32],
    ) -> Result<Self, StateError> {
        let key = AuditKey::from_seed(&key_seed);
        let shared = Arc::new(Shared { store, keys, clock, key, head: Mutex::new(None) });
        let audit = Self { shared };
        audit.check_head().await?;
        Ok(audit)
    }

    /// The public half of the key that signs checkpoints.
    pub fn public_key(&self) -> [u8; 32] {
        self.shared.key.public()
    }

    /// Carries out `writes` if `compares` hold, and appends the record, in one transaction.
    ///
    /// # Errors
    /// When the store fails; nothing is written then.
    pub async fn commit(
        &self,
        compares: Vec<Compare>,
        writes: Vec<Write>,
        record: Record,
    ) -> Result<Committed, StateError> {
        let mut known = self.shared.head.lock().await;
        for _ in 0..RETRIES_MAX {
            // Taken out: whatever ends this future early, the head is read anew.
            let (head, revision) = match known.take() {
                Some(head) => head,
                None => self.shared.read_head().await?,
            };
            let entry = self.shared.next_entry(head, &record);
            let next = Head { sequence: entry.sequence, hash: entry.hash };
            let transaction = self.shared.append(&compares, &writes, revision, &entry);
            if let Committed::Done(written) = self.shared.store.commit(transaction).await? {
                *known = Some((next, Some(written)));
                return Ok(Committed::Done(written));
            }
            // Either the caller's comparison did not hold, or another process appended in between.
            let found = self.shared.read_head().await?;
            *known = Some(found);
            if found.1 == revision {
                return Ok(Committed::Conflict);
            }
        }
        Err(StateError::Unavailable { detail: "other processes keep appending to the audit log".to_owned() })
    }

    /// Appends a record alone.
    ///
    /// # Errors
    /// When the store fails; nothing is written then.
    pub async fn record(&self, record: Record) -> Result<(), StateError> {
        match self.commit(Vec::new(), Vec::new(), record).await? {
            Committed::Done(_) => Ok(()),
            Committed::Conflict => unreachable!("nothing was compared but the head, and that is tried again"),
        }
    }

    /// Lists entries in ascending order.
    ///
    /// # Errors
    /// When the store fails or an entry cannot be read.
    pub async fn list(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, StateError> {
        let limit = query.limit.min(LIST_MAX);
        let mut found = Vec::new();
        let mut place = (!query.newest).then(|| self.shared.entry_key(query.after));
        'pages: while found.len() < limit {
            let page = self.shared.page(place, query.newest).await?;
            for stored in &page {
                let entry: AuditEntry = from_json(&stored.key, &stored.value)?;
                if entry.sequence <= query.after || found.len() == limit {
                    break 'pages;
                }
                if query.selects(&entry) {
                    found.push(entry);
                }
            }
            if page.len() < PAGE {
                break;
            }
            place = page.into_iter().next_back().map(|stored| stored.key);
        }
        if query.newest {
            found.reverse();
        }
        Ok(found)
    }

    /// Verifies the whole chain, up to the newest entry that the head names.
    ///
    /// # Errors
    /// When the store fails; whatever is wrong with the log itself is in the result.
    pub async fn verify(&self) -> Result<AuditVerification, StateError> {
        // The head first: what is appended meanwhile comes behind it and is verified too.
        let (head, revision) = self.shared.read_head().await?;
        let witnesses = [head];
        let mut verifier = ChainVerifier::new(Head::START, &witnesses);
        let (mut result, mut place) = (Ok(()), None);
        loop {
            let page = self.shared.page(place, false).await?;
            for stored in &page {
                result = read_entry(stored, verifier.last()).and_then(|entry| verifier.push(&entry));
                if result.is_err() {
                    break;
                }
            }
            if result.is_err() || page.len() < PAGE {
                break;
            }
            place = page.into_iter().next_back().map(|stored| stored.key);
        }
        result = result.and_then(|()| verifier.finish());
        // Read again: the first entry may have come since.
        let sequence = verifier.last().sequence;
        if result.is_ok() && revision.is_none() && sequence > 0 && self.shared.read_head().await?.1.is_none()
        {
            result = Err(ChainError::Headless { sequence });
        }
        Ok(verifier.report(result))
    }

    /// A signed point at the newest entry; none while the log is empty.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn checkpoint(&self) -> Result<Option<Checkpoint>, StateError> {
        let (head, _) = self.shared.read_head().await?;
        let fleet = self.shared.keys.fleet();
        Ok((head.sequence > 0).then(|| self.shared.key.checkpoint(fleet, head, self.shared.clock.now())))
    }

    /// Without its head the log cannot go on: what comes next would begin a second chain.
    async fn check_head(&self) -> Result<(), StateError> {
        let (_, revision) = self.shared.read_head().await?;
        let newest = self.shared.page_of(None, true, 1).await?;
        match newest.first() {
            Some(stored) if revision.is_none() => {
                let detail = format!("it is gone, but the audit log goes up to {}", stored.key);
                Err(StateError::Unreadable { key: self.shared.head_key(), detail })
            }
            _ => Ok(()),
        }
    }
}

impl AuditQuery {
    fn selects(&self, entry: &AuditEntry) -> bool {
        self.actor.as_ref().is_none_or(|actor| *actor == entry.actor)
            && self.action.as_ref().is_none_or(|action| *action == entry.action)
            && self.since.is_none_or(|since| entry.time >= since)
    }
}

impl Shared {
    fn head_key(&self) -> String {
        self.keys.of("audit-head", "newest")
    }

    fn entry_key(&self, sequence: u64) -> String {
        self.keys.of("audit", &format!("{sequence:0SEQUENCE_DIGITS$}"))
    }

    async fn read_head(&self) -> Result<KnownHead, StateError> {
        let found = read_json::<StoredHead>(&*self.store, &self.head_key()).await?;
        Ok(found.map_or((Head::START, None), |(head, revision)| {
            (Head { sequence: head.sequence, hash: head.hash }, Some(revision))
        }))
    }

    fn next_entry(&self, head: Head, record: &Record) -> AuditEntry {
        let mut entry = AuditEntry {
            sequence: head.sequence + 1,
            previous: head.hash,
            time: self.clock.now(),
            actor: text::bounded(&record.actor, text::ACTOR_BYTES_MAX),
            action: text::bounded(record.action, text::ACTION_BYTES_MAX),
            target: text::bounded(&record.target, text::TARGET_BYTES_MAX),
            outcome: record.outcome,
            detail: text::bounded(&record.detail, text::DETAIL_BYTES_MAX),
            hash: CHAIN_START,
        };
        entry.hash = entry_hash(&entry);
        entry
    }

    fn append(
        &self,
        compares: &[Compare],
        writes: &[Write],
        head_revision: Option<Revision>,
        entry: &AuditEntry,
    ) -> crate::state::Transaction {
        let (head_key, entry_key) = (self.head_key(), self.entry_key(entry.sequence));
        let head = StoredHead { sequence: entry.sequence, hash: entry.hash };
        let mut compares = compares.to_vec();
        compares.push(match head_revision {
            Some(revision) => Compare::At(head_key.clone(), revision),
            None => Compare::Absent(head_key.clone()),
        });
        compares.push(Compare::Absent(entry_key.clone()));
        let mut writes = writes.to_vec();
        writes.push(Write::put(entry_key, to_json(entry)));
        writes.push(Write::put(head_key, to_json(&head)));
        crate::state::Transaction { compares, writes }
    }

    async fn page(&self, after: Option<String>, descending: bool) -> Result<Vec<Entry>, StateError> {
        self.page_of(after, descending, PAGE).await
    }

    async fn page_of(
        &self,
        after: Option<String>,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<Entry>, StateError> {
        let prefix = self.keys.prefix("audit");
        self.store.range(Range { prefix, after, limit, descending }).await
    }
}

/// The sequence in an entry's key.
fn sequence_of(key: &str) -> u64 {
    key.rsplit('/').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A stored entry, or what its place in the chain says about it when it cannot be read.
fn read_entry(stored: &Entry, last: Head) -> Result<AuditEntry, ChainError> {
    let sequence = sequence_of(&stored.key);
    let entry: AuditEntry =
        from_json(&stored.key, &stored.value).map_err(|_| ChainError::Unreadable { sequence })?;
    // Under another's key: the chain names it by where it stands.
    if entry.sequence != sequence && sequence == last.sequence + 1 {
        return Err(ChainError::Altered { sequence });
    }
    Ok(entry)
}
