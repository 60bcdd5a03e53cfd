//! What an order may ask of a node's backups. What is saved, where to and for how long is in signed policies; an order
//! names one of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::order::Tier;
use crate::backup::PolicyName;

/// Most paths that one order restores.
const PATHS_MAX: usize = 256;
/// Longest path: as long as Linux takes one.
const PATH_BYTES_MAX: usize = 4096;
/// A whole snapshot's name; `latest` and times are shorter.
const SNAPSHOT_BYTES_MAX: usize = 64;
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
            Self::Restore { to: RestorePlace::Folder(_), .. } | Self::List { .. } | Self::Diff { .. } => {
                Tier::Change
            }
            Self::Restore { to: RestorePlace::InPlace, .. } => Tier::Critical,
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
            | Self::Diff { policy, .. } => policy,
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(rule) };
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
            Self::Restore { snapshot, paths, to, .. } => {
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
        }
    }
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
                paths.iter().try_for_each(|path| write!(f, " {path:?}"))?;
                match to {
                    RestorePlace::Folder(folder) => write!(f, " to {folder:?}"),
                    RestorePlace::InPlace => f.write_str(" in place"),
                }
            }
        }
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
        let check = |part, of| BackupAction::Check { policy: policy(), part, of }.check();
        assert!(check(0, 1).is_err() && check(3, 2).is_err() && check(0, 0).is_err());
        assert_eq!(check(2, 2), Ok(()));
    }
}
