//! What an order may ask of a node's backups. What is saved, where to and for how long is in signed policies; an order
//! names one of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::order::Tier;
use crate::backup::PolicyName;
use crate::id::NodeId;

/// Most paths that one order restores.
const PATHS_MAX: usize = 256;
/// Longest path: as long as Linux takes one.
const PATH_BYTES_MAX: usize = 4096;
/// A whole snapshot's name; `latest` and times are shorter.
const SNAPSHOT_BYTES_MAX: usize = 64;
/// Longest sealed ways into a repository: eight of them have 2 KiB.
const SEALED_BYTES_MAX: usize = 8 * 1024;
/// What an age recipient begins with, and how many characters one has.
const RECIPIENT: (&str, usize) = ("age1", 62);
/// Why a snapshot is refused.
const NO_SNAPSHOT: &str = "that is no snapshot: give `latest`, a time, or the begin of a name";
/// Why a path is refused.
const NO_PATH: &str = "a path is absolute, without `..` or NUL";

/// What a node is to do with its backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupAction {
    /// Save what a policy says, now. Tier 1 at least.
    Run {
        /// Name of the policy.
        policy: PolicyName,
    },
    /// Read back and decrypt a share of the repository that a policy saves to. Tier 1 at least.
    Check {
        /// Name of the policy.
        policy: PolicyName,
        /// Which share, counted from one.
        part: u8,
        /// How many shares there are; 1 for everything.
        of: u8,
    },
    /// Restore a policy's newest snapshot into a private folder, try it there, and remove it. Tier 1 at least.
    Drill {
        /// Name of the policy.
        policy: PolicyName,
    },
    /// Restore files. Tier 2 at least; tier 3 where they take the place of what is there.
    Restore {
        /// Name of the policy whose repository is read.
        policy: PolicyName,
        /// `latest`, a time in RFC 3339, or the begin of a snapshot's name.
        snapshot: String,
        /// Paths in the snapshot; all when there are none.
        paths: Vec<String>,
        /// Where to.
        to: RestorePlace,
    },
    /// Name the files of a snapshot. Tier 2 at least: names of files are told to nobody without an operator.
    List {
        /// Name of the policy whose repository is read.
        policy: PolicyName,
        /// As for a restore.
        snapshot: String,
        /// One file or folder in the snapshot; all of it when there is none.
        path: Option<String>,
    },
    /// Name what differs between two snapshots. Tier 2 at least, as above.
    Diff {
        /// Name of the policy whose repository is read.
        policy: PolicyName,
        /// The first, as for a restore.
        before: String,
        /// The second.
        after: String,
    },
    /// Restore files that another node saved to the aggregator's store, which this node may read from while it works on
    /// this order. Tier 2 at least; tier 3 where they take the place of what is there.
    RestoreFrom {
        /// Who saved them.
        source: NodeId,
        /// Name of that node's policy.
        policy: PolicyName,
        /// As for a restore.
        snapshot: String,
        /// As for a restore.
        paths: Vec<String>,
        /// Where to.
        to: RestorePlace,
        /// Ways into that node's repository, sealed to the sealing key of the one that restores.
        sealed: Vec<u8>,
        /// Have the command by which drills of this node's own policy of that name are judged look at what was restored.
        is_tried: bool,
    },
    /// Print one file, encrypted to whoever asked, so that nobody on the way reads it. Tier 2 at least.
    Dump {
        /// Name of the policy whose repository is read.
        policy: PolicyName,
        /// As for a restore.
        snapshot: String,
        /// The file in the snapshot.
        path: String,
        /// For whom, as age writes it: `age1...`.
        recipient: String,
    },
}

/// Where files are restored to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestorePlace {
    /// Into a folder that is not there yet, or is empty; only root may look into it.
    Folder(String),
    /// To where they were, over what is there.
    InPlace,
}

impl BackupAction {
    /// The lowest tier at which it may be ordered.
    pub const fn tier_min(&self) -> Tier {
        match self {
            Self::Run { .. } | Self::Check { .. } | Self::Drill { .. } => Tier::Routine,
            Self::Restore { to, .. } | Self::RestoreFrom { to, .. } => match to {
                RestorePlace::Folder(_) => Tier::Change,
                RestorePlace::InPlace => Tier::Critical,
            },
            Self::List { .. } | Self::Diff { .. } | Self::Dump { .. } => Tier::Change,
        }
    }

