//! New generations: held against the authority, their parts and the head, then stored in one commit with the audit entry.

use std::collections::BTreeSet;
use std::sync::Arc;

use campanile_common::api::{AuditOutcome, GenerationSummary};
use campanile_common::authority::ConfigMode;
use campanile_common::config::{Generation, GenerationError, Purpose, SignedGeneration, part_digest};
use campanile_common::id::Digest;
use serde_json::json;

use super::record::{GenerationRecord, HeadRecord, Point, generation_key, head_key};
use super::{Config, ConfigError, approve};
use crate::audit::Record as AuditRecord;
use crate::state::{Committed, Compare, Revision, StateError, Write, read_json, to_json};

/// Most bytes of a generation's record; a transaction takes a mebibyte, with the head and the audit entry.
const RECORD_BYTES_MAX: usize = 900 * 1024;
/// Missing parts that a refusal names.
const NAMED_MAX: usize = 5;

/// What whoever submits a release takes the head to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Not said.
    Unsaid,
    /// There is none yet.
    Nothing,
    /// This one.
    Head(Digest),
}

/// A generation that somebody hands in, whole or with a signature more.
pub(super) struct Handed<'a> {
    pub(super) named: Digest,
    pub(super) bytes: Vec<u8>,
    pub(super) expected: Expected,
    pub(super) by: &'a str,
}

/// A generation that may be stored, but for the head.
struct Checked {
    generation: Generation,
    record: GenerationRecord,
    bytes: Vec<u8>,
}

impl Config {
    /// Stores a generation under the digest that names it. Where the authority demands more signatures than it carries
    /// it waits for them, and counts for nothing until then. The same one again is no error and changes nothing.
    ///
    /// # Errors
    /// When no operator in force signed it, parts of it are missing, or, of a release, when it does not follow the head.
    pub async fn submit(
        &self,
        named: Digest,
        bytes: Vec<u8>,
        expected: Expected,
        by: &str,
    ) -> Result<GenerationSummary, ConfigError> {
        if *self.shared.with.is_frozen.borrow() {
            return Err(ConfigError::Frozen);
        }
        // Until the commit no part goes that this finds.
        let mut turn = self.shared.turn.lock().await;
        if let Some(known) = self.generation(named).filter(|known| known.signatures_missing == 0) {
            // Signed again or not, it is the same content.
            return Ok(known);
        }
        self.take(&mut turn, Handed { named, bytes, expected, by }).await
    }

    /// Stores a generation that is not known, or waits: with all signatures it is in force, else it waits for more.
    pub(super) async fn take(
        &self,
        turn: &mut Option<Revision>,
        handed: Handed<'_>,
    ) -> Result<GenerationSummary, ConfigError> {
        let Handed { named, bytes, expected, by } = handed;
        let held = self.known().generations.get(&named).cloned();
        let (before, submitter) = (held.clone(), by.to_owned());
        let checked =
            self.blocking(move |config| config.check(named, bytes, before.as_deref(), &submitter)).await?;
        let Checked { generation, record, bytes } = checked;
        let (is_waiting, is_release) = (record.is_waiting(), generation.purpose == Purpose::Release);
        if is_release {
            self.check_head(&generation, expected)?;
        }
        if let Some(held) = held.as_ref().filter(|held| held.operators == record.operators) {
            return Ok(held.to_api(0));
        }
        let replaced = if held.is_none() && is_waiting { self.make_room(&record)? } else { Vec::new() };
        let (keys, signed) = (&self.shared.with.keys, record.signed);
        let mut compares = Vec::new();
        let mut writes = vec![Write::put(generation_key(keys, named), to_json(&record))];
        writes.extend(replaced.iter().map(|old| Write::Delete { key: generation_key(keys, *old) }));
        let head = (is_release && !is_waiting).then(|| {
            let settled = self.known().head.as_ref().and_then(|head| head.settled);
            let (head, key) = (HeadRecord { point: record.point, settled }, head_key(keys));
            compares.push(match *turn {
                Some(revision) => Compare::At(key.clone(), revision),
                None => Compare::Absent(key.clone()),
            });
            writes.push(Write::put(key, to_json(&head)));
            head
        });
        self.put_part(signed, bytes).await?;
        let audit = noted(&record, by, held.is_some());
        match self.shared.with.audit.commit(compares, writes, audit).await? {
            Committed::Done(revision) => {
                if head.is_some() {
                    *turn = Some(revision);
                }
                replaced.into_iter().for_each(|old| self.known().remove(old));
                Ok(self.put_up(record, head))
            }
            Committed::Conflict => {
                *turn = self.read_head().await?;
                Err(self.conflict())
            }
        }
    }

