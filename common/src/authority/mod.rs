//! The fleet authority: who may order what, as a chain of signed documents.
//!
//! Version N+1 is valid only with the signatures that version N demands, and carries N's digest. Every agent
//! pins the document it was enrolled with and follows the chain from there.
//!
//! Invariant: only [`SignedAuthority::verify_pinned`] and [`Authority::verify_next`] make an [`Authority`] out
//! of bytes.

mod document;
mod keys;

pub use document::{
    Authority, AuthorityError, Document, OPERATORS_MAX, Operator, Role, Signature, SignedAuthority,
};
pub use keys::{KeyError, OperatorKey, PublicKey};

use crate::id::Digest;

/// SHA-256 over the parts, one behind the other. Callers put a domain tag or fixed-length parts first.
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let bytes = context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
    Digest::from_bytes(bytes)
}
