//! What operators signed for the whole fleet: the chain of authorities, and the catalogue.
//!
//! The aggregator verifies, keeps and hands on; it cannot make either. A version with enough signatures comes into
//! force at once. One with too few waits as a proposal until further operators sign the same bytes.
//! Invariants: nothing is in force that does not verify under the newest authority; the chain never forks and never
//! goes back; a catalogue never goes back, not even after its signers left.

mod authorities;
mod catalogues;
mod ledger;
mod summary;
#[cfg(test)]
mod tests;
mod waiting;

use campanile_common::api::AuditOutcome;
use campanile_common::authority::{AuthorityError, CatalogueError};

use crate::audit;
use crate::state::StateError;

pub use authorities::Authorities;
pub use catalogues::Catalogues;
pub use ledger::{AuthorityChain, ChainError};

/// Why what was submitted is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It cannot be read, breaks a rule or is of another fleet.
    #[error("{0}")]
    Invalid(String),
    /// No operator of the authority in force validly signed it, or not the one who is said to.
    #[error("{0}")]
    Signatures(String),
    /// It is not the next version.
    #[error("{0}")]
    Stale(String),
    /// Another one waits for signatures.
    #[error("{0}")]
    Conflict(String),
    /// There is no such proposal.
    #[error("no proposal `{0}` waits for signatures")]
    NotFound(String),
    /// The store failed.
    #[error("what operators signed cannot be stored")]
    State(#[from] StateError),
}

/// Why the aggregator cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The chain cannot be used.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A version that was in force does not follow the files of the chain.
    #[error("authority version {version} in the state store does not verify; restore the authority folder")]
    Refused {
        /// Which.
        version: u64,
        /// Why.
        source: AuthorityError,
    },
    /// The store failed.
    #[error("what operators signed cannot be read")]
    State(#[from] StateError),
}

impl From<AuthorityError> for SubmitError {
    fn from(error: AuthorityError) -> Self {
        let detail = error.to_string();
        match error {
            AuthorityError::NotNext { .. } => Self::Stale(detail),
            AuthorityError::Signatures { .. } => Self::Signatures(detail),
            AuthorityError::Unreadable
            | AuthorityError::NotPinned { .. }
            | AuthorityError::ForeignFleet { .. }
            | AuthorityError::Inconsistent { .. } => Self::Invalid(detail),
        }
    }
}

impl From<CatalogueError> for SubmitError {
    fn from(error: CatalogueError) -> Self {
        let detail = error.to_string();
        match error {
            CatalogueError::NotNewer { .. } => Self::Stale(detail),
            CatalogueError::Signatures { .. } => Self::Signatures(detail),
            CatalogueError::Unreadable
            | CatalogueError::ForeignFleet { .. }
            | CatalogueError::Inconsistent { .. }
            | CatalogueError::NoCommand(_)
            | CatalogueError::Argument { .. } => Self::Invalid(detail),
        }
    }
}

/// An audit record of something that was done.
/// Why nothing was changed when the store had another revision.
const CONFLICT: &str = "somebody else changed it at the same moment; read it again";

fn done(actor: &str, action: &'static str, target: String, detail: String) -> audit::Record {
    audit::Record { actor: actor.to_owned(), action, target, outcome: AuditOutcome::Ok, detail }
}
