//! What the program that saves, verifies and restores files of a node prints: one [`BackupLine`] in JSON a line.

use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::time::Timestamp;

/// Exit code of a backup, restore, check or drill that went well.
pub const EXIT_BACKUP_FINE: u8 = 0;
/// Exit code of one that failed: no snapshot was made, or what was to be verified is not in order.
pub const EXIT_BACKUP_FAILED: u8 = 1;
/// Exit code of one that was done, but for some files.
pub const EXIT_BACKUP_PARTIAL: u8 = 3;

/// What a backup program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BackupVerb {
    /// Saves what a policy says.
    Run,
    /// Lists snapshots.
    List,
    /// Restores files.
    Restore,
    /// Verifies a repository.
    Check,
    /// Restores on trial.
    Drill,
    /// Shows who can open a repository.
    Key,
    /// Lists the files of a snapshot.
    Files,
    /// Compares two snapshots.
    Diff,
    /// Prints one file, encrypted.
    Dump,
}

impl BackupVerb {
    /// As the command line calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::List => "list",
            Self::Restore => "restore",
            Self::Check => "check",
            Self::Drill => "drill",
            Self::Key => "key",
            Self::Files => "files",
            Self::Diff => "diff",
            Self::Dump => "dump",
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BackupResult {
    /// All of it.
    Ok,
    /// All but some files.
    Partial,
    /// Not.
    Failed,
    /// It was told to stop; a run goes on from there the next time.
    Stopped,
}

impl BackupResult {
    /// The program's exit code for it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => EXIT_BACKUP_FINE,
            Self::Partial => EXIT_BACKUP_PARTIAL,
            Self::Failed | Self::Stopped => EXIT_BACKUP_FAILED,
        }
    }

    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// A snapshot as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SnapshotLine {
    /// Its whole name.
    pub id: String,
    /// When its run began; the node's word.
    pub time: String,
    /// The node that it says it is of.
    pub node: String,
    /// The policy that made it; none for another program's.
    pub policy: Option<String>,
    /// What was saved.
    pub paths: Vec<String>,
    /// Files in it; none where whoever made it did not count.
    pub files: Option<u64>,
    /// Bytes of them.
    pub bytes: Option<u64>,
}

/// An entry of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EntryLine {
    /// Its path; bytes that are no text are replaced.
    pub path: String,
    /// `file`, `dir`, `symlink`, `fifo`...
    pub kind: String,
    /// Bytes of content.
    pub bytes: u64,
    /// Permissions, as `chmod` takes them.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When its content was changed.
    pub modified: String,
    /// Where a symbolic link leads.
    pub target: Option<String>,
}

/// An entry that differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChangeLine {
    /// Its path; bytes that are no text are replaced.
    pub path: String,
    /// `added`, `removed`, `content`, `details` (mode, owner, time...) or `kind` (a file became a folder...).
    pub change: String,
    /// What it is in the second snapshot, or was in the first when it is removed.
    pub kind: String,
    /// Bytes that it had in the first.
    pub bytes_before: u64,
    /// Bytes that it has in the second.
    pub bytes_after: u64,
}

/// A way into a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeyLine {
    /// Name of the key file.
    pub id: String,
    /// When it was made; its own word.
    pub created: String,
    /// Whether this node made it, so that what it says of its recipients is true.
    pub ours: bool,
    /// Whose identities open its password.
    pub recipients: Vec<String>,
}

