//! The audit chain: what an entry's hash covers, how a chain is verified, how its newest point is signed.
//!
//! Pure, so that the command line verifies what it downloaded by itself. Each entry carries the hash of the one
//! before, so none can be altered, taken out or moved without breaking the chain there; a signed [`Checkpoint`], kept
//! elsewhere, tells when the whole chain was written anew or its end was cut off.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::api::{AuditEntry, AuditOutcome, AuditVerification};
use crate::authority::sha256;
use crate::id::{Digest, FleetId};
use crate::time::Timestamp;
use crate::wire::v1::control::Checkpoint;

/// Goes before an entry's bytes in its hash.
const ENTRY_DOMAIN: &[u8] = b"campanile/audit/v1\0";
/// Goes before a checkpoint's bytes in its signature.
const CHECKPOINT_DOMAIN: &[u8] = b"campanile/audit-checkpoint/v1\0";
/// What the first entry carries as the hash of the one before.
pub const CHAIN_START: Digest = Digest::from_bytes([0; Digest::BYTES]);

/// A point of the chain: an entry's sequence and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Sequence of the entry; 0 before the first.
    pub sequence: u64,
    /// Hash of the entry.
    pub hash: Digest,
}

impl Head {
    /// Before the first entry.
    pub const START: Self = Self { sequence: 0, hash: CHAIN_START };
}

/// What is wrong with a chain, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Its content is not what was hashed.
    #[error("entry {sequence} was altered: its content does not have its hash")]
    Altered {
        /// Which.
        sequence: u64,
    },
    /// The entry is whole but does not follow the one before: one of the two was replaced.
    #[error("entry {sequence} does not carry the hash of entry {}: one of the two was replaced", sequence - 1)]
    Unlinked {
        /// Which.
        sequence: u64,
    },
    /// Entries are missing before the next one.
    #[error("entry {sequence} is missing: entry {found} follows entry {}", sequence - 1)]
    Missing {
        /// The first that is missing.
        sequence: u64,
        /// What came instead.
        found: u64,
    },
    /// An entry comes after one that it should precede, or twice.
    #[error("entry {found} is out of order: entry {sequence} should be here")]
    Reordered {
        /// What should have come.
        sequence: u64,
        /// What came.
        found: u64,
    },
    /// The chain ends before an entry that is known to exist.
    #[error("entry {sequence} is missing: the log ends before it, and it is known up to entry {known}")]
    Truncated {
        /// The first that is missing.
        sequence: u64,
        /// The last that is known.
        known: u64,
    },
    /// The entry is not the one that a checkpoint or the head names: the chain was rewritten.
    #[error("entry {sequence} is not the one that was witnessed: the log was rewritten")]
    Rewritten {
        /// Which.
        sequence: u64,
    },
    /// What names the newest entry is gone, so later entries may be too.
    #[error("entry {sequence} is the last that is left, but the record of which is the newest is gone")]
    Headless {
        /// The last that is left.
        sequence: u64,
    },
    /// The stored entry cannot be read at all.
    #[error("entry {sequence} cannot be read")]
    Unreadable {
        /// Which.
        sequence: u64,
    },
}

impl ChainError {
    /// The first entry that is bad or missing.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Altered { sequence }
            | Self::Unlinked { sequence }
            | Self::Missing { sequence, .. }
            | Self::Truncated { sequence, .. }
            | Self::Rewritten { sequence }
            | Self::Headless { sequence }
            | Self::Unreadable { sequence } => *sequence,
            Self::Reordered { found, .. } => *found,
        }
    }
}

/// Hash over everything in the entry but its `hash`: fixed lengths first, then each text behind its length.
pub fn entry_hash(entry: &AuditEntry) -> Digest {
    let outcome = match entry.outcome {
        AuditOutcome::Ok => 0_u8,
        AuditOutcome::Denied => 1,
        AuditOutcome::Failed => 2,
    };
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(ENTRY_DOMAIN);
    bytes.extend_from_slice(&entry.sequence.to_be_bytes());
    bytes.extend_from_slice(entry.previous.as_bytes());
    bytes.extend_from_slice(&entry.time.as_millis().to_be_bytes());
    bytes.push(outcome);
    for text in [&entry.actor, &entry.action, &entry.target, &entry.detail] {
        bytes.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    sha256(&[&bytes])
}

/// Verifies a chain entry by entry, from any point of it that is known to be good.
#[derive(Debug, Clone)]
pub struct ChainVerifier<'a> {
    last: Head,
    entries: u64,
    witnesses: &'a [Head],
}