    /// The policy that it is about.
    pub const fn policy(&self) -> &PolicyName {
        match self {
            Self::Run { policy }
            | Self::Check { policy, .. }
            | Self::Drill { policy }
            | Self::Restore { policy, .. }
            | Self::List { policy, .. }
            | Self::Diff { policy, .. }
            | Self::RestoreFrom { policy, .. }
            | Self::Dump { policy, .. } => policy,
        }
    }

    /// The other node whose files are read, if one's are.
    pub const fn source(&self) -> Option<NodeId> {
        match self {
            Self::RestoreFrom { source, .. } => Some(*source),
            Self::Run { .. }
            | Self::Check { .. }
            | Self::Drill { .. }
            | Self::Restore { .. }
            | Self::List { .. }
            | Self::Diff { .. }
            | Self::Dump { .. } => None,
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Run { .. } | Self::Drill { .. } => Ok(()),
            Self::Check { part, of, .. } => {
                rule(*part >= 1 && part <= of, "a share is one of so many, counted from 1")
            }
            Self::List { snapshot, path, .. } => {
                rule(is_snapshot(snapshot), NO_SNAPSHOT)?;
                rule(path.as_deref().is_none_or(is_path), NO_PATH)
            }
            Self::Diff { before, after, .. } => rule(is_snapshot(before) && is_snapshot(after), NO_SNAPSHOT),
            Self::Restore { snapshot, paths, to, .. } => check_restore(snapshot, paths, to),
            Self::RestoreFrom { snapshot, paths, to, sealed, .. } => {
                check_restore(snapshot, paths, to)?;
                let fits = (1..=SEALED_BYTES_MAX).contains(&sealed.len());
                rule(fits, "it holds no sealed ways into a repository, or too many")
            }
            Self::Dump { snapshot, path, recipient, .. } => {
                rule(is_snapshot(snapshot), NO_SNAPSHOT)?;
                rule(is_path(path), NO_PATH)?;
                rule(
                    is_recipient(recipient),
                    "that is no age recipient: one is age1 and 58 letters and digits",
                )
            }
        }
    }
}

fn rule(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}

fn check_restore(snapshot: &str, paths: &[String], to: &RestorePlace) -> Result<(), &'static str> {
    rule(is_snapshot(snapshot), NO_SNAPSHOT)?;
    rule(paths.len() <= PATHS_MAX, "it names too many paths")?;
    rule(paths.iter().all(|path| is_path(path)), NO_PATH)?;
    match to {
        RestorePlace::Folder(folder) => {
            rule(is_path(folder) && folder != "/", "a folder to restore to is absolute and not /")
        }
        RestorePlace::InPlace => Ok(()),
    }
}

/// Its checksum is for whoever encrypts to it.
fn is_recipient(text: &str) -> bool {
    let (start, length) = RECIPIENT;
    text.len() == length
        && text.starts_with(start)
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_snapshot(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= SNAPSHOT_BYTES_MAX
        && text.chars().all(|c| c.is_ascii_graphic())
        && !text.starts_with('-')
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && !path.contains('\0')
        && path.split('/').all(|part| part != "..")
}

impl fmt::Display for BackupAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { policy } => write!(f, "backup {policy}"),
            Self::Check { policy, of: 1, .. } => write!(f, "check backup {policy}"),
            Self::Check { policy, part, of } => write!(f, "check backup {policy}, share {part}/{of}"),
            Self::Drill { policy } => write!(f, "drill backup {policy}"),
            Self::List { policy, snapshot, path } => {
                write!(f, "list files of {snapshot} of backup {policy}")?;
                path.iter().try_for_each(|path| write!(f, " {path:?}"))
            }
            Self::Diff { policy, before, after } => {
                write!(f, "compare {before} with {after} of backup {policy}")
            }
            Self::Restore { policy, snapshot, paths, to } => {
                write!(f, "restore {snapshot} of backup {policy}")?;
                write_restore(f, paths, to)
            }
            // What is sealed is nothing for people.
            Self::RestoreFrom { source, policy, snapshot, paths, to, .. } => {
                write!(f, "restore {snapshot} of backup {policy} of node {source}")?;
                write_restore(f, paths, to)
            }
            Self::Dump { policy, snapshot, path, .. } => {
                write!(f, "print {path:?} of {snapshot} of backup {policy}, encrypted")
            }
        }
    }
}