/// What was done, in figures; those that do not belong to the verb are zero.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct BackupFigures {
    /// Files saved, restored or listed.
    pub files: u64,
    /// Of them new since the snapshot before.
    pub files_new: u64,
    /// Of them changed since.
    pub files_changed: u64,
    /// Of them the same; not read, or not written, again.
    pub files_unchanged: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes that came to the repository, before compression.
    pub added_bytes: u64,
    /// The same as stored, or bytes that were read back and verified.
    pub stored_bytes: u64,
    /// Files that could not be read or restored as they should.
    pub unread: u64,
    /// Things wrong with the repository.
    pub findings: u64,
    /// Bytes of all packs of the repository, where a check looked at them.
    pub of_bytes: u64,
    /// Snapshots that went by the policy's keep rules.
    pub forgotten: u64,
    /// Snapshots that would go by them and stay by the store's rules.
    pub stays: u64,
    /// Bytes of packs that went, for no snapshot needs them.
    pub freed_bytes: u64,
    /// Files of the node that were not touched since and have the content of the snapshot, where a drill looked at them.
    pub live_same: u64,
    /// Files of the node that were changed since.
    pub live_changed: u64,
    /// How long a drill took until everything was back and the policy's own check was done.
    pub restored_ms: u64,
}

/// A line of a backup program's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "line")]
pub enum BackupLine {
    /// The first line.
    Started {
        /// What is done.
        verb: BackupVerb,
        /// The policy, where there is one.
        policy: Option<String>,
        /// Where the repository is.
        target: String,
        /// When.
        time: Timestamp,
    },
    /// How far it is; at most once a second.
    #[serde(rename_all = "camelCase")]
    Progress {
        /// Files that are done.
        files: u64,
        /// Bytes of them, or bytes that were verified.
        bytes: u64,
        /// Bytes that were read.
        read_bytes: u64,
        /// Files that could not be read as they should.
        unread: u64,
        /// The folder that is looked at.
        current: String,
    },
    /// A file that was not saved or restored, or not as it was at one moment. The first of them, when there are many.
    Unread {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
    /// A hook that ran, or what its end said.
    Hook {
        /// `before`, `after`, `command` or `drill`.
        when: String,
        /// Its command line.
        command: String,
        /// `ok`, or how it failed.
        result: String,
    },
    /// A snapshot.
    Snapshot(SnapshotLine),
    /// A way into the repository.
    Key(KeyLine),
    /// An entry of a snapshot.
    Entry(EntryLine),
    /// An entry that differs between two snapshots.
    Change(ChangeLine),
    /// The file that was printed, as it is once it is decrypted.
    Content {
        /// How many bytes it has.
        bytes: u64,
        /// The SHA-256 of them.
        sha256: Digest,
    },
    /// Something wrong with the repository, and what it hurts.
    Finding {
        /// In a sentence.
        what: String,
    },
    /// A warning or an error, in a sentence.
    Problem {
        /// What is wrong and what to do.
        message: String,
    },
    /// The last line.
    #[serde(rename_all = "camelCase")]
    Finished {
        /// What was done.
        verb: BackupVerb,
        /// The policy, where there is one.
        policy: Option<String>,
        /// How it ended.
        result: BackupResult,
        /// The repository's identity, once it was opened.
        repository: Option<String>,
        /// The snapshot that was made or restored.
        snapshot: Option<String>,
        /// How long it took.
        duration_ms: u64,
        /// What was done.
        figures: BackupFigures,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_kind_and_is_read_as_it_was_written() {
        let line = BackupLine::Finished {
            verb: BackupVerb::Run,
            policy: Some("files".to_owned()),
            result: BackupResult::Partial,
            repository: None,
            snapshot: Some("ab".repeat(32)),
            duration_ms: 12,
            figures: BackupFigures { files: 3, unread: 1, ..BackupFigures::default() },
        };
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.starts_with(r#"{"line":"finished","verb":"run","policy":"files","result":"partial""#));
        assert!(text.contains(r#""durationMs":12"#) && text.contains(r#""filesNew":0"#), "{text}");
        assert_eq!(serde_json::from_str::<BackupLine>(&text).unwrap(), line);
        let codes = [BackupResult::Ok, BackupResult::Partial, BackupResult::Failed, BackupResult::Stopped];
        assert_eq!(codes.map(BackupResult::exit_code), [0, 3, 1, 1]);
    }
}
