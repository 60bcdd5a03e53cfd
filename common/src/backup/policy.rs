//! What a policy says, typed and checked.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::target::Target;
use crate::unit::ByteCount;

/// Longest name: it is part of a tag of snapshots, and of a file's name.
const NAME_BYTES_MAX: usize = 63;

/// Names a policy of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PolicyName(String);

/// Text that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no policy: 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`, the first a letter or digit"
)]
pub struct PolicyNameError(String);

impl PolicyName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag that its snapshots carry.
    pub fn tag(&self) -> String {
        format!("policy:{}", self.0)
    }

    /// The name in a tag; none where it is another tag.
    pub fn from_tag(tag: &str) -> Option<Self> {
        tag.strip_prefix("policy:")?.parse().ok()
    }

    /// The name of its file on a node.
    pub fn file_name(&self) -> String {
        format!("{}.json", self.0)
    }
}

impl FromStr for PolicyName {
    type Err = PolicyNameError;

    fn from_str(text: &str) -> Result<Self, PolicyNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(allowed);
        if fits { Ok(Self(text.to_owned())) } else { Err(PolicyNameError(text.to_owned())) }
    }
}

impl TryFrom<String> for PolicyName {
    type Error = PolicyNameError;

    fn try_from(text: String) -> Result<Self, PolicyNameError> {
        text.parse()
    }
}

impl From<PolicyName> for String {
    fn from(name: PolicyName) -> Self {
        name.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is backed up, when, where to, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// What is backed up.
    pub source: Source,
    /// What runs around it.
    pub hooks: Hooks,
    /// When.
    pub schedule: Schedule,
    /// Which snapshots are kept.
    pub keep: Keep,
    /// A newest snapshot that is older is late.
    pub max_age: Duration,
    /// Where to.
    pub target: Target,
    /// Age recipients who can open the repository without the node, in order and each once.
    pub escrow: Vec<String>,
    /// Most bytes a second that are read from the node's disks.
    pub read_limit: Option<ByteCount>,
    /// Most bytes a second that are sent.
    pub write_limit: Option<ByteCount>,
    /// Most bytes that the node's repository may have in the aggregator's store.
    pub quota: Option<ByteCount>,
    /// How restoring is tried.
    pub drill: Option<Drill>,
    /// Within this time the node decrypts everything that is in the repository once.
    pub check_cycle: Duration,
}

/// What is backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Files and folders.
    Files(Files),
    /// What a command writes to its standard output, as one file.
    Command {
        /// Program and arguments; no shell.
        argv: Vec<String>,
        /// Name of the file in the snapshot.
        file_name: String,
    },
}

/// Files and folders, and what is left out of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// Absolute paths, one at least.
    pub paths: Vec<String>,
    /// Patterns of paths that are left out, in order.
    pub exclude: Vec<String>,
    /// Folders with a valid `CACHEDIR.TAG` are left out.
    pub exclude_caches: bool,
    /// Folders that hold a file of one of these names are left out.
    pub exclude_if_present: Vec<String>,
    /// Longer files are left out.
    pub exclude_larger_than: Option<ByteCount>,
    /// What is mounted below the paths is left out.
    pub one_file_system: bool,
}

/// Commands around a backup: program and arguments each, no shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// Before; when one fails, nothing is backed up.
    pub before: Vec<Vec<String>>,
    /// After, whether it went well or not.
    pub after: Vec<Vec<String>>,
    /// How long each may take.
    pub timeout: Duration,
}

/// Which snapshots of a policy are kept: all that any of these keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// So many of the newest.
    pub last: u32,
    /// The newest of so many hours that have one.
    pub hourly: u32,
    /// The newest of so many days.
    pub daily: u32,
    /// The newest of so many weeks, from Monday on.
    pub weekly: u32,
    /// The newest of so many months.
    pub monthly: u32,
    /// The newest of so many years.
    pub yearly: u32,
    /// All that are at most so much older than the newest.
    pub within: Option<Duration>,
}

/// How restoring is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drill {
    /// When.
    pub schedule: Schedule,
    /// The application's own check; empty for none. `{}` stands for the folder of what was restored.
    pub command: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_also_a_tag_and_a_file() {
        let name: PolicyName = "db.main-1".parse().unwrap();
        assert_eq!((name.tag().as_str(), name.file_name().as_str()), ("policy:db.main-1", "db.main-1.json"));
        assert_eq!(PolicyName::from_tag("policy:db.main-1"), Some(name));
        assert_eq!(PolicyName::from_tag("policy:../x"), None);
        assert_eq!(PolicyName::from_tag("campanile"), None);
        for text in ["", ".", "..", "-x", "a/b", "a b", "a,b", "ä", &"a".repeat(64)] {
            assert!(text.parse::<PolicyName>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<PolicyName>("\"../x\"").is_err());
    }
}
