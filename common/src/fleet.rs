//! The files that `campanile fleet init` writes and the aggregator starts from.

use serde::{Deserialize, Serialize};

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
