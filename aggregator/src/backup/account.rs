//! What one node has in the store, as its receipt journal tells it.
//!
//! Held in memory: about 100 bytes an object, 10 MB for 10^5 packs.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use campanile_common::backup::{PolicyName, StoredKind, StoredObject};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;

use super::record::{Bound, Closure, Flaw, Record, Suspicion};

/// That an object was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its length.
    pub size: u64,
    /// When it was received, by the aggregator's clock.
    pub received: Timestamp,
    /// When it was last read back.
    pub verified: Option<Timestamp>,
    /// What else was received with it.
    pub bound: Option<Box<Bound>>,
}

impl Receipt {
    /// What a snapshot needs; none for other kinds.
    pub fn closure(&self) -> Option<&Closure> {
        match self.bound.as_deref() {
            Some(Bound::Closure(closure)) => Some(closure),
            Some(Bound::Content(_)) | None => None,
        }
    }

    /// Bytes on disk, with the list of packs.
    pub fn bytes(&self) -> u64 {
        let names = self.closure().map_or(0, |closure| closure.packs);
        self.size.saturating_add(names.saturating_mul(32))
    }
}

/// An object that was let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// Its receipt, as it was.
    pub receipt: Receipt,
    /// Since when.
    pub at: Timestamp,
    /// It can be brought back until then.
    pub until: Timestamp,
}

/// Something that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reasons: Vec<Suspicion>,
    /// In words.
    pub detail: String,
    /// Objects of the proposal; 0 where nothing was proposed.
    pub proposed: u64,
}

/// An object that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Since when it is known.
    pub at: Timestamp,
    /// What is wrong.
    pub flaw: Flaw,
}

/// How far reading everything back has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The last object that was read back in this cycle.
    pub last: Option<StoredObject>,
    /// When the last cycle ended.
    pub ended: Option<Timestamp>,
}

/// A snapshot as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Its name.
    pub id: Digest,
    /// When it was received.
    pub received: Timestamp,
    /// Bytes of the packs that it needs.
    pub bytes: u64,
    /// Of those, bytes that came after the snapshot before.
    pub new_bytes: u64,
    /// The policy that made it, by the node's word.
    pub policy: Option<PolicyName>,
}

/// Everything of one node.
#[derive(Debug, Clone, Default)]
pub struct Account {
    pub(super) objects: BTreeMap<StoredObject, Receipt>,
    pub(super) trash: BTreeMap<StoredObject, Trashed>,
    pub(super) holds: BTreeMap<u64, Hold>,
    pub(super) findings: BTreeMap<StoredObject, Finding>,
    pub(super) progress: Progress,
    next_hold: u64,
    released: Option<Timestamp>,
    bytes: u64,
    trash_bytes: u64,
}

impl Account {
    /// As the journal tells it.
    pub(super) fn replay(records: &[Record]) -> Self {
        let mut account = Self::default();
        for record in records {
            account.apply(record);
        }
        account
    }

