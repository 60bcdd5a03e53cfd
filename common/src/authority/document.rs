//! The authority document, its exact bytes, and the verification of its chain.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::document_v1::DocumentV1;
use super::keys::{OperatorKey, PublicKey};
use super::sha256;
use crate::id::{Digest, FleetId};
use crate::time::Timestamp;
use crate::wire::codec;

/// Goes before the document's bytes in every signature, so that no other signature of ours can be taken for one.
const SIGNATURE_DOMAIN: &[u8] = b"campanile/authority/v1\0";
/// Goes before the document's bytes in its digest.
const DIGEST_DOMAIN: &[u8] = b"campanile/authority-digest/v1\0";
/// Format of [`Document`]; a later one gets a new number and a conversion. Format 1 had no recovery keys.
const FORMAT: u16 = 2;
/// Most recovery keys of one authority.
pub const RECOVERY_KEYS_MAX: usize = 16;
/// Most operators of one authority: more makes a threshold meaningless.
pub const OPERATORS_MAX: usize = 64;
/// Longest operator or fleet name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What an operator's signature counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Changes of the authority itself.
    Authority,
    /// Catalogues of routine commands (tier 1).
    Catalogue,
    /// Orders of tier 2.
    Change,
    /// Orders of tier 3.
    Critical,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Authority, Self::Catalogue, Self::Change, Self::Critical];
}

/// A person with a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// What the person is called.
    pub name: String,
    /// The person's public key.
    pub key: PublicKey,
    /// What the person's signature counts for.
    pub roles: BTreeSet<Role>,
}

/// Content of one version of the authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Format of this structure.
    pub format: u16,
    /// The fleet it governs.
    pub fleet: FleetId,
    /// What people call the fleet.
    pub fleet_name: String,
    /// 1 for the first, then without a hole.
    pub version: u64,
    /// Digest of the version before; none for the first.
    pub previous: Option<Digest>,
    /// When it was made.
    pub issued: Timestamp,
    /// From when on it authorises nothing any more.
    pub expires: Timestamp,
    /// Who may order.
    pub operators: Vec<Operator>,
    /// How many distinct operators each role takes; every role is listed.
    pub thresholds: BTreeMap<Role, u16>,
    /// Keys kept off-line for the day when the operators' keys are lost. Each may sign one next version in the
    /// operators' stead, and that version must no longer list it.
    pub recovery: Vec<PublicKey>,
}

/// One operator's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Which key.
    pub key: Digest,
    /// The 64 bytes.
    pub bytes: Vec<u8>,
}

/// A document's exact bytes with signatures; nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAuthority {
    /// The encoded [`Document`], as it was signed.
    pub bytes: Vec<u8>,
    /// Signatures over it.
    pub signatures: Vec<Signature>,
}

/// A verified authority: the only kind that may be asked who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    document: Document,
    digest: Digest,
    signed: SignedAuthority,
}

/// Why an authority was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The bytes are no document of a known format.
    #[error("the authority document cannot be read")]
    Unreadable,
    /// Not the pinned document.
    #[error("the authority has digest {found}, pinned is {pinned}")]
    NotPinned {
        /// What came.
        found: Digest,
        /// What was expected.
        pinned: Digest,
    },
    /// Of another fleet.
    #[error("the authority is of fleet {found}, ours is {ours}")]
    ForeignFleet {
        /// Its fleet.
        found: FleetId,
        /// Ours.
        ours: FleetId,
    },
    /// Not the successor of the version at hand.
    #[error("authority version {found} does not follow version {current}")]
    NotNext {
        /// Its version.
        found: u64,
        /// The version at hand.
        current: u64,
    },
    /// Too few valid signatures of distinct operators.
    #[error("the authority carries {found} valid signatures of distinct operators, {needed} are needed")]
    Signatures {
        /// Valid ones.
        found: usize,
        /// Needed ones.
        needed: usize,
    },
    /// The content breaks a rule.
    #[error("the authority is inconsistent: {rule}")]
    Inconsistent {
        /// Which.
        rule: &'static str,
    },
}

impl Document {
    /// The format that this program writes.
    pub(super) const FORMAT: u16 = FORMAT;

