//! The files that `campanile fleet init` writes and the aggregator starts from.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::id::{AggregatorId, Digest, FleetId};

/// Name of the file that holds a [`FleetFile`], within the aggregator's state folder.
pub const FLEET_FILE: &str = "fleet.json";
/// Name of the CA's certificate (PEM), within the aggregator's state folder and the operator's profile.
pub const CA_FILE: &str = "ca.pem";
/// Name of the CA's private key (PKCS #8 PEM, mode 0600), within the aggregator's state folder.
pub const CA_KEY_FILE: &str = "ca.key.pem";
/// Folder of the authority chain; each version is a file named by its number in ten digits, holding an encoded
/// [`crate::authority::SignedAuthority`].
pub const AUTHORITY_DIR: &str = "authority";

/// File name of one authority version.
pub fn authority_file(version: u64) -> String {
    format!("{version:010}")
}

/// What identifies a fleet and its first aggregator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetFile {
    /// Format of this file, 1.
    pub format: u16,
    /// The fleet.
    pub fleet_id: FleetId,
    /// What people call it.
    pub fleet_name: String,
    /// The aggregator this folder is for.
    pub aggregator_id: AggregatorId,
    /// Digest of authority version 1, which everything else follows from.
    pub authority: Digest,
}

/// All that an aggregator starts from, in one piece: it goes once from the operator's machine to the aggregator's. Holds
/// the key of the CA, and nothing that signs orders.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Foundation {
    /// Format of this text, 1.
    pub format: u16,
    /// Which fleet.
    pub fleet: FleetFile,
    /// Certificate of its CA, PEM.
    pub ca: String,
    /// Key of its CA, PKCS #8 PEM.
    #[serde(with = "secret_text")]
    pub ca_key: Zeroizing<String>,
    /// Authority version 1, encoded, in hexadecimal digits.
    pub authority: String,
}

mod secret_text {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

impl fmt::Debug for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foundation({})", self.fleet.fleet_id)
    }
}

/// A text that founds no fleet.
#[derive(Debug, thiserror::Error)]
pub enum FoundationError {
    /// Something else, or cut off.
    #[error(
        "this is no foundation of a fleet, or not all of it; `campanile fleet init --foundation FILE` writes one"
    )]
    Malformed(#[source] serde_json::Error),
    /// Of a newer program.
    #[error("this foundation has format {found}, newest known is 1; install the newer aggregator")]
    TooNew {
        /// Its format.
        found: u16,
    },
    /// The authority is not hexadecimal digits.
    #[error("the authority in this foundation is damaged; copy it again, whole")]
    Authority,
}

impl Foundation {
    /// The newest format.
    pub const FORMAT: u16 = 1;

    /// Puts one together.
    pub fn new(fleet: FleetFile, ca: String, ca_key: Zeroizing<String>, authority: &[u8]) -> Self {
        let authority = data_encoding::HEXLOWER.encode(authority);
        Self { format: Self::FORMAT, fleet, ca, ca_key, authority }
    }

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// When it is something else, or of a newer program.
    pub fn parse(text: &[u8]) -> Result<Self, FoundationError> {
        match serde_json::from_slice::<Self>(text) {
            Ok(found) if found.format > Self::FORMAT => Err(FoundationError::TooNew { found: found.format }),
            Ok(found) => Ok(found),
            Err(source) => Err(FoundationError::Malformed(source)),
        }
    }

    /// One line of JSON. Holds the CA's key.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = serde_json::to_string(self).expect("strings and numbers are JSON");
        text.push('\n');
        Zeroizing::new(text)
    }

    /// The encoded authority.
    ///
    /// # Errors
    /// When it is not hexadecimal digits.
    pub fn authority(&self) -> Result<Vec<u8>, FoundationError> {
        data_encoding::HEXLOWER.decode(self.authority.as_bytes()).map_err(|_| FoundationError::Authority)
    }
}

/// The DNS name in every aggregator's certificate, whatever address it is reached by: agents check for this name, so
/// that an aggregator of another fleet, or one that moved, is told apart by its identity alone.
pub fn aggregator_server_name(fleet: FleetId) -> String {
    format!("aggregator.{fleet}.campanile.internal")
}

/// SPIFFE id of a node, the only name in its certificate.
pub fn node_uri(fleet: FleetId, node: crate::id::NodeId) -> String {
    format!("spiffe://{fleet}/node/{node}")
}

/// SPIFFE id of an aggregator, beside its DNS names.
pub fn aggregator_uri(fleet: FleetId, aggregator: AggregatorId) -> String {
    format!("spiffe://{fleet}/aggregator/{aggregator}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foundation() -> Foundation {
        let fleet = FleetFile {
            format: 1,
            fleet_id: FleetId::from_bytes([1; 16]),
            fleet_name: "acme".to_owned(),
            aggregator_id: AggregatorId::from_bytes([2; 8]),
            authority: Digest::from_bytes([3; 32]),
        };
        Foundation::new(fleet, "ca".to_owned(), Zeroizing::new("SECRET".to_owned()), &[1, 2, 255])
    }

    #[test]
    fn a_foundation_is_read_as_it_was_written_and_shows_no_key() {
        let written = foundation();
        let read = Foundation::parse(written.to_text().as_bytes()).unwrap();
        assert_eq!((&read.fleet, read.ca.as_str(), read.ca_key.as_str()), (&written.fleet, "ca", "SECRET"));
        assert_eq!(read.authority().unwrap(), [1, 2, 255]);
        assert!(!format!("{read:?}").contains("SECRET"));
    }

    #[test]
    fn a_foundation_that_is_cut_off_damaged_or_newer_is_refused() {
        let text = foundation().to_text();
        assert!(matches!(
            Foundation::parse(&text.as_bytes()[..text.len() / 2]),
            Err(FoundationError::Malformed(_))
        ));
        let newer = text.replacen("{\"format\":1", "{\"format\":2", 1);
        assert!(matches!(Foundation::parse(newer.as_bytes()), Err(FoundationError::TooNew { found: 2 })));
        let damaged = Foundation { authority: "xy".to_owned(), ..foundation() };
        assert!(matches!(damaged.authority(), Err(FoundationError::Authority)));
    }
}
