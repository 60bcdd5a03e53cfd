//! The node's policy as it is on disk now: looked at before each decision, read again when it changed.
//!
//! A file that cannot be used denies everything and says why: nobody falls back to something laxer because of a typing
//! error. Without a file the built-in policy is in force.

#![expect(clippy::disallowed_methods, reason = "an edge: the policy is a file")]

use std::path::{Path, PathBuf};

use campanile_common::authority::{Policy, Tier};

use crate::os::file::{self, Stamp};

/// Longest policy: thousands of patterns.
const POLICY_BYTES_MAX: u64 = 1024 * 1024;

/// The policy in force and where it comes from.
#[derive(Debug)]
pub(super) struct PolicyFile {
    path: PathBuf,
    /// Our user: only it, and root, may own the file.
    uid: u32,
    stamp: Option<Option<Stamp>>,
    policy: Policy,
    source: String,
    problem: Option<String>,
}

impl PolicyFile {
    /// Reads nothing yet: nothing is permitted before [`Self::look`].
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            stamp: None,
            policy: nothing(),
            source: String::new(),
            problem: None,
        }
    }

    /// Reads the file again if it is another than before. True when it was.
    pub(super) fn look(&mut self) -> bool {
        let found = match file::stamp(&self.path) {
            Ok(found) if self.stamp == Some(found) => return false,
            Ok(found) => found,
            Err(error) => {
                self.stamp = None;
                self.refuse(&error.to_string());
                return true;
            }
        };
        self.stamp = Some(found);
        let path = self.path.display();
        match found.map(|stamp| self.read(&stamp)) {
            None => {
                self.policy = Policy::default();
                self.source = format!("built in: {path} does not exist");
                self.problem = None;
            }
            Some(Ok(policy)) => {
                self.source = path.to_string();
                self.policy = policy;
                self.problem = None;
            }
            Some(Err(problem)) => self.refuse(&problem),
        }
        true
    }

    fn refuse(&mut self, problem: &str) {
        let problem = format!("the policy {} cannot be used: {}", self.path.display(), problem.trim_end());
        self.source = format!("{problem}; everything is denied until it is mended");
        self.policy = nothing();
        self.problem = Some(problem);
    }

    fn read(&self, stamp: &Stamp) -> Result<Policy, String> {
        if stamp.mode & 0o022 != 0 {
            return Err(format!("others than its owner may write it (mode {:o}); chmod go-w", stamp.mode));
        }
        if stamp.uid != self.uid && stamp.uid != 0 {
            let (owner, ours) = (stamp.uid, self.uid);
            return Err(format!("it belongs to user {owner}, not to root or to user {ours}; chown it"));
        }
        if stamp.size > POLICY_BYTES_MAX {
            return Err(format!("it has {} bytes, {POLICY_BYTES_MAX} are the most", stamp.size));
        }
        let text = std::fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        toml::from_str(&text).map_err(|error| error.to_string())
    }

    /// The policy in force.
    pub(super) const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where it comes from, or why everything is denied.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// What is wrong with the file.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

/// Permits nothing.
fn nothing() -> Policy {
    Policy { highest_tier: Tier::Observe, classes: [].into(), ..Policy::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PolicyFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut file = PolicyFile::new(&path);
        assert!(file.look());
        (folder, file)
    }

    #[test]
    fn a_missing_file_is_the_built_in_policy() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = PolicyFile::new(&folder.path().join("policy.toml"));
        assert_eq!(file.policy(), &nothing());
        file.look();
        assert_eq!(file.policy(), &Policy::default());
        assert!(file.source().starts_with("built in"), "{}", file.source());
    }

    #[test]
    fn a_malformed_file_denies_everything_and_names_the_line() {
        let (_folder, file) = written("highest_tier = 3\nclases = []\n", 0o644);
        assert_eq!(file.policy(), &nothing());
        let problem = file.problem().unwrap();
        assert!(problem.contains("line 2") && problem.contains("clases"), "{problem}");
    }

    #[test]
    fn a_file_that_others_may_write_denies_everything() {
        for mode in [0o664, 0o646] {
            let (_folder, file) = written("highest_tier = 3\n", mode);
            assert_eq!(file.policy(), &nothing());
            assert!(file.problem().unwrap().contains("chmod"), "{:?}", file.problem());
        }
    }

    #[test]
    fn a_changed_file_is_read_at_the_next_look() {
        let (folder, mut file) = written("highest_tier = 2\n", 0o644);
        assert_eq!(file.policy().highest_tier, Tier::Change);
        assert!(!file.look());
        crate::os::file::replace(&folder.path().join("policy.toml"), b"highest_tier = 3\n").unwrap();
        assert!(file.look());
        assert_eq!(file.policy().highest_tier, Tier::Critical);
        std::fs::remove_file(folder.path().join("policy.toml")).unwrap();
        assert!(file.look());
        assert_eq!(file.policy(), &Policy::default());
    }
}
