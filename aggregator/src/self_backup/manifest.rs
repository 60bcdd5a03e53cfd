//! What a backup holds: the first file in it, compared with everything that follows.

use std::collections::BTreeSet;

use campanile_common::fleet::{FLEET_FILE, FleetFile};
use campanile_common::id::{AggregatorId, Digest, FleetId};
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{STATE_FILE, tar};

/// Its name within the archive.
pub(super) const NAME: &str = "manifest.json";
/// Longest manifest: some hundred thousand files.
pub(super) const BYTES_MAX: u64 = 64 << 20;
/// The format that is written, and the newest that is read.
const FORMAT: u16 = 1;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    format: u16,
    /// Which fleet.
    pub fleet_id: FleetId,
    /// What people call it.
    pub fleet_name: String,
    /// Which aggregator.
    pub aggregator_id: AggregatorId,
    /// As of when.
    pub created: Timestamp,
    /// Version of the aggregator that made it.
    pub version: String,
    /// What follows, in this order.
    pub files: Vec<FileEntry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEntry {
    /// Path below the state folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content.
    pub sha256: Digest,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// From a later program.
    #[error(
        "it has format {found}, newest known is {FORMAT}; restore it with the version that made it, or a newer one"
    )]
    TooNew {
        /// Its format.
        found: u16,
    },
    /// Unreadable.
    #[error("its manifest cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// It lists what no backup holds.
    #[error("its manifest lists `{0}`, which is no file of a backup, or is there twice")]
    Name(String),
    /// It lacks what every backup holds.
    #[error("its manifest lists no `{0}`")]
    Lacks(&'static str),
}

#[derive(Deserialize)]
struct Head {
    format: u16,
}

impl Manifest {
    /// Of a backup that is made now.
    pub(super) fn new(fleet: &FleetFile, created: Timestamp, files: Vec<FileEntry>) -> Self {
        Self {
            format: FORMAT,
            fleet_id: fleet.fleet_id,
            fleet_name: fleet.fleet_name.clone(),
            aggregator_id: fleet.aggregator_id,
            created,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            files,
        }
    }

    /// Its bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("names and numbers")
    }

    /// Reads and checks it. The format is looked at before anything else.
    ///
    /// # Errors
    /// When it is of a later format, or is none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let head: Head = serde_json::from_slice(bytes).map_err(ManifestError::Unreadable)?;
        if head.format > FORMAT {
            return Err(ManifestError::TooNew { found: head.format });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(ManifestError::Unreadable)?;
        let mut names = BTreeSet::new();
        for FileEntry { name, .. } in &manifest.files {
            if !is_plain(name) || name == NAME || !names.insert(name.as_str()) {
                return Err(ManifestError::Name(name.clone()));
            }
        }
        match [FLEET_FILE, STATE_FILE].into_iter().find(|name| !names.contains(name)) {
            Some(name) => Err(ManifestError::Lacks(name)),
            None => Ok(manifest),
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A relative path that leads nowhere else: letters, digits, `.`, `-` and `_`, and no part that begins with a dot.
pub(super) fn is_plain(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    name.len() <= tar::NAME_BYTES_MAX && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(names: &[&str]) -> Manifest {
        let file = |name: &&str| FileEntry {
            name: (*name).to_owned(),
            bytes: 3,
            sha256: Digest::from_bytes([1; 32]),
        };
        Manifest {
            format: FORMAT,
            fleet_id: FleetId::from_bytes([1; 16]),
            fleet_name: "test".to_owned(),
            aggregator_id: AggregatorId::from_bytes([2; 8]),
            created: Timestamp::from_millis(5),
            version: "1.0.0".to_owned(),
            files: names.iter().map(file).collect(),
        }
    }

    #[test]
    fn a_manifest_reads_back() {
        let manifest = manifest(&["fleet.json", "state.db", "config/parts/ab/abcd"]);
        assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        assert_eq!(manifest.bytes(), 9);
    }

    #[test]
    fn a_newer_format_is_refused_whatever_else_it_says() {
        let error = Manifest::parse(br#"{"format":2,"news":[]}"#).unwrap_err();
        assert!(matches!(error, ManifestError::TooNew { found: 2 }), "{error}");
    }

    #[test]
    fn names_that_lead_elsewhere_or_come_twice_are_refused() {
        let long = "n".repeat(101);
        for name in
            ["../x", "/etc/passwd", "a//b", "", ".ssh/x", "a/../b", "manifest.json", "state.db", &long]
        {
            let bytes = manifest(&["fleet.json", "state.db", name]).to_bytes();
            assert!(matches!(Manifest::parse(&bytes), Err(ManifestError::Name(_))), "{name}");
        }
    }

    #[test]
    fn one_without_a_state_store_is_refused() {
        let bytes = manifest(&["fleet.json"]).to_bytes();
        assert!(matches!(Manifest::parse(&bytes), Err(ManifestError::Lacks("state.db"))));
    }
}