impl<'a> ChainVerifier<'a> {
    /// Begins after `start`. `witnesses` are points that the chain must go through: checkpoints, the newest entry.
    pub fn new(start: Head, witnesses: &'a [Head]) -> Self {
        Self { last: start, entries: 0, witnesses }
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// When it is not the next of an unbroken chain.
    pub fn push(&mut self, entry: &AuditEntry) -> Result<(), ChainError> {
        let (sequence, found) = (self.last.sequence + 1, entry.sequence);
        if found > sequence {
            return Err(ChainError::Missing { sequence, found });
        }
        if found < sequence {
            return Err(ChainError::Reordered { sequence, found });
        }
        if entry_hash(entry) != entry.hash {
            return Err(ChainError::Altered { sequence });
        }
        if entry.previous != self.last.hash {
            return Err(ChainError::Unlinked { sequence });
        }
        if self.witnesses.iter().any(|witness| witness.sequence == sequence && witness.hash != entry.hash) {
            return Err(ChainError::Rewritten { sequence });
        }
        self.last = Head { sequence, hash: entry.hash };
        self.entries += 1;
        Ok(())
    }

    /// The last entry that was found good.
    pub fn last(&self) -> Head {
        self.last
    }

    /// Ends the chain here.
    ///
    /// # Errors
    /// When a witness knows an entry behind the last.
    pub fn finish(&self) -> Result<(), ChainError> {
        match self.witnesses.iter().map(|witness| witness.sequence).max() {
            Some(known) if known > self.last.sequence => {
                Err(ChainError::Truncated { sequence: self.last.sequence + 1, known })
            }
            _ => Ok(()),
        }
    }

    /// The result as the API shows it.
    pub fn report(&self, result: Result<(), ChainError>) -> AuditVerification {
        let problem = result.err();
        AuditVerification {
            intact: problem.is_none(),
            entries: self.entries,
            bad_sequence: problem.as_ref().map(ChainError::sequence),
            problem: problem.map(|problem| problem.to_string()),
        }
    }
}

/// Verifies a whole log against witnesses.
pub fn verify_entries<'e>(
    entries: impl IntoIterator<Item = &'e AuditEntry>,
    witnesses: &[Head],
) -> AuditVerification {
    let mut verifier = ChainVerifier::new(Head::START, witnesses);
    let result = entries.into_iter().try_for_each(|entry| verifier.push(entry));
    let result = result.and_then(|()| verifier.finish());
    verifier.report(result)
}

fn checkpoint_bytes(fleet: FleetId, head: Head, time: Timestamp) -> Vec<u8> {
    [
        CHECKPOINT_DOMAIN,
        fleet.as_bytes(),
        &head.sequence.to_be_bytes(),
        head.hash.as_bytes(),
        &time.as_millis().to_be_bytes(),
    ]
    .concat()
}

/// The aggregator's key for checkpoints. Prints as `[redacted]`.
pub struct AuditKey(Ed25519KeyPair);

impl std::fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditKey([redacted])")
    }
}

impl AuditKey {
    /// The key with this seed.
    ///
    /// # Panics
    /// Never: every 32 bytes are an Ed25519 seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are an Ed25519 seed"))
    }

    /// The public half, with which checkpoints are verified.
    ///
    /// # Panics
    /// Never: an Ed25519 public key has 32 bytes.
    pub fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
    }

    /// Signs a point of the chain.
    pub fn checkpoint(&self, fleet: FleetId, head: Head, time: Timestamp) -> Checkpoint {
        let signature = self.0.sign(&checkpoint_bytes(fleet, head, time)).as_ref().to_vec();
        Checkpoint { sequence: head.sequence, hash: head.hash, time, signature }
    }
}