    /// The first document of a fleet with one operator: every threshold is 1.
    pub fn first(
        fleet: FleetId,
        fleet_name: String,
        operator: Operator,
        issued: Timestamp,
        expires: Timestamp,
    ) -> Self {
        let thresholds = Role::ALL.into_iter().map(|role| (role, 1)).collect();
        Self {
            format: FORMAT,
            fleet,
            fleet_name,
            version: 1,
            previous: None,
            issued,
            expires,
            operators: vec![operator],
            thresholds,
            recovery: Vec::new(),
        }
    }

    /// Signs the document with each of `keys`.
    ///
    /// # Errors
    /// When the content breaks a rule.
    pub fn sign(&self, keys: &[&OperatorKey]) -> Result<SignedAuthority, AuthorityError> {
        self.check()?;
        let bytes = codec::encode("Document", self)
            .map_err(|_| AuthorityError::Inconsistent { rule: "it does not fit a frame" })?;
        let signatures = keys
            .iter()
            .map(|key| Signature { key: key.public().id(), bytes: key.sign(&[SIGNATURE_DOMAIN, &bytes]) })
            .collect();
        Ok(SignedAuthority { bytes, signatures })
    }

    /// How many distinct operators a role takes.
    pub fn threshold(&self, role: Role) -> usize {
        self.thresholds.get(&role).copied().map_or(usize::MAX, usize::from)
    }

    /// The version after this one, with the same content, to be changed and signed.
    pub fn successor(&self, digest: Digest, issued: Timestamp) -> Self {
        let mut next = self.clone();
        next.version += 1;
        next.previous = Some(digest);
        next.issued = issued;
        next
    }

    fn check(&self) -> Result<(), AuthorityError> {
        let rule =
            |holds: bool, rule| if holds { Ok(()) } else { Err(AuthorityError::Inconsistent { rule }) };
        rule(self.format == FORMAT, "its format is unknown")?;
        rule(!self.operators.is_empty(), "it names no operator")?;
        rule(self.operators.len() <= OPERATORS_MAX, "it names too many operators")?;
        rule(self.issued < self.expires, "it expires before it was issued")?;
        rule(self.version >= 1, "versions begin at 1")?;
        rule((self.version == 1) == self.previous.is_none(), "only the first version has no predecessor")?;
        let named = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
        rule(named(&self.fleet_name), "the fleet's name is empty or too long")?;
        rule(self.operators.iter().all(|o| named(&o.name)), "an operator's name is empty or too long")?;
        let keys: BTreeSet<_> = self.operators.iter().map(|o| o.key).collect();
        let names: BTreeSet<_> = self.operators.iter().map(|o| &o.name).collect();
        rule(keys.len() == self.operators.len(), "two operators share a key")?;
        rule(names.len() == self.operators.len(), "two operators share a name")?;
        rule(self.recovery.len() <= RECOVERY_KEYS_MAX, "it lists too many recovery keys")?;
        let recovery: BTreeSet<_> = self.recovery.iter().collect();
        rule(recovery.len() == self.recovery.len(), "it lists a recovery key twice")?;
        rule(self.recovery.iter().all(|key| !keys.contains(key)), "an operator's key is a recovery key too")?;
        for role in Role::ALL {
            let holders = self.operators.iter().filter(|o| o.roles.contains(&role)).count();
            let needed = self.thresholds.get(&role).copied().map_or(0, usize::from);
            rule(needed >= 1, "a role has no threshold")?;
            rule(needed <= holders, "a threshold is higher than the number of operators in its role")?;
        }
        Ok(())
    }
}

impl SignedAuthority {
    /// Digest of the document, by which it is pinned.
    pub fn digest(&self) -> Digest {
        sha256(&[DIGEST_DOMAIN, &self.bytes])
    }

    /// Accepts the document whose digest is `pinned`. It must also carry its own first signatures or, past
    /// version 1, enough signatures of the operators it names: a pin says which document, signatures that its
    /// operators meant it.
    ///
    /// # Errors
    /// When it is another document, inconsistent, or not signed.
    pub fn verify_pinned(self, pinned: Digest) -> Result<Authority, AuthorityError> {
        let digest = self.digest();
        if digest != pinned {
            return Err(AuthorityError::NotPinned { found: digest, pinned });
        }
        let document = self.read()?;
        if document.version == 1 {
            self.check_signatures(&document)?;
        }
        Ok(Authority { document, digest, signed: self })
    }