fn write_restore(f: &mut fmt::Formatter<'_>, paths: &[String], to: &RestorePlace) -> fmt::Result {
    paths.iter().try_for_each(|path| write!(f, " {path:?}"))?;
    match to {
        RestorePlace::Folder(folder) => write!(f, " to {folder:?}"),
        RestorePlace::InPlace => f.write_str(" in place"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> PolicyName {
        "files".parse().unwrap()
    }

    fn restore(snapshot: &str, paths: &[&str], to: RestorePlace) -> BackupAction {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        BackupAction::Restore { policy: policy(), snapshot: snapshot.to_owned(), paths, to }
    }

    #[test]
    fn a_restore_over_what_is_there_is_critical_and_one_beside_it_a_change() {
        let beside = restore("latest", &[], RestorePlace::Folder("/srv/restored".to_owned()));
        assert_eq!((beside.tier_min(), beside.check()), (Tier::Change, Ok(())));
        let over = restore("2026-05-03T10:14:00Z", &["/etc"], RestorePlace::InPlace);
        assert_eq!((over.tier_min(), over.check()), (Tier::Critical, Ok(())));
        assert_eq!(over.to_string(), "restore 2026-05-03T10:14:00Z of backup files \"/etc\" in place");
        assert_eq!(BackupAction::Run { policy: policy() }.tier_min(), Tier::Routine);
    }

    #[test]
    fn what_another_node_saved_is_as_grave_to_restore_and_its_sealed_key_is_shown_to_nobody() {
        let from = |to, sealed: &[u8]| BackupAction::RestoreFrom {
            source: NodeId::from_bytes([7; 8]),
            policy: policy(),
            snapshot: "latest".to_owned(),
            paths: Vec::new(),
            to,
            sealed: sealed.to_vec(),
            is_tried: true,
        };
        let beside = from(RestorePlace::Folder("/srv/r".to_owned()), b"canary");
        assert_eq!((beside.tier_min(), beside.check()), (Tier::Change, Ok(())));
        let over = from(RestorePlace::InPlace, b"canary");
        assert_eq!((over.tier_min(), over.check()), (Tier::Critical, Ok(())));
        let said = "restore latest of backup files of node 0707070707070707 in place";
        assert_eq!(over.to_string(), said);
        assert!(from(RestorePlace::InPlace, b"").check().is_err());
        assert!(from(RestorePlace::InPlace, &[0; SEALED_BYTES_MAX + 1]).check().is_err());
        assert!(from(RestorePlace::Folder("srv".to_owned()), b"x").check().is_err());
    }

    #[test]
    fn what_could_lead_elsewhere_or_be_taken_for_a_flag_is_refused() {
        let to = || RestorePlace::Folder("/srv/r".to_owned());
        for action in [
            restore("--in-place", &[], to()),
            restore("", &[], to()),
            restore("latest", &["etc"], to()),
            restore("latest", &["/etc/../root"], to()),
            restore("latest", &["--x"], to()),
            restore("latest", &[], RestorePlace::Folder("/".to_owned())),
            restore("latest", &[], RestorePlace::Folder("srv".to_owned())),
        ] {
            assert!(action.check().is_err(), "{action}");
        }
        let list = |snapshot: &str, path: &str| BackupAction::List {
            policy: policy(),
            snapshot: snapshot.to_owned(),
            path: Some(path.to_owned()),
        };
        assert_eq!(
            (list("latest", "/etc").check(), list("latest", "/etc").tier_min()),
            (Ok(()), Tier::Change)
        );
        assert!(list("--all", "/etc").check().is_err() && list("latest", "etc/..").check().is_err());
        let diff = |before: &str, after: &str| {
            let (before, after) = (before.to_owned(), after.to_owned());
            BackupAction::Diff { policy: policy(), before, after }
        };
        assert_eq!((diff("4f0c", "latest").check(), diff("a", "b").tier_min()), (Ok(()), Tier::Change));
        assert!(diff("-x", "latest").check().is_err() && diff("latest", "").check().is_err());
        let dump = |path: &str, recipient: &str| BackupAction::Dump {
            policy: policy(),
            snapshot: "latest".to_owned(),
            path: path.to_owned(),
            recipient: recipient.to_owned(),
        };
        let recipient = format!("age1{}", "q".repeat(58));
        assert_eq!(
            (dump("/etc/hosts", &recipient).check(), dump("/x", "").tier_min()),
            (Ok(()), Tier::Change)
        );
        for wrong in ["", "age1q", &recipient.to_uppercase(), &format!("-{recipient}")] {
            assert!(dump("/etc/hosts", wrong).check().is_err(), "{wrong}");
        }
        assert!(dump("etc/hosts", &recipient).check().is_err());
        let check = |part, of| BackupAction::Check { policy: policy(), part, of }.check();
        assert!(check(0, 1).is_err() && check(3, 2).is_err() && check(0, 0).is_err());
        assert_eq!(check(2, 2), Ok(()));
    }
}