    /// Everything that takes no look at the head. With one that waits its signatures are taken together.
    fn check(
        &self,
        named: Digest,
        bytes: Vec<u8>,
        held: Option<&GenerationRecord>,
        by: &str,
    ) -> Result<Checked, ConfigError> {
        let mut signed = SignedGeneration::decode(&bytes)?;
        let found = signed.digest();
        if found != named {
            return Err(ConfigError::Invalid(format!(
                "this is generation {found}, not {named}; send each generation under its own digest"
            )));
        }
        if let Some(held) = held {
            let before = SignedGeneration::decode(&self.parts().read(held.signed)?)?;
            for signature in before.signatures {
                if signed.signatures.iter().all(|known| known.key != signature.key) {
                    signed.signatures.push(signature);
                }
            }
        }
        let authority = Arc::clone(&self.shared.with.authority.borrow());
        let document = authority.document();
        if self.now() >= document.expires {
            return Err(ConfigError::Signatures(format!(
                "the fleet's authority expired on {}; an operator must renew it",
                document.expires
            )));
        }
        let tally = signed.tally(&authority)?;
        if tally.signers.is_empty() {
            return Err(GenerationError::Signatures { found: 0, needed: tally.needed }.into());
        }
        let made_under = tally.generation.authority_version;
        if made_under != document.version {
            return Err(ConfigError::Stale(format!(
                "the generation was made under authority version {made_under}, version {} is in force; make it anew",
                document.version
            )));
        }
        self.check_parts(&tally.generation)?;
        let bytes = signed.encode();
        let mut record = GenerationRecord::new(&tally, part_digest(&bytes), by, self.now());
        if let Some(held) = held {
            record.submitted_by.clone_from(&held.submitted_by);
            if record.is_waiting() {
                record.submitted = held.submitted;
            }
        }
        if to_json(&record).len() > RECORD_BYTES_MAX {
            return Err(ConfigError::Invalid(
                "the generation has too many layers with too long names; put some together".to_owned(),
            ));
        }
        Ok(Checked { generation: tally.generation, record, bytes })
    }

    fn check_parts(&self, generation: &Generation) -> Result<(), ConfigError> {
        let mut wanted: BTreeSet<Digest> = generation.layers.iter().map(|layer| layer.digest).collect();
        let mut missing = self.missing_parts(&wanted.iter().copied().collect::<Vec<_>>());
        if missing.is_empty() {
            for layer in generation.layers.iter().map(|layer| layer.digest).collect::<BTreeSet<_>>() {
                wanted.extend(self.files_of(layer)?.iter().copied());
            }
        }
        wanted.extend(generation.secrets.values().flat_map(|secret| secret.sealed.values().copied()));
        missing.extend(self.missing_parts(&wanted.into_iter().collect::<Vec<_>>()));
        missing.sort();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = missing.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        let more = if missing.len() > NAMED_MAX { " and others" } else { "" };
        Err(ConfigError::MissingParts(format!(
            "{} parts of the generation are not here: {}{more}; send them first",
            missing.len(),
            named.join(", ")
        )))
    }

    /// A release follows the head, and whoever makes it knew so.
    fn check_head(&self, generation: &Generation, expected: Expected) -> Result<(), ConfigError> {
        let head = self.known().head.as_ref().map(|head| head.point);
        let is_expected = match (expected, head) {
            (Expected::Unsaid, _) => {
                return Err(ConfigError::Invalid(
                    "a release names the head that it follows: send `If-Match: \"DIGEST\"`, or `If-None-Match: *` \
                     with the first"
                        .to_owned(),
                ));
            }
            (Expected::Nothing, None) => true,
            (Expected::Head(digest), Some(head)) => digest == head.digest,
            _ => false,
        };
        let follows = generation.parent == head.map(|head| head.digest)
            && generation.number == head.map_or(1, |head| head.number.saturating_add(1));
        if is_expected && follows { Ok(()) } else { Err(self.conflict()) }
    }

    fn conflict(&self) -> ConfigError {
        ConfigError::Conflict(match self.head() {
            Some(head) => format!(
                "generation {} ({}) was released meanwhile; look what it changes and make yours anew on top of it",
                head.number, head.digest
            ),
            None => "nothing was released yet; make yours anew as the first".to_owned(),
        })
    }

    /// Takes over the head from the store: somebody else wrote it.
    async fn read_head(&self) -> Result<Option<Revision>, ConfigError> {
        let with = &self.shared.with;
        let head = read_json::<HeadRecord>(&*with.store, &head_key(&with.keys)).await?;
        let (head, revision) = head.unzip();
        if let Some(point) = head.as_ref().map(|head| head.point)
            && self.generation(point.digest).is_none()
        {
            let key = generation_key(&with.keys, point.digest);
            let found = read_json::<GenerationRecord>(&*with.store, &key).await?;
            let gone = || StateError::Unreadable { key: key.clone(), detail: "it is gone".to_owned() };
            self.known().insert(Arc::new(found.ok_or_else(gone)?.0));
        }
        self.known().head = head;
        Ok(revision)
    }