/// The point that a checkpoint names; none unless the signature is that of the key `public`.
pub fn verify_checkpoint(fleet: FleetId, public: &[u8; 32], checkpoint: &Checkpoint) -> Option<Head> {
    let head = Head { sequence: checkpoint.sequence, hash: checkpoint.hash };
    UnparsedPublicKey::new(&ED25519, public)
        .verify(&checkpoint_bytes(fleet, head, checkpoint.time), &checkpoint.signature)
        .is_ok()
        .then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(length: u64) -> Vec<AuditEntry> {
        let mut entries: Vec<AuditEntry> = Vec::new();
        for sequence in 1..=length {
            entries.push(sealed(AuditEntry {
                sequence,
                previous: entries.last().map_or(CHAIN_START, |entry| entry.hash),
                time: Timestamp::from_millis(sequence * 1000),
                actor: format!("person:{sequence}"),
                action: "node.retire".to_owned(),
                target: "node/1".to_owned(),
                outcome: AuditOutcome::Ok,
                detail: String::new(),
                hash: CHAIN_START,
            }));
        }
        entries
    }

    fn sealed(mut entry: AuditEntry) -> AuditEntry {
        entry.hash = entry_hash(&entry);
        entry
    }

    fn head_of(entry: &AuditEntry) -> Head {
        Head { sequence: entry.sequence, hash: entry.hash }
    }

    #[track_caller]
    fn assert_bad(entries: &[AuditEntry], witnesses: &[Head], sequence: u64, word: &str) {
        let found = verify_entries(entries, witnesses);
        assert_eq!((found.intact, found.bad_sequence), (false, Some(sequence)), "{found:?}");
        assert!(found.problem.as_ref().unwrap().contains(word), "{found:?}");
    }

    #[test]
    fn an_unbroken_chain_is_intact() {
        let entries = chain(20);
        let found = verify_entries(&entries, &[head_of(&entries[7]), head_of(&entries[19])]);
        assert_eq!((found.intact, found.entries, found.problem), (true, 20, None));
        assert!(verify_entries(&[], &[]).intact);
    }

    #[test]
    fn the_hash_is_the_one_of_the_first_release() {
        // What was written stays verifiable: this changes only with the domain tag.
        let entry = &chain(1)[0];
        assert_eq!(
            entry.hash.to_string(),
            "35f85341a630012ded3ca38ff5f8d87ae017f44cac9358d370b3993895e20b66"
        );
    }

    #[test]
    fn every_alteration_is_named() {
        let alterations: [fn(&mut AuditEntry); 7] = [
            |entry| entry.time = Timestamp::from_millis(1),
            |entry| entry.actor.push('x'),
            |entry| entry.action.clear(),
            |entry| entry.target = "node/2".to_owned(),
            |entry| entry.outcome = AuditOutcome::Failed,
            |entry| entry.detail = "x".to_owned(),
            |entry| entry.hash = CHAIN_START,
        ];
        for alter in alterations {
            let mut entries = chain(9);
            alter(&mut entries[4]);
            assert_bad(&entries, &[], 5, "altered");
        }
    }

    #[test]
    fn text_moved_between_fields_is_another_entry() {
        let mut entry = chain(1).remove(0);
        let moved = entry.actor.pop().unwrap();
        entry.action.insert(0, moved);
        assert_bad(&[entry], &[], 1, "altered");
    }

    #[test]
    fn an_entry_that_was_replaced_whole_breaks_the_next_one() {
        let mut entries = chain(9);
        entries[4].actor = "person:nobody".to_owned();
        entries[4] = sealed(entries[4].clone());
        assert_bad(&entries, &[], 6, "hash of entry 5");
    }

    #[test]
    fn missing_moved_and_repeated_entries_are_named() {
        let mut missing = chain(9);
        missing.remove(4);
        assert_bad(&missing, &[], 5, "missing");
        let mut first = chain(9);
        first.remove(0);
        assert_bad(&first, &[], 1, "missing");
        let mut repeated = chain(9);
        repeated.insert(5, repeated[4].clone());
        assert_bad(&repeated, &[], 5, "out of order");
    }

    #[test]
    fn a_cut_or_rewritten_chain_is_told_by_a_witness() {
        let entries = chain(9);
        let witness = head_of(&entries[8]);
        assert!(verify_entries(&entries[..6], &[]).intact, "nothing within tells that more existed");
        assert_bad(&entries[..6], &[witness], 7, "ends before");
        assert_bad(&[], &[witness], 1, "ends before");
        let mut rewritten = chain(4);
        rewritten[3].detail = "rewritten".to_owned();
        rewritten[3] = sealed(rewritten[3].clone());
        assert_bad(&rewritten, &[head_of(&entries[3])], 4, "rewritten");
    }

    #[test]
    fn a_checkpoint_holds_for_its_key_fleet_and_content_alone() {
        let (key, fleet) = (AuditKey::from_seed(&[7; 32]), FleetId::from_bytes([1; 16]));
        let head = head_of(&chain(1)[0]);
        let checkpoint = key.checkpoint(fleet, head, Timestamp::from_millis(5));
        assert_eq!(verify_checkpoint(fleet, &key.public(), &checkpoint), Some(head));
        let other_key = AuditKey::from_seed(&[8; 32]).public();
        assert_eq!(verify_checkpoint(fleet, &other_key, &checkpoint), None);
        assert_eq!(verify_checkpoint(FleetId::from_bytes([2; 16]), &key.public(), &checkpoint), None);
        let later = Checkpoint { sequence: 2, ..checkpoint.clone() };
        assert_eq!(verify_checkpoint(fleet, &key.public(), &later), None);
        let cut = Checkpoint { signature: checkpoint.signature[1..].to_vec(), ..checkpoint };
        assert_eq!(verify_checkpoint(fleet, &key.public(), &cut), None);
    }

    proptest! {
        #[test]
        fn any_swap_is_found(first in 0_usize..12, second in 0_usize..12) {
            let mut entries = chain(12);
            entries.swap(first, second);
            prop_assert_eq!(verify_entries(&entries, &[]).intact, first == second);
        }
    }
}
