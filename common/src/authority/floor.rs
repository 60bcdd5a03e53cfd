//! The floor of backups: how old a snapshot must be before the store lets anything of it go. A decision of tier 3, which
//! the aggregator carries out and no node.
//!
//! Numbers only rise: what was signed once, and withdrawn or overtaken, counts never again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::document::{Signature, countersign, signers};
use super::keys::OperatorKey;
use super::{Authority, Role};
use crate::id::{Digest, FleetId};
use crate::time::Timestamp;
use crate::wire::codec;

const SIGNATURE_DOMAIN: &[u8] = b"campanile/backup-floor/v1\0";
const FORMAT: u16 = 1;
/// Least and most days of a floor.
pub const FLOOR_DAYS: std::ops::RangeInclusive<u32> = 1..=3650;
/// How long a decision may wait for its signatures.
pub const FLOOR_VALIDITY_MAX: Duration = Duration::from_secs(7 * 86_400);

/// A floor that operators want.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorDocument {
    /// Format of this structure.
    pub format: u16,
    /// The fleet.
    pub fleet: FleetId,
    /// One more than that of the decision before.
    pub number: u64,
    /// The authority that its signers read.
    pub authority_version: u64,
    /// The floor that was in force when it was made, in days.
    pub from_days: u32,
    /// The floor that is to be, in days.
    pub days: u32,
    /// When it was made.
    pub issued: Timestamp,
    /// From when on it takes no signature any more.
    pub expires: Timestamp,
}

/// A decision's exact bytes with signatures; nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedFloor {
    /// The encoded [`FloorDocument`], as it was signed.
    pub bytes: Vec<u8>,
    /// Signatures over it.
    pub signatures: Vec<Signature>,
}

/// Why a decision is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FloorDocumentError {
    /// The bytes are no decision of a known format.
    #[error("the decision about the floor cannot be read")]
    Unreadable,
    /// The content breaks a rule.
    #[error("the decision about the floor is inconsistent: {0}")]
    Inconsistent(&'static str),
}

impl FloorDocument {
    /// The format that this program writes.
    pub const FORMAT: u16 = FORMAT;

    /// Checks everything that does not take a signature.
    ///
    /// # Errors
    /// At the first rule that is broken.
    pub fn check(&self) -> Result<(), FloorDocumentError> {
        let rule =
            |holds: bool, rule| if holds { Ok(()) } else { Err(FloorDocumentError::Inconsistent(rule)) };
        rule(self.format == FORMAT, "its format is unknown")?;
        rule(self.number >= 1, "numbers begin at 1")?;
        rule(FLOOR_DAYS.contains(&self.days), "a floor has 1 to 3650 days")?;
        rule(FLOOR_DAYS.contains(&self.from_days), "it begins at no floor")?;
        rule(self.days != self.from_days, "it changes nothing")?;
        rule(self.issued < self.expires, "it expires before it was issued")?;
        rule(self.expires.since(self.issued) <= FLOOR_VALIDITY_MAX, "it waits for longer than a week")
    }

    /// The exact bytes to sign.
    ///
    /// # Errors
    /// When the content breaks a rule.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FloorDocumentError> {
        self.check()?;
        codec::encode("FloorDocument", self).map_err(|_| FloorDocumentError::Inconsistent("it is too long"))
    }
}

impl SignedFloor {
    /// Reads it without asking who signed it.
    ///
    /// # Errors
    /// When it cannot be read or breaks a rule.
    pub fn read(&self) -> Result<FloorDocument, FloorDocumentError> {
        let document: FloorDocument =
            codec::decode("FloorDocument", &self.bytes).map_err(|_| FloorDocumentError::Unreadable)?;
        document.check()?;
        Ok(document)
    }

    /// Adds a signature. Whether it counts is the verifier's to say.
    pub fn add_signature(&mut self, key: &OperatorKey) {
        countersign(&mut self.signatures, key, SIGNATURE_DOMAIN, &self.bytes);
    }

    /// The keys that validly signed, of those of `authority` in the role for orders of tier 3.
    pub fn signers(&self, authority: &Authority) -> BTreeSet<Digest> {
        signers(authority.document(), Role::Critical, SIGNATURE_DOMAIN, &self.bytes, &self.signatures)
    }

    /// Keeps the signatures that count, each operator's once.
    pub fn keep_counting(&mut self, authority: &Authority) {
        let mut left = self.signers(authority);
        let bytes = &self.bytes;
        self.signatures.retain(|signature| {
            let alone = signers(
                authority.document(),
                Role::Critical,
                SIGNATURE_DOMAIN,
                bytes,
                std::slice::from_ref(signature),
            );
            alone.contains(&signature.key) && left.remove(&signature.key)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> FloorDocument {
        FloorDocument {
            format: FORMAT,
            fleet: FleetId::from_bytes([1; 16]),
            number: 1,
            authority_version: 1,
            from_days: 30,
            days: 14,
            issued: Timestamp::from_millis(1_790_000_000_000),
            expires: Timestamp::from_millis(1_790_000_000_000) + Duration::from_secs(3600),
        }
    }

    #[test]
    fn what_is_read_is_what_was_written_and_nothing_else() {
        let bytes = document().to_bytes().unwrap();
        let signed = SignedFloor { bytes: bytes.clone(), signatures: Vec::new() };
        assert_eq!(signed.read(), Ok(document()));
        let short = SignedFloor { bytes: bytes[..bytes.len() - 1].to_vec(), signatures: Vec::new() };
        assert_eq!(short.read(), Err(FloorDocumentError::Unreadable));
    }

    #[test]
    fn a_decision_that_changes_nothing_or_never_ends_is_refused() {
        for broken in [
            FloorDocument { days: 30, ..document() },
            FloorDocument { days: 0, ..document() },
            FloorDocument { days: 4000, ..document() },
            FloorDocument { number: 0, ..document() },
            FloorDocument { expires: document().issued + FLOOR_VALIDITY_MAX * 2, ..document() },
            FloorDocument { format: 2, ..document() },
        ] {
            assert!(broken.to_bytes().is_err(), "{broken:?}");
        }
    }
}
