//! The `config` object of a repository: its format, its identity and its chunker's polynomial.

use serde::{Deserialize, Serialize};

use crate::id::ObjectId;
use crate::polynomial::Polynomial;
use crate::random;

/// The version that is written, and the only one that is.
pub const VERSION: u32 = 2;

/// Made once with the repository, sealed, never altered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryConfig {
    /// Of the format.
    pub version: u32,
    /// Random; tells repositories apart.
    pub id: ObjectId,
    /// Random and irreducible; the fingerprints of two repositories tell nothing about each other's content.
    pub chunker_polynomial: Polynomial,
}

impl RepositoryConfig {
    /// That of a new repository.
    pub fn generate() -> Self {
        let (id, chunker_polynomial) = (ObjectId(random::bytes()), Polynomial::generate());
        Self { version: VERSION, id, chunker_polynomial }
    }
}
