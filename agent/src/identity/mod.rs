//! This node's identity: its key, its certificate, the pinned CA and authority, and how it got them.
//!
//! Everything is one file, replaced as a whole, so that key and certificate always belong together. Damaged is never
//! read as missing: a node that lost its identity must be enrolled anew by a person, not by itself.

#![expect(clippy::disallowed_methods, reason = "an edge: the identity is a file")]

pub mod enroll;
pub mod renew;
pub mod tls;

use std::io;
use std::path::{Path, PathBuf};

use campanile_common::authority::{Authority, AuthorityError, SignedAuthority};
use campanile_common::id::{Digest, FleetId, NodeId};
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::os::file;

/// File name within the agent's state folder.
pub const IDENTITY_FILE: &str = "identity.json";
/// Format of [`Identity`] on disk.
const FORMAT: u16 = 1;

/// Who this node is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    format: u16,
    /// The fleet it belongs to.
    pub fleet: FleetId,
    /// Its id.
    pub node: NodeId,
    /// The name it was given; the aggregator may have renamed it since.
    pub name: String,
    /// `host:port` of the aggregators, in the order to try.
    pub addresses: Vec<String>,
    /// Private key, PKCS #8 PEM.
    #[serde(with = "pem")]
    pub key: Zeroizing<String>,
    /// Leaf certificate, DER.
    #[serde(with = "der")]
    pub certificate: Vec<u8>,
    /// The pinned CA's certificate, DER.
    #[serde(with = "der")]
    pub ca: Vec<u8>,
    /// When the certificate was issued.
    pub issued: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// Digest of the authority the node was enrolled with.
    pub authority_pin: Digest,
    /// The chain from there on; the last is in force.
    pub authority: Vec<SignedAuthority>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} of fleet {})", self.node, self.fleet)
    }
}

/// An identity that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Never enrolled.
    #[error("this node is not enrolled ({path} does not exist); run `campanile-agent enroll`")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Unreadable.
    #[error("cannot read identity {path}")]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what this program writes.
    #[error("identity {path} is damaged; enrol this node anew with a new token, then retire its old entry")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Of a newer program.
    #[error("identity {path} has format {found}, newest known is {FORMAT}; install the newer agent")]
    TooNew {
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// Its authority chain does not verify.
    #[error("identity {path} holds an authority chain that does not verify")]
    Authority {
        /// Where.
        path: PathBuf,
        /// Why.
        source: AuthorityError,
    },
    /// Cannot be written.
    #[error("cannot write identity {path}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A new authority version was refused.
    #[error("the aggregator offered an authority that is not accepted")]
    Offered(#[source] AuthorityError),
}

impl Identity {
    /// Reads the identity from the agent's state folder and verifies its authority chain from the pin on.
    ///
    /// # Errors
    /// When it is missing, unreadable, damaged or of a newer program: told apart.
    pub fn load(state: &Path) -> Result<Self, IdentityError> {
        let path = state.join(IDENTITY_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Missing { path });
            }
            Err(source) => return Err(IdentityError::Read { path, source }),
        };
        Self::read(&text, path)
    }

    /// What [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// When it is damaged, of a newer program, or its authority chain does not verify.
    pub fn parse(text: &[u8]) -> Result<Self, IdentityError> {
        Self::read(text, PathBuf::from(IDENTITY_FILE))
    }

    fn read(text: &[u8], path: PathBuf) -> Result<Self, IdentityError> {
        #[derive(Deserialize)]
        struct Format {
            format: u16,
        }
        let damaged = |path: &Path, source| IdentityError::Damaged { path: path.to_owned(), source };
        let Format { format } = serde_json::from_slice(text).map_err(|source| damaged(&path, source))?;
        if format > FORMAT {
            return Err(IdentityError::TooNew { path, found: format });
        }
        let identity: Self = serde_json::from_slice(text).map_err(|source| damaged(&path, source))?;
        match identity.authority() {
            Ok(_) => Ok(identity),
            Err(source) => Err(IdentityError::Authority { path, source }),
        }
    }

    /// Writes the identity durably.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then unchanged.
    pub fn store(&self, state: &Path) -> Result<(), IdentityError> {
        let path = state.join(IDENTITY_FILE);
        file::replace(&path, &self.to_text()).map_err(|source| IdentityError::Write { path, source })
    }

    /// The identity as it is written, with its private key.
    pub fn to_text(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec_pretty(self).expect("an identity has no odd keys"))
    }

    /// The authority in force, verified from the pin on.
    ///
    /// # Errors
    /// When the chain does not verify.
    pub fn authority(&self) -> Result<Authority, AuthorityError> {
        let mut chain = self.authority.iter();
        let first = chain.next().ok_or(AuthorityError::Unreadable)?;
        let mut authority = first.clone().verify_pinned(self.authority_pin)?;
        if authority.document().fleet != self.fleet {
            let found = authority.document().fleet;
            return Err(AuthorityError::ForeignFleet { found, ours: self.fleet });
        }
        for next in chain {
            authority = authority.verify_next(next.clone())?;
        }
        Ok(authority)
    }

    /// The same node with a renewed key and certificate.
    #[must_use]
    pub fn renewed(
        &self,
        key: Zeroizing<String>,
        certificate: Vec<u8>,
        issued: Timestamp,
        not_after: Timestamp,
    ) -> Self {
        Self { key, certificate, issued, not_after, ..self.clone() }
    }

    /// Follows the chain to its next version. A version already reached changes nothing.
    ///
    /// # Errors
    /// When it does not follow from the version in force.
    pub fn follow(&mut self, offered: SignedAuthority) -> Result<bool, IdentityError> {
        if self.authority.contains(&offered) {
            return Ok(false);
        }
        let current = self.authority().map_err(IdentityError::Offered)?;
        current.verify_next(offered.clone()).map_err(IdentityError::Offered)?;
        self.authority.push(offered);
        Ok(true)
    }
}

/// The key's text, wiped from memory when it is dropped.
mod pem {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        key: &Zeroizing<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(key)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

/// DER as base64 in JSON.
mod der {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        data_encoding::BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}
