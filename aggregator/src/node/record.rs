//! What is stored of a node and of an enrolment token.

use campanile_common::api::{EnrollmentToken, NodeFacts, NodeState};
use campanile_common::id::{Digest, NodeId};
use campanile_common::label::Labels;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::Facts;
use serde::{Deserialize, Serialize};

use crate::state::Record;

/// A node in the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    /// Its id.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Active or retired.
    pub state: NodeState,
    /// SHA-256 of the SubjectPublicKeyInfo of the key it connects with.
    pub key: Digest,
    /// The key that a renewal certified and that was not used yet.
    pub pending_key: Option<Digest>,
    /// Until when the certificate of `key` is valid.
    pub certificate_expires: Timestamp,
    /// Until when the certificate of `pending_key` is valid.
    pub pending_expires: Option<Timestamp>,
    /// When it was enrolled.
    pub enrolled: Timestamp,
    /// With which token.
    pub token_id: String,
    /// When it was retired.
    pub retired: Option<Timestamp>,
    /// What it last said of itself.
    pub facts: Option<NodeFacts>,
    /// Version of its agent when it last connected.
    pub agent_version: Option<String>,
}

/// An enrolment token. Its secret is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRecord {
    /// First 8 bytes of the secret's digest, in hexadecimal.
    pub token_id: String,
    /// SHA-256 of the secret, under its domain tag.
    pub secret: Digest,
    /// Labels its nodes get.
    pub labels: Labels,
    /// The only name it may be used for.
    pub name: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created: Timestamp,
    /// Until when it may be used.
    pub expires: Timestamp,
    /// How many nodes it may enrol.
    pub uses_max: u32,
    /// How many it has enrolled.
    pub uses: u32,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// Authority that its text pins.
    pub authority: Digest,
}

impl Record for NodeRecord {}

impl Record for TokenRecord {}

impl TokenRecord {
    /// As the API shows it.
    pub(super) fn to_api(&self) -> EnrollmentToken {
        EnrollmentToken {
            token_id: self.token_id.clone(),
            labels: self.labels.clone(),
            name: self.name.clone(),
            created_by: self.created_by.clone(),
            created_at: self.created,
            expires_at: self.expires,
            uses_max: self.uses_max,
            uses: self.uses,
            revoked_at: self.revoked,
        }
    }
}

/// Token id that belongs to a secret's digest.
pub(super) fn token_id(secret: Digest) -> String {
    secret.to_string()[..16].to_owned()
}

/// Facts as they are shown, cut to sane lengths: they come from the node and are not trusted.
pub(super) fn facts_to_api(facts: &Facts) -> NodeFacts {
    let cut = |text: &str| text.chars().filter(|c| !c.is_control()).take(128).collect();
    NodeFacts {
        hostname: cut(&facts.hostname),
        os: cut(&facts.os),
        kernel: cut(&facts.kernel),
        architecture: cut(&facts.architecture),
        cpus: facts.cpus,
        memory_bytes: facts.memory_bytes,
        booted_at: facts.booted,
    }
}

/// Checks a node's name: a DNS label sequence as host names are, so that it fits every table, file and URL.
///
/// # Errors
/// With the rule it breaks.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let label_fits = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.len() <= 253 && name.split('.').all(label_fits) {
        return Ok(());
    }
    Err(format!(
        "`{name}` cannot be a node's name: lower-case letters, digits and `-`, in parts of 1 to 63 joined by dots"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_host_names() {
        for good in ["web-1", "db.example.org", "7"] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", "Web", "a b", "-a", "a..b", "a/b", "é", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
