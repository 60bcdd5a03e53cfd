//! Operators' Ed25519 keys.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::sha256;
use crate::id::Digest;

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The 32 bytes are no Ed25519 seed.
    #[error("not an Ed25519 key")]
    Seed,
}

/// The public half of an operator's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// What the key is called in documents and logs.
    pub fn id(&self) -> Digest {
        sha256(&[b"campanile/operator-key/v1\0", &self.0])
    }

    /// True when `signature` is this key's over `parts`, one behind the other.
    pub fn verifies(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&parts.concat(), signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// An operator's signing key. Prints as `[redacted]`.
pub struct OperatorKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorKey([redacted])")
    }
}

impl OperatorKey {
    /// The key with this seed, drawn at random by the caller.
    ///
    /// # Errors
    /// When the seed is refused.
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| KeyError::Seed)?;
        Ok(Self { seed, pair })
    }

    /// The seed, to be stored encrypted.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signature over `parts`, one behind the other; the first is a domain tag.
    pub fn sign(&self, parts: &[&[u8]]) -> Vec<u8> {
        self.pair.sign(&parts.concat()).as_ref().to_vec()
    }
}