    /// Reads the document without asking who signed it: for showing what is to be signed.
    ///
    /// # Errors
    /// When it cannot be read or is inconsistent.
    pub fn read(&self) -> Result<Document, AuthorityError> {
        // The format comes first in every format.
        let document = match self.bytes.first() {
            Some(1) => codec::decode::<DocumentV1>("Document", &self.bytes).map(Document::from),
            _ => codec::decode("Document", &self.bytes),
        };
        let document = document.map_err(|_| AuthorityError::Unreadable)?;
        document.check()?;
        Ok(document)
    }

    /// Adds a signature. Whether it counts is the verifier's to say.
    pub fn add_signature(&mut self, key: &OperatorKey) {
        countersign(&mut self.signatures, key, SIGNATURE_DOMAIN, &self.bytes);
    }

    /// The keys that validly signed, of those in `judge`'s role for the authority.
    pub fn signers(&self, judge: &Document) -> BTreeSet<Digest> {
        signers(judge, Role::Authority, SIGNATURE_DOMAIN, &self.bytes, &self.signatures)
    }

    /// Counts distinct operators of `judge` with the role that have validly signed.
    fn check_signatures(&self, judge: &Document) -> Result<(), AuthorityError> {
        let (found, needed) = (self.signers(judge).len(), judge.threshold(Role::Authority));
        if found < needed { Err(AuthorityError::Signatures { found, needed }) } else { Ok(()) }
    }

    /// True when one of `judge`'s recovery keys signed and `next` no longer lists it: it is spent.
    fn is_recovery(&self, judge: &Document, next: &Document) -> bool {
        let mut spent = judge.recovery.iter().filter(|key| !next.recovery.contains(key));
        spent.any(|key| self.signatures.iter().any(|signature| self.is_signature_of(signature, key)))
    }

    /// True when this is a valid signature of `key` over these bytes. Whether the key counts is the verifier's to say.
    pub fn is_signature_of(&self, signature: &Signature, key: &PublicKey) -> bool {
        signature.key == key.id() && key.verifies(&[SIGNATURE_DOMAIN, &self.bytes], &signature.bytes)
    }
}

/// Puts the key's signature over `domain` and `bytes` among `signatures`, in the place of an earlier one of the same key.
pub(crate) fn countersign(signatures: &mut Vec<Signature>, key: &OperatorKey, domain: &[u8], bytes: &[u8]) {
    let id = key.public().id();
    signatures.retain(|signature| signature.key != id);
    signatures.push(Signature { key: id, bytes: key.sign(&[domain, bytes]) });
}

/// The keys in `judge`'s role whose signature over `domain` and `bytes` is among `signatures`, each once.
pub(crate) fn signers(
    judge: &Document,
    role: Role,
    domain: &[u8],
    bytes: &[u8],
    signatures: &[Signature],
) -> BTreeSet<Digest> {
    let holder = |id: Digest| judge.operators.iter().find(|o| o.roles.contains(&role) && o.key.id() == id);
    let is_valid = |signature: &&Signature| {
        holder(signature.key).is_some_and(|o| o.key.verifies(&[domain, bytes], &signature.bytes))
    };
    signatures.iter().filter(is_valid).map(|signature| signature.key).collect()
}

impl Authority {
    /// What it says.
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// Its digest.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// How many distinct operators a role takes.
    pub fn threshold(&self, role: Role) -> usize {
        self.document.threshold(role)
    }

    /// Its exact bytes with signatures, to be stored and sent on.
    pub const fn signed(&self) -> &SignedAuthority {
        &self.signed
    }

    /// Accepts the next version of the chain.
    ///
    /// # Errors
    /// When it is not the direct successor, of another fleet, inconsistent, or lacks the signatures that this
    /// version demands.
    pub fn verify_next(&self, next: SignedAuthority) -> Result<Self, AuthorityError> {
        let document = next.read()?;
        if document.fleet != self.document.fleet {
            return Err(AuthorityError::ForeignFleet { found: document.fleet, ours: self.document.fleet });
        }
        if document.version != self.document.version + 1 || document.previous != Some(self.digest) {
            return Err(AuthorityError::NotNext { found: document.version, current: self.document.version });
        }
        if next.is_recovery(&self.document, &document) {
            // Its own operators must mean it, as in a first version.
            next.check_signatures(&document)?;
        } else {
            next.check_signatures(&self.document)?;
        }
        Ok(Self { digest: next.digest(), document, signed: next })
    }
}

#[cfg(test)]
mod tests;
