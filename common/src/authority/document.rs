//! The authority document, its exact bytes, and the verification of its chain.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::keys::{OperatorKey, PublicKey};
use super::sha256;
use crate::id::{Digest, FleetId};
use crate::time::Timestamp;
use crate::wire::codec;

/// Goes before the document's bytes in every signature, so that no other signature of ours can be taken for one.
const SIGNATURE_DOMAIN: &[u8] = b"campanile/authority/v1\0";
/// Goes before the document's bytes in its digest.
const DIGEST_DOMAIN: &[u8] = b"campanile/authority-digest/v1\0";
/// Format of [`Document`]; a later one gets a new number and a conversion.
const FORMAT: u16 = 1;
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

    fn read(&self) -> Result<Document, AuthorityError> {
        let document: Document =
            codec::decode("Document", &self.bytes).map_err(|_| AuthorityError::Unreadable)?;
        document.check()?;
        Ok(document)
    }

    /// Counts distinct operators of `judge` with the role that have validly signed.
    fn check_signatures(&self, judge: &Document) -> Result<(), AuthorityError> {
        let signers: BTreeSet<Digest> = self
            .signatures
            .iter()
            .filter_map(|signature| {
                judge
                    .operators
                    .iter()
                    .filter(|o| o.roles.contains(&Role::Authority) && o.key.id() == signature.key)
                    .find(|o| o.key.verifies(&[SIGNATURE_DOMAIN, &self.bytes], &signature.bytes))
                    .map(|o| o.key.id())
            })
            .collect();
        let needed = judge.thresholds.get(&Role::Authority).copied().map_or(1, usize::from);
        if signers.len() < needed {
            return Err(AuthorityError::Signatures { found: signers.len(), needed });
        }
        Ok(())
    }
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
        next.check_signatures(&self.document)?;
        Ok(Self { digest: next.digest(), document, signed: next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn key(seed: u8) -> OperatorKey {
        OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
    }

    fn operator(name: &str, seed: u8) -> Operator {
        Operator { name: name.to_owned(), key: key(seed).public(), roles: Role::ALL.into() }
    }

    fn first() -> Document {
        Document::first(
            FleetId::from_bytes([1; 16]),
            "acme".to_owned(),
            operator("ada", 1),
            Timestamp::from_millis(1),
            Timestamp::from_millis(1000),
        )
    }

    fn authority() -> Authority {
        let signed = first().sign(&[&key(1)]).unwrap();
        let pin = signed.digest();
        signed.verify_pinned(pin).unwrap()
    }

    fn second(current: &Authority) -> Document {
        let mut document = current.document().clone();
        document.version = 2;
        document.previous = Some(current.digest());
        document.operators.push(operator("bob", 2));
        document.thresholds.insert(Role::Critical, 2);
        document
    }

    #[test]
    fn the_chain_is_followed_with_the_old_versions_signatures() {
        let current = authority();
        let next = current.verify_next(second(&current).sign(&[&key(1)]).unwrap()).unwrap();
        assert_eq!(next.document().version, 2);
    }

    #[test]
    fn the_new_operators_own_signature_counts_for_nothing() {
        let current = authority();
        let error = current.verify_next(second(&current).sign(&[&key(2)]).unwrap()).unwrap_err();
        assert_eq!(error, AuthorityError::Signatures { found: 0, needed: 1 });
    }

    #[test]
    fn one_operator_signing_twice_is_one_operator() {
        let mut document = first();
        document.operators.push(operator("bob", 2));
        document.thresholds.insert(Role::Authority, 2);
        let signed = document.sign(&[&key(1), &key(1)]).unwrap();
        let pin = signed.digest();
        assert_eq!(signed.verify_pinned(pin), Err(AuthorityError::Signatures { found: 1, needed: 2 }));
    }

    #[test]
    fn a_skipped_version_a_foreign_fleet_and_a_fork_are_refused() {
        let current = authority();
        let mut skipped = second(&current);
        skipped.version = 3;
        assert!(matches!(
            current.verify_next(skipped.sign(&[&key(1)]).unwrap()),
            Err(AuthorityError::NotNext { found: 3, current: 1 })
        ));
        let mut foreign = second(&current);
        foreign.fleet = FleetId::from_bytes([2; 16]);
        assert!(matches!(
            current.verify_next(foreign.sign(&[&key(1)]).unwrap()),
            Err(AuthorityError::ForeignFleet { .. })
        ));
        let mut fork = second(&current);
        fork.previous = Some(Digest::from_bytes([0; 32]));
        assert!(matches!(
            current.verify_next(fork.sign(&[&key(1)]).unwrap()),
            Err(AuthorityError::NotNext { .. })
        ));
    }

    #[test]
    fn an_altered_byte_breaks_the_pin_and_the_signature() {
        let signed = first().sign(&[&key(1)]).unwrap();
        let pin = signed.digest();
        for index in 0..signed.bytes.len() {
            let mut altered = signed.clone();
            altered.bytes[index] ^= 1;
            let own_pin = altered.digest();
            assert!(matches!(altered.clone().verify_pinned(pin), Err(AuthorityError::NotPinned { .. })));
            assert!(altered.verify_pinned(own_pin).is_err(), "byte {index}");
        }
    }

    #[test]
    fn a_threshold_nobody_can_reach_is_refused_before_it_is_signed() {
        let mut document = first();
        document.thresholds.insert(Role::Change, 2);
        assert!(matches!(document.sign(&[&key(1)]), Err(AuthorityError::Inconsistent { .. })));
    }
}
