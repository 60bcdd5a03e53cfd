//! What happened in the store and others should know: events, entries of the audit log, log lines.

use campanile_common::backup::StoredObject;
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use serde_json::json;

use super::record::{Flaw, Settlement, Suspicion};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A snapshot is stored, with everything that it needs.
    SnapshotReceived {
        /// Which.
        snapshot: Digest,
        /// Bytes that it needs.
        bytes: u64,
        /// Of those, bytes that are new.
        new_bytes: u64,
    },
    /// Something waits for a person, and deletions with it.
    Held {
        /// Its number.
        id: u64,
        /// Why.
        reasons: Vec<Suspicion>,
        /// In words.
        detail: String,
    },
    /// A person settled it.
    Settled {
        /// Its number.
        id: u64,
        /// How.
        settlement: Settlement,
    },
    /// Objects were let go.
    Deleted {
        /// Snapshots among them.
        snapshots: usize,
        /// All.
        objects: usize,
        /// Until when they can be brought back.
        until: Timestamp,
    },
    /// Objects were brought back.
    Restored {
        /// How many.
        objects: usize,
    },
    /// The time of objects in the trash was over.
    Expired {
        /// How many.
        objects: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// An object is not what it should be.
    Found {
        /// Which.
        object: StoredObject,
        /// What is wrong.
        flaw: Flaw,
    },
    /// It is again.
    Healed {
        /// Which.
        object: StoredObject,
    },
}

/// Reasons as one text.
pub(super) fn reasons_text(reasons: &[Suspicion]) -> String {
    reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ")
}

/// As an event: its kind and its body.
pub(super) fn event(note: &Note) -> (&'static str, serde_json::Value) {
    match note {
        Note::SnapshotReceived { snapshot, bytes, new_bytes } => (
            "backup.snapshot-received",
            json!({ "snapshot": snapshot, "bytes": bytes, "newBytes": new_bytes }),
        ),
        Note::Held { id, reasons, detail } => {
            ("backup.held", json!({ "hold": id, "reasons": reasons, "detail": detail }))
        }
        Note::Settled { id, settlement } => {
            ("backup.settled", json!({ "hold": id, "settlement": settlement }))
        }
        Note::Deleted { snapshots, objects, until } => (
            "backup.deleted",
            json!({ "snapshots": snapshots, "objects": objects, "recoverableUntil": until }),
        ),
        Note::Restored { objects } => ("backup.undeleted", json!({ "objects": objects })),
        Note::Expired { objects, bytes } => ("backup.expired", json!({ "objects": objects, "bytes": bytes })),
        Note::Found { object, flaw } => {
            ("backup.damaged", json!({ "object": object.to_string(), "flaw": flaw }))
        }
        Note::Healed { object } => ("backup.healed", json!({ "object": object.to_string() })),
    }
}

/// Snapshots come every hour on every node: they are events, and no entries.
pub(super) fn action(note: &Note) -> Option<&'static str> {
    match note {
        Note::SnapshotReceived { .. } => None,
        Note::Held { .. } => Some("backup.hold"),
        Note::Settled { .. } => Some("backup.settle"),
        Note::Deleted { .. } => Some("backup.delete"),
        Note::Restored { .. } => Some("backup.undelete"),
        Note::Expired { .. } => Some("backup.expire"),
        Note::Found { .. } => Some("backup.damage"),
        Note::Healed { .. } => Some("backup.heal"),
    }
}
