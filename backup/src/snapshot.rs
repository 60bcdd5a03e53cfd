//! Snapshots: which tree a run saved, of which paths, when and where.

use serde::{Deserialize, Serialize};

use crate::id::ObjectId;
use crate::tree::FileTime;

/// The object below `snapshots/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the run began.
    pub time: FileTime,
    /// The snapshot whose trees told what is unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectId>,
    /// The root.
    pub tree: ObjectId,
    /// What was to be saved, absolute.
    pub paths: Vec<String>,
    /// Of the machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Who ran it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Who ran it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// Who ran it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Patterns that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// Chosen by whoever ran it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The snapshot of which this is a changed copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<ObjectId>,
    /// Name and version of what wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// What the run saw and did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// What a run saw and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// When it began.
    pub backup_start: FileTime,
    /// When it ended.
    pub backup_end: FileTime,
    /// Files the parent does not have.
    #[serde(default)]
    pub files_new: u64,
    /// Files that differ from the parent's.
    #[serde(default)]
    pub files_changed: u64,
    /// Files that were not read again.
    #[serde(default)]
    pub files_unmodified: u64,
    /// Folders the parent does not have.
    #[serde(default)]
    pub dirs_new: u64,
    /// Folders that differ.
    #[serde(default)]
    pub dirs_changed: u64,
    /// Folders that are the same.
    #[serde(default)]
    pub dirs_unmodified: u64,
    /// Chunks that were not there.
    #[serde(default)]
    pub data_blobs: u64,
    /// Trees that were not there.
    #[serde(default)]
    pub tree_blobs: u64,
    /// Bytes of them.
    #[serde(default)]
    pub data_added: u64,
    /// Bytes of them as stored.
    #[serde(default)]
    pub data_added_packed: u64,
    /// Files in the snapshot.
    #[serde(default)]
    pub total_files_processed: u64,
    /// Bytes of them.
    #[serde(default)]
    pub total_bytes_processed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_restic_is_read_and_one_of_ours_survives() {
        let text = r#"{"time":"2026-05-03T12:14:00.123456789+02:00","tree":"1111111111111111111111111111111111111111111111111111111111111111",
            "paths":["/etc"],"hostname":"web-1","username":"root","program_version":"restic 0.17.3"}"#;
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        assert_eq!(snapshot.time.to_rfc3339(), "2026-05-03T10:14:00.123456789Z");
        assert_eq!(snapshot.tree, ObjectId([0x11; 32]));
        let again: Snapshot = serde_json::from_slice(&serde_json::to_vec(&snapshot).unwrap()).unwrap();
        assert_eq!(again, snapshot);
    }
}
