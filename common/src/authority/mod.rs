//! The fleet authority: who may order what, as a chain of signed documents.
//!
//! Version N+1 is valid only with the signatures that version N demands, and carries N's digest. Every agent
//! pins the document it was enrolled with and follows the chain from there.
//!
//! Orders and catalogues hang on it: `order` and `catalogue` are what operators sign, `policy` is what a node accepts,
//! `verify` decides.
//!
//! Invariant: only [`SignedAuthority::verify_pinned`] and [`Authority::verify_next`] make an [`Authority`] out
//! of bytes.

mod action;
mod backup;
mod catalogue;
mod document;
mod document_v1;
#[cfg(test)]
mod fixture;
mod floor;
mod keys;
mod order;
mod parameter;
mod policy;
mod target;
mod verify;

pub use action::{Action, Command, ConfigMode, STDIN_BYTES_MAX, ServiceVerb, is_unit_name};
pub use backup::{BackupAction, RestorePlace};
pub use catalogue::{
    COMMANDS_MAX, Catalogue, CatalogueCommand, CatalogueDocument, CatalogueError, SERVICES_MAX, ServiceRule,
    SignedCatalogue,
};
pub use document::{
    Authority, AuthorityError, Document, OPERATORS_MAX, Operator, RECOVERY_KEYS_MAX, Role, Signature,
    SignedAuthority,
};
pub(crate) use document::{countersign, signers};
pub use floor::{FLOOR_DAYS, FLOOR_VALIDITY_MAX, FloorDocument, FloorDocumentError, SignedFloor};
pub use keys::{KeyError, OperatorKey, PublicKey};
pub use order::{
    Delivery, Limits, ORDER_BYTES_MAX, OUTPUT_BYTES_MAX, Order, OrderError, SIGNATURES_MAX,
    STANDING_VALIDITY_MAX, SignedOrder, Standing, TIMEOUT_MAX, Targets, Tier, VALIDITY_MAX,
};
pub use parameter::{Parameter, ParameterKind};
pub use policy::{Class, CommandPattern, CommandRules, ExecutionLimits, Policy, UnitRules};
pub use target::{InclusionProof, TARGETS_LISTED_MAX, TargetTree};
pub use verify::{Denial, DenialCode, Facts, RunId, VerifiedOrder, verify};

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
