//! A state folder with one file of each kind, and somebody who can read its backups.

#![expect(clippy::disallowed_methods, reason = "tests lay out the files that are saved")]

use std::fs;
use std::path::{Path, PathBuf};

use age::x25519::Identity;
use campanile_common::fleet::FleetFile;
use campanile_common::id::{AggregatorId, Digest, FleetId, NodeId};
use campanile_common::time::Timestamp;

use super::key::Identities;
use super::{SaveError, Saved, Sources, Target, save};
use crate::state::SqliteStore;

pub(super) const NODE: NodeId = NodeId::from_bytes([5; 8]);
pub(super) const PART: &str = "config/parts/ab/abcd";

pub(super) struct Site {
    pub(super) folder: tempfile::TempDir,
    pub(super) fleet: FleetFile,
    identity: Identity,
}

impl Site {
    pub(super) fn new() -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            fleet: FleetFile {
                format: 1,
                fleet_id: FleetId::from_bytes([1; 16]),
                fleet_name: "test".to_owned(),
                aggregator_id: AggregatorId::from_bytes([2; 8]),
                authority: Digest::from_bytes([3; 32]),
            },
            identity: Identity::generate(),
        };
        site.write("state/fleet.json", &serde_json::to_string(&site.fleet).unwrap());
        for (name, text) in [
            ("state/ca.pem", "certificate"),
            ("state/ca.key.pem", "CANARY-KEY"),
            ("state/audit.key", "k"),
            ("state/authority/0000000001", "first"),
            ("state/config/parts/ab/abcd", "part"),
            ("state/config/parts/new/0", "half a part"),
            ("state/outputs/1", "output"),
            ("state/series/1", "samples"),
            ("settings/aggregator.toml", "log_level = \"info\"\n"),
            ("settings/aggregator.d/10-site.toml", "log_level = \"debug\"\n"),
        ] {
            site.write(name, text);
        }
        let receipts = format!("state/backup/{NODE}");
        site.write(&format!("{receipts}/receipts"), "receipts of then");
        site.write(&format!("{receipts}/data/ab/abcd"), "a pack");
        drop(SqliteStore::open(&site.state().join("state.db")).unwrap());
        site
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn identities(&self) -> Identities {
        Identities(vec![self.identity.clone()])
    }

    pub(super) fn save(&self, target: &Target, second: u64) -> Result<Saved, SaveError> {
        let settings = ["settings/aggregator.toml", "settings/aggregator.d/10-site.toml"];
        let sources = Sources {
            state_dir: self.state(),
            backup_dir: self.state().join("backup"),
            settings: settings.map(|name| self.path(name)).to_vec(),
        };
        let now = Timestamp::from_millis(second * 1000);
        save(&sources, &self.fleet, &[self.identity.to_public()], target, now, &|| Ok(()))
    }

    /// A backup as `FILE`.
    pub(super) fn saved(&self) -> PathBuf {
        let path = self.path("copy.age");
        self.save(&Target::File(path.clone()), 1_000).unwrap();
        path
    }
}

/// Names in a folder, sorted.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
