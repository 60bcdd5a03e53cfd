//! The authority chain as files of the state folder: verified as it is read, one file a version.

#![expect(clippy::disallowed_methods, reason = "an edge: the chain is a folder of files")]

use std::io;
use std::path::{Path, PathBuf};

use campanile_common::authority::{Authority, AuthorityError, SignedAuthority};
use campanile_common::fleet::{AUTHORITY_DIR, FleetFile, authority_file};
use campanile_common::id::Digest;
use campanile_common::wire::codec::{self, CodecError};

use crate::os::file;

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
    folder: PathBuf,
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
        Ok(Self { folder, versions })
    }

    /// The version in force.
    ///
    /// # Panics
    /// Never: a chain has at least its first version.
    pub fn current(&self) -> &Authority {
        self.versions.last().expect("a loaded chain is not empty")
    }

    /// Appends a version that was verified against the one in force.
    ///
    /// # Panics
    /// When it was verified against another: an `Authority` is made from its predecessor alone.
    pub fn push(&mut self, next: Authority) {
        assert_eq!(next.document().previous, Some(self.current().digest()), "versions follow each other");
        self.versions.push(next);
    }

    /// Where a version is kept, and its bytes.
    ///
    /// # Errors
    /// When it is longer than can be read again.
    pub fn file(&self, version: &Authority) -> Result<(PathBuf, Vec<u8>), CodecError> {
        let path = self.folder.join(authority_file(version.document().version));
        Ok((path, codec::encode("SignedAuthority", version.signed())?))
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

/// Writes the file of a version.
///
/// # Errors
/// When the disk does not take it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    file::write_durably(path, bytes)
}