    /// Takes over a line of the journal. One that names what is not there changes nothing.
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Stored { object, size, at, bound } => {
                let bound = bound.clone().map(Box::new);
                self.add(*object, Receipt { size: *size, received: *at, verified: None, bound });
            }
            Record::Trashed { object, at, until } => {
                let Some(receipt) = self.objects.remove(object) else { return };
                self.bytes = self.bytes.saturating_sub(receipt.bytes());
                self.trash_bytes += receipt.bytes();
                self.findings.remove(object);
                self.trash.insert(*object, Trashed { receipt, at: *at, until: *until });
            }
            Record::Restored { object } => {
                let Some(trashed) = self.trash.remove(object) else { return };
                self.trash_bytes = self.trash_bytes.saturating_sub(trashed.receipt.bytes());
                self.add(*object, trashed.receipt);
            }
            Record::Gone { object } => {
                let Some(trashed) = self.trash.remove(object) else { return };
                self.trash_bytes = self.trash_bytes.saturating_sub(trashed.receipt.bytes());
            }
            Record::Held { id, at, reasons, detail, proposed } => {
                let (reasons, detail) = (reasons.clone(), detail.clone());
                self.holds.insert(*id, Hold { at: *at, reasons, detail, proposed: *proposed });
                self.next_hold = self.next_hold.max(id + 1);
            }
            Record::Settled { id, at, settlement: _ } => {
                self.holds.remove(id);
                self.next_hold = self.next_hold.max(id + 1);
                self.released = Some(*at);
            }
            Record::Verified { after, last, at } => self.verified(*after, *last, *at),
            Record::CycleEnded { at } => self.progress = Progress { last: None, ended: Some(*at) },
            Record::Found { object, at, flaw } => {
                self.findings.insert(*object, Finding { at: *at, flaw: *flaw });
            }
            Record::Healed { object } => {
                self.findings.remove(object);
            }
            Record::Synced => {}
        }
    }

    fn add(&mut self, object: StoredObject, receipt: Receipt) {
        self.bytes += receipt.bytes();
        if let Some(before) = self.objects.insert(object, receipt) {
            self.bytes = self.bytes.saturating_sub(before.bytes());
        }
    }

    fn verified(&mut self, after: Option<StoredObject>, last: StoredObject, at: Timestamp) {
        self.progress.last = Some(last);
        let start = after.map_or(Unbounded, Excluded);
        if after.is_some_and(|after| after >= last) {
            return;
        }
        for (_, receipt) in self.objects.range_mut((start, Included(last))) {
            receipt.verified = Some(at);
        }
    }

    /// The fewest lines that tell the same.
    pub(super) fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(at) = self.released {
            let settlement = super::record::Settlement::Released;
            records.push(Record::Settled { id: self.next_hold.saturating_sub(1), at, settlement });
        }
        let stored = |object: &StoredObject, receipt: &Receipt| Record::Stored {
            object: *object,
            size: receipt.size,
            at: receipt.received,
            bound: receipt.bound.as_deref().cloned(),
        };
        records.extend(self.objects.iter().map(|(object, receipt)| stored(object, receipt)));
        records.extend(self.verified_records());
        if let Some(at) = self.progress.ended {
            records.push(Record::CycleEnded { at });
        }
        if let Some(last) = self.progress.last {
            let at = self.objects.get(&last).and_then(|receipt| receipt.verified).unwrap_or_default();
            records.push(Record::Verified { after: Some(last), last, at });
        }
        for (object, trashed) in &self.trash {
            records.push(stored(object, &trashed.receipt));
            records.push(Record::Trashed { object: *object, at: trashed.at, until: trashed.until });
        }
        for (id, hold) in &self.holds {
            records.push(Record::Held {
                id: *id,
                at: hold.at,
                reasons: hold.reasons.clone(),
                detail: hold.detail.clone(),
                proposed: hold.proposed,
            });
        }
        let found = self.findings.iter();
        records.extend(found.map(|(object, found)| Record::Found {
            object: *object,
            at: found.at,
            flaw: found.flaw,
        }));
        records
    }

    /// Neighbours that were read back at the same time share a line.
    fn verified_records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        let mut before: Option<StoredObject> = None;
        let mut run: Option<Timestamp> = None;
        for (object, receipt) in &self.objects {
            match (receipt.verified, records.last_mut()) {
                (Some(at), Some(Record::Verified { last, .. })) if run == Some(at) => *last = *object,
                (Some(at), _) => records.push(Record::Verified { after: before, last: *object, at }),
                (None, _) => {}
            }
            (run, before) = (receipt.verified, Some(*object));
        }
        records
    }

    /// Objects of a kind in the order of their names, behind `after`.
    pub fn of_kind(
        &self,
        kind: StoredKind,
        after: Option<Digest>,
    ) -> impl Iterator<Item = (Digest, &Receipt)> {
        let first = StoredObject::new(kind, Digest::from_bytes([0; Digest::BYTES]));
        let start = after.map_or(Included(first), |after| Excluded(StoredObject::new(kind, after)));
        let last = StoredObject::new(kind, Digest::from_bytes([0xff; Digest::BYTES]));
        // An end before the start would be a panic; the last name of all has nothing behind it.
        let end = if start == Excluded(last) { Unbounded } else { Included(last) };
        let found = self.objects.range((start, end)).filter(move |(object, _)| object.kind == kind);
        found.map(|(object, receipt)| (object.id, receipt))
    }

    /// The snapshots, oldest first by receipt.
    pub fn history(&self) -> Vec<SnapshotFacts> {
        let facts = |(id, receipt): (Digest, &Receipt)| SnapshotFacts {
            id,
            received: receipt.received,
            bytes: receipt.closure().map_or(0, |closure| closure.bytes),
            new_bytes: receipt.closure().map_or(0, |closure| closure.new_bytes),
            policy: receipt.closure().and_then(|closure| closure.policy.clone()),
        };
        let mut history: Vec<SnapshotFacts> = self.of_kind(StoredKind::Snapshot, None).map(facts).collect();
        history.sort_by_key(|snapshot| (snapshot.received, snapshot.id));
        history
    }

    /// When the newest snapshot was received.
    pub fn newest_snapshot(&self) -> Option<Timestamp> {
        self.of_kind(StoredKind::Snapshot, None).map(|(_, receipt)| receipt.received).max()
    }

    /// When a person last settled what waited.
    pub fn released(&self) -> Option<Timestamp> {
        self.released
    }

    /// The number of the next hold.
    pub(super) fn next_hold(&self) -> u64 {
        self.next_hold
    }

    /// Bytes that count, without the trash.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes in the trash.
    pub fn trash_bytes(&self) -> u64 {
        self.trash_bytes
    }

    /// Why deletions wait; empty when they do not.
    pub fn open_reasons(&self) -> Vec<Suspicion> {
        let mut reasons: Vec<Suspicion> =
            self.holds.values().flat_map(|hold| hold.reasons.iter().copied()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }

    /// Bytes that were read back since `since`.
    pub fn verified_bytes(&self, since: Timestamp) -> u64 {
        let is_fresh = |receipt: &&Receipt| receipt.verified.is_some_and(|at| at >= since);
        self.objects.values().filter(is_fresh).map(Receipt::bytes).sum()
    }

    /// The share of bytes, of 0 to 1, that were read back since `since`; none where nothing is stored.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn coverage(&self, since: Timestamp) -> Option<f64> {
        let is_fresh = |receipt: &&Receipt| receipt.verified.is_some_and(|at| at >= since);
        let total: u64 = self.objects.values().map(|receipt| receipt.size).sum();
        let fresh: u64 = self.objects.values().filter(is_fresh).map(|receipt| receipt.size).sum();
        (total > 0).then(|| fresh as f64 / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::backup::StoredKind::{Index, Pack, Snapshot};

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn object(kind: StoredKind, number: u8) -> StoredObject {
        StoredObject::new(kind, Digest::from_bytes([number; 32]))
    }

    fn stored(kind: StoredKind, number: u8, size: u64, ms: u64) -> Record {
        let closure =
            Closure { packs: 2, bytes: 50, new_bytes: 5, digest: Digest::from_bytes([0; 32]), policy: None };
        let bound = (kind == Snapshot).then_some(Bound::Closure(closure));
        Record::Stored { object: object(kind, number), size, at: at(ms), bound }
    }

    fn sample() -> Account {
        let hold = Record::Held {
            id: 3,
            at: at(9),
            reasons: vec![Suspicion::Newest],
            detail: String::new(),
            proposed: 1,
        };
        Account::replay(&[
            stored(Pack, 1, 100, 1),
            stored(Pack, 2, 200, 2),
            stored(Pack, 3, 400, 2),
            stored(Index, 1, 10, 3),
            stored(Snapshot, 1, 5, 4),
            stored(Snapshot, 0xff, 5, 3),
            Record::Verified { after: None, last: object(Pack, 1), at: at(6) },
            Record::Trashed { object: object(Pack, 3), at: at(7), until: at(20) },
            Record::Found { object: object(Pack, 2), at: at(8), flaw: Flaw::Damaged },
            hold,
        ])
    }

    #[test]
    fn bytes_move_with_their_object() {
        let mut account = sample();
        assert_eq!((account.bytes(), account.trash_bytes()), (100 + 200 + 10 + 2 * (5 + 64), 400));
        account.apply(&Record::Restored { object: object(Pack, 3) });
        assert_eq!((account.bytes(), account.trash_bytes()), (710 + 138, 0));
        account.apply(&Record::Trashed { object: object(Pack, 3), at: at(7), until: at(20) });
        account.apply(&Record::Gone { object: object(Pack, 3) });
        assert_eq!((account.bytes(), account.trash_bytes()), (310 + 138, 0));
    }

    #[test]
    fn a_shortened_journal_tells_the_same() {
        let mut account = sample();
        account.apply(&Record::Settled {
            id: 2,
            at: at(9),
            settlement: super::super::record::Settlement::Refused,
        });
        let again = Account::replay(&account.to_records());
        assert_eq!(format!("{again:?}"), format!("{account:?}"));
    }

    #[test]
    fn a_kind_is_listed_in_order_and_from_anywhere() {
        let account = sample();
        let names = |kind, after| account.of_kind(kind, after).map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(names(Pack, None), [object(Pack, 1).id, object(Pack, 2).id]);
        assert_eq!(names(Pack, Some(object(Pack, 1).id)), [object(Pack, 2).id]);
        assert!(names(Pack, Some(object(Pack, 0xff).id)).is_empty());
        assert!(names(Snapshot, Some(object(Snapshot, 0xff).id)).is_empty());
        assert_eq!(names(Index, None).len(), 1);
    }

    #[test]
    fn snapshots_come_in_the_order_of_their_receipts() {
        let history = sample().history();
        assert_eq!(history.iter().map(|s| s.received).collect::<Vec<_>>(), [at(3), at(4)]);
        assert_eq!(sample().newest_snapshot(), Some(at(4)));
    }

    #[test]
    fn coverage_is_the_share_that_was_read_back() {
        let account = sample();
        assert_eq!(account.coverage(at(7)), Some(0.0));
        assert!((account.coverage(at(6)).unwrap() - 120.0 / 320.0).abs() < 1e-9);
        assert_eq!(Account::default().coverage(at(0)), None);
    }
}
