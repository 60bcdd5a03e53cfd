//! Backups as the aggregator's store sees them: what each node should have, what it has by receipt, what waits for a
//! person. Every time is the store's own; what a node said is marked as its word.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, NodeId};
use crate::time::Timestamp;

/// How a policy stands, or the worst of a node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BackupState {
    /// The newest snapshot is as young as it should be.
    Fresh,
    /// There is none yet, and need not be.
    Waiting,
    /// Nothing is known: the policy saves elsewhere, or no configuration says what the node has.
    Unknown,
    /// The newest snapshot is too old, or there is none and should be: a warning.
    Late,
    /// Twice as old as it may be; something that is stored is damaged; or deletions wait for a person.
    Critical,
}

impl BackupState {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
            Self::Late => "late",
            Self::Critical => "critical",
        }
    }
}

/// A policy of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicyBackup {
    /// Its name.
    pub policy: String,
    /// When it runs, as the configuration says it.
    pub schedule: String,
    /// Where it saves to: `aggregator`, or a place that only the node knows.
    pub target: String,
    /// A newest snapshot that is older is late.
    pub max_age_seconds: u64,
    /// How it stands.
    pub state: BackupState,
    /// When its newest snapshot was received.
    pub newest: Option<Timestamp>,
    /// How many snapshots of it there are.
    pub snapshots: u64,
}

/// The backups of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeBackup {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// The worst of what follows. A policy that saves elsewhere counts only where there is no other.
    pub state: BackupState,
    /// Why it is not `fresh`; empty otherwise.
    pub reasons: Vec<String>,
    /// Its policies, by name; none where no configuration says any.
    pub policies: Vec<PolicyBackup>,
    /// Snapshots that are stored.
    pub snapshots: u64,
    /// When the newest was received, whichever policy made it.
    pub newest: Option<Timestamp>,
    /// Bytes that are stored, without what was let go.
    pub bytes: u64,
    /// Bytes that were let go and can still be brought back.
    pub trash_bytes: u64,
    /// Most bytes that it may store.
    pub quota_bytes: u64,
    /// When everything had been read back once more; none before the first cycle's end.
    pub verified: Option<Timestamp>,
    /// Bytes that were read back within the last two cycles; of `bytes`. Counted once a minute.
    pub verified_bytes: u64,
    /// How many objects are damaged or gone.
    pub damaged: u64,
    /// How many deletions or alarms wait for a person.
    pub held: u64,
    /// How it stands in the second place; none without one, and before the places were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondPlace>,
}

/// How a node's part of the store stands in the second place, by the last comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SecondPlace {
    /// When everything was there that the first place had then.
    pub complete: Option<Timestamp>,
    /// Objects that were lacking and could not be copied.
    pub missing: u64,
    /// Objects there that are damaged or gone.
    pub damaged: u64,
    /// Snapshots there that the first place does not know any more.
    pub lost: u64,
}

/// A snapshot, by its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StoredSnapshot {
    /// Its name.
    pub snapshot: Digest,
    /// The policy that made it; the node's word.
    pub policy: Option<String>,
    /// When it was received.
    pub received: Timestamp,
    /// Bytes of the packs that it needs.
    pub bytes: u64,
    /// Of them, those that came after the snapshot before.
    pub new_bytes: u64,
    /// Until when it can be brought back, where it was let go.
    pub deleted_until: Option<Timestamp>,
}

/// A key file of a node's repository: a way in for whoever has an identity that it is for. Nothing in it is in clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StoredKey {
    /// Its name: the SHA-256 of its bytes.
    pub key: Digest,
    /// When it was received.
    pub received: Timestamp,
    /// How many bytes it has.
    pub size: u64,
    /// Its bytes, JSON as restic writes it, in standard base64; none where they cannot be read, or are more than 64 KiB.
    pub content: Option<String>,
}

/// Something that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct BackupHold {
    /// Its number, of this node.
    pub id: u64,
    /// Since when.
    pub since: Timestamp,
    /// Why: `newest`, `many-snapshots`, `size-fall`...
    pub reasons: Vec<String>,
    /// In words.
    pub detail: String,
    /// How many objects were to go; 0 for an alarm alone.
    pub proposed: u64,
}

/// Something stored that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct BackupFinding {
    /// Kind and name, e.g. `pack 4f0c...`.
    pub object: String,
    /// `missing`, `damaged` or `unreadable`.
    pub flaw: String,
    /// When it was found.
    pub found: Timestamp,
}

/// The backups of a node, with all that somebody may have to do about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeBackupDetail {
    /// As in a list.
    #[serde(flatten)]
    pub backup: NodeBackup,
    /// What waits for a person, oldest first.
    pub holds: Vec<BackupHold>,
    /// What is damaged.
    pub findings: Vec<BackupFinding>,
}

/// How a person settles what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum HoldSettlement {
    /// It was as it should be: what was proposed is decided by the rules.
    Release,
    /// What was proposed is dropped.
    Refuse,
}

/// Body of the request that settles a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettleHold {
    /// How.
    pub settlement: HoldSettlement,
}

/// Body of the request that brings back what was let go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UndeleteBackup {
    /// Which snapshot, with all that it needs; everything without.
    pub snapshot: Option<Digest>,
}
