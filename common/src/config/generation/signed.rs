//! Generations with their signatures: counted, verified, followed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{FollowError, GENERATION_BYTES_MAX, Generation, GenerationError, Purpose};
use crate::authority::{Authority, OperatorKey, Role, Signature, countersign, sha256, signers};
use crate::id::Digest;
use crate::wire::codec;

const SIGNATURE_DOMAIN: &[u8] = b"campanile/generation/v1\0";
const DIGEST_DOMAIN: &[u8] = b"campanile/generation-digest/v1\0";
const SIGNATURES_MAX: usize = 64;

/// A generation's exact bytes with signatures; nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedGeneration {
    /// The encoded [`Generation`], as it was signed.
    pub bytes: Vec<u8>,
    /// Signatures over it.
    pub signatures: Vec<Signature>,
}

/// A generation that operators signed. Only [`SignedGeneration::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedGeneration {
    generation: Generation,
    digest: Digest,
    operators: Vec<String>,
}

/// A generation with whoever signed it so far, enough or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// What it says.
    pub generation: Generation,
    /// What names it.
    pub digest: Digest,
    /// Keys whose signatures count.
    pub signers: BTreeSet<Digest>,
    /// The operators who hold them, by name.
    pub operators: Vec<String>,
    /// How many it takes.
    pub needed: usize,
}

impl SignedGeneration {
    /// What names the generation: a digest of its bytes, whoever signed them.
    pub fn digest(&self) -> Digest {
        sha256(&[DIGEST_DOMAIN, &self.bytes])
    }

    /// Bytes and signatures in one, to be stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_long("SignedGeneration", self, GENERATION_BYTES_MAX).expect("both are within limits")
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, GenerationError> {
        let signed: Self = codec::decode_long("SignedGeneration", bytes, GENERATION_BYTES_MAX)
            .map_err(|_| GenerationError::Unreadable)?;
        if signed.signatures.len() > SIGNATURES_MAX { Err(GenerationError::Unreadable) } else { Ok(signed) }
    }

    /// Reads the generation without asking who signed it: for showing, never for applying.
    ///
    /// # Errors
    /// When it cannot be read or breaks a rule.
    pub fn read(&self) -> Result<Generation, GenerationError> {
        let generation: Generation = codec::decode_long("Generation", &self.bytes, GENERATION_BYTES_MAX)
            .map_err(|_| GenerationError::Unreadable)?;
        generation.check()?;
        Ok(generation)
    }

    /// Adds a signature. Whether it counts is the verifier's to say.
    pub fn add_signature(&mut self, key: &OperatorKey) {
        countersign(&mut self.signatures, key, SIGNATURE_DOMAIN, &self.bytes);
    }

    /// The keys that validly signed, of those of `authority` in the role for changes.
    pub fn signers(&self, authority: &Authority) -> BTreeSet<Digest> {
        signers(authority.document(), Role::Change, SIGNATURE_DOMAIN, &self.bytes, &self.signatures)
    }

    /// Which operators of `authority` validly signed it, and how many must: for whoever collects signatures. What it
    /// says is read and belongs to this fleet; nothing goes by it before [`Self::verify`] accepts it.
    ///
    /// # Errors
    /// When it is of another fleet, or inconsistent.
    pub fn tally(&self, authority: &Authority) -> Result<Tally, GenerationError> {
        let generation = self.read()?;
        let document = authority.document();
        if generation.fleet != document.fleet {
            return Err(GenerationError::ForeignFleet { found: generation.fleet, ours: document.fleet });
        }
        let signers = self.signers(authority);
        let named = document.operators.iter().filter(|operator| signers.contains(&operator.key.id()));
        let mut operators: Vec<String> = named.map(|operator| operator.name.clone()).collect();
        operators.sort();
        let needed = authority.threshold(Role::Change).max(1);
        Ok(Tally { generation, digest: self.digest(), signers, operators, needed })
    }

    /// Accepts the generation under `authority`: one valid signature at least, of an operator in the role for
    /// changes, or as many as the authority demands for that role.
    ///
    /// # Errors
    /// When it is of another fleet, inconsistent, or lacks signatures.
    pub fn verify(&self, authority: &Authority) -> Result<VerifiedGeneration, GenerationError> {
        let Tally { generation, digest, signers, operators, needed } = self.tally(authority)?;
        if signers.len() < needed {
            return Err(GenerationError::Signatures { found: signers.len(), needed });
        }
        Ok(VerifiedGeneration { generation, digest, operators })
    }
}

impl Tally {
    /// How many further operators must sign before it counts.
    pub fn missing(&self) -> usize {
        self.needed.saturating_sub(self.signers.len())
    }
}

impl VerifiedGeneration {
    /// What it says.
    pub const fn generation(&self) -> &Generation {
        &self.generation
    }

    /// What names it.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Names of the operators whose signatures counted.
    pub fn operators(&self) -> &[String] {
        &self.operators
    }

    /// Whether a node that has accepted `highest` before may go to this one.
    ///
    /// # Errors
    /// When this is a draft, older, or another of the same number.
    pub fn may_follow(&self, highest: Option<(u64, Digest)>) -> Result<(), FollowError> {
        let number = self.generation.number;
        if self.generation.purpose == Purpose::Draft {
            return Err(FollowError::Draft(number));
        }
        match highest {
            Some((highest, _)) if number < highest => Err(FollowError::Older { found: number, highest }),
            Some((highest, digest)) if number == highest && digest != self.digest => {
                Err(FollowError::Forked(number))
            }
            _ => Ok(()),
        }
    }
}
