//! The authority chain as the aggregator keeps it: it verifies and hands on, it cannot change it.

use std::io;
use std::path::{Path, PathBuf};

use campanile_common::authority::{Authority, AuthorityError, SignedAuthority};
use campanile_common::fleet::{AUTHORITY_DIR, FleetFile, authority_file};
use campanile_common::id::Digest;
use campanile_common::wire::codec::{self, CodecError};

/// A chain that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A version is unreadable.
    #[error("cannot read authority {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A version's bytes are damaged.
    #[error("authority {path} is damaged; restore it from the operator's copy")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: CodecError,
    },
    /// A version does not verify.
    #[error("authority {path} does not verify")]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        source: AuthorityError,
    },
}

/// All versions, verified from the first on.
#[derive(Debug, Clone)]
pub struct AuthorityChain {
    versions: Vec<Authority>,
}

impl AuthorityChain {
    /// Reads and verifies the chain in the aggregator's state folder.
    ///
    /// # Errors
    /// When the first version is missing, or any is damaged or does not verify.
    pub fn load(state_dir: &Path, fleet: &FleetFile) -> Result<Self, ChainError> {
        let folder = state_dir.join(AUTHORITY_DIR);
        let mut versions: Vec<Authority> = Vec::new();
        loop {
            let path = folder.join(authority_file(versions.len() as u64 + 1));
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !versions.is_empty() => break,
                Err(source) => return Err(ChainError::Read { path, source }),
            };
            let signed: SignedAuthority = match codec::decode("SignedAuthority", &bytes) {
                Ok(signed) => signed,
                Err(source) => return Err(ChainError::Damaged { path, source }),
            };
            let verified = match versions.last() {
                Some(last) => last.verify_next(signed),
                None => signed.verify_pinned(fleet.authority),
            };
            versions.push(verified.map_err(|source| ChainError::Refused { path, source })?);
        }
        Ok(Self { versions })
    }

    /// The version in force.
    ///
    /// # Panics
    /// Never: a chain has at least its first version.
    pub fn current(&self) -> &Authority {
        self.versions.last().expect("a loaded chain is not empty")
    }

    /// The versions from the one with this digest on, as they are sent to a new node; none when it is unknown.
    pub fn from_digest(&self, digest: Digest) -> Option<Vec<SignedAuthority>> {
        let index = self.versions.iter().position(|version| version.digest() == digest)?;
        Some(self.versions[index..].iter().map(|version| version.signed().clone()).collect())
    }

    /// The versions after this one, which an agent that has it needs.
    pub fn after(&self, version: u64) -> Vec<SignedAuthority> {
        self.versions
            .iter()
            .filter(|known| known.document().version > version)
            .map(|known| known.signed().clone())
            .collect()
    }
}