    fn put_up(&self, record: GenerationRecord, head: Option<HeadRecord>) -> GenerationSummary {
        let summary = record.to_api(0);
        let mut known = self.known();
        known.insert(Arc::new(record));
        let is_release = head.is_some();
        if is_release {
            known.head = head;
        }
        drop(known);
        if is_release {
            let body = json!({
                "number": summary.number, "digest": summary.digest, "author": summary.author,
                "message": summary.message,
            });
            self.shared.with.events.publish("config.generation", None, &body);
            tracing::info!(number = summary.number, digest = %summary.digest, "generation released");
        }
        if summary.signatures_missing > 0 {
            let id = approve::id(summary.digest);
            self.shared.with.events.publish("order.proposed", None, &json!({ "id": id }));
        }
        self.shared.changed.notify_one();
        summary
    }

    /// Nodes that were away or are enrolled later go to this release, or a newer one, by themselves from now on.
    ///
    /// # Errors
    /// When it is no release, or the store fails.
    pub async fn settle(&self, digest: Digest, by: &str) -> Result<GenerationSummary, ConfigError> {
        let mut turn = self.shared.turn.lock().await;
        let summary = self.find(&digest.to_string())?;
        if summary.purpose != Purpose::Release.as_str() {
            return Err(ConfigError::Invalid(format!("generation {digest} is a draft: no node goes to it")));
        }
        if summary.signatures_missing > 0 {
            return Err(approve::lacking(&summary));
        }
        let point = Point { number: summary.number, digest };
        let Some(head) = self.known().head.clone() else { return Err(ConfigError::None) };
        if head.settled.is_some_and(|settled| settled.number >= point.number) {
            return Ok(summary);
        }
        let (key, head) = (head_key(&self.shared.with.keys), HeadRecord { settled: Some(point), ..head });
        let compares = turn.map(|revision| Compare::At(key.clone(), revision)).into_iter().collect();
        let writes = vec![Write::put(key, to_json(&head))];
        let audit = AuditRecord {
            actor: by.to_owned(),
            action: "config.settle",
            target: format!("generation:{digest}"),
            outcome: AuditOutcome::Ok,
            detail: format!("number={}", point.number),
        };
        match self.shared.with.audit.commit(compares, writes, audit).await? {
            Committed::Done(revision) => {
                *turn = Some(revision);
                self.known().head = Some(head);
                let body = json!({ "number": point.number, "digest": digest, "settled": true });
                self.shared.with.events.publish("config.generation", None, &body);
                self.shared.changed.notify_one();
                Ok(summary)
            }
            Committed::Conflict => {
                *turn = self.read_head().await?;
                Err(self.conflict())
            }
        }
    }

    /// Whether an order may name this generation. `is_last` is an order that nodes are given now; one that still waits
    /// for signatures may name a generation that does as well.
    ///
    /// # Errors
    /// When it is not here, lacks signatures, or is a draft that is to be applied.
    pub fn admit(&self, digest: Digest, mode: ConfigMode, is_last: bool) -> Result<(), ConfigError> {
        let summary = self.find(&digest.to_string())?;
        match mode {
            ConfigMode::Apply { .. } if summary.purpose != Purpose::Release.as_str() => {
                Err(ConfigError::Invalid(format!(
                    "generation {digest} is a draft: it was signed to be planned, not to be applied"
                )))
            }
            _ if is_last && summary.signatures_missing > 0 => Err(approve::lacking(&summary)),
            _ => Ok(()),
        }
    }
}

/// What is audited of a generation that is stored; `is_known` had signatures before.
fn noted(record: &GenerationRecord, by: &str, is_known: bool) -> AuditRecord {
    let action = match (record.is_waiting(), record.purpose) {
        (true, _) if is_known => "config.sign",
        (true, _) => "config.propose",
        (false, Purpose::Release) => "config.release",
        (false, Purpose::Draft) => "config.draft",
    };
    let missing = match record.is_waiting() {
        true => format!(" signatures={}/{}", record.operators.len(), record.signatures_needed),
        false => String::new(),
    };
    AuditRecord {
        actor: by.to_owned(),
        action,
        target: format!("generation:{}", record.point.digest),
        outcome: AuditOutcome::Ok,
        detail: format!(
            "number={} operators={}{missing} layers={} secrets={}: {}",
            record.point.number,
            record.operators.join(","),
            record.layers.len(),
            record.secrets.len(),
            record.message
        ),
    }
}
