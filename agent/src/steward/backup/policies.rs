//! The policies that are on this node now, read from their files again when those change.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use campanile_common::backup::{POLICY_BYTES_MAX, Policy, PolicyName, Schedule, When, policy_from_file};
use campanile_common::time::Timestamp;

use super::plan::Attention;
use crate::backup::runs::Run;
use crate::os::file::{self, Stamp};
use crate::os::folder;

const ENDING: &str = ".json";

/// A policy of this node.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stamp: Stamp,
    /// When it runs; why it cannot be used, otherwise.
    pub(super) schedule: Result<Schedule, String>,
    /// How it is proven that restoring works; none where it cannot be used.
    pub(super) proof: Option<Proof>,
    /// When it runs by the clock.
    pub(super) due: Option<Timestamp>,
    /// The runs from which that follows.
    pub(super) planned: Option<Vec<Run>>,
    /// It stands back until then.
    pub(super) held: Option<Timestamp>,
    pub(super) attention: Attention,
}

/// What a policy says of proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    /// When it is drilled.
    pub(super) drill: Option<Schedule>,
    /// Where its repository is.
    pub(super) target: String,
    /// Within which everything that is there is decrypted once.
    pub(super) check_cycle: Duration,
}

impl Entry {
    fn new(stamp: Stamp, read: Result<Policy, String>) -> Self {
        let proof = read.as_ref().ok().map(|policy| Proof {
            drill: policy.drill.as_ref().map(|drill| drill.schedule),
            target: policy.target.to_string(),
            check_cycle: policy.check_cycle,
        });
        let schedule = read.map(|policy| policy.schedule);
        Self { stamp, schedule, proof, due: None, planned: None, held: None, attention: Attention::Off }
    }

    pub(super) fn is_continuous(&self) -> bool {
        self.schedule.as_ref().is_ok_and(|schedule| schedule.when == When::Continuous)
    }
}

/// Looks at the files of policies. True when one of them is another than before, came, or went.
pub(super) fn look(folder: &Path, entries: &mut BTreeMap<PolicyName, Entry>) -> io::Result<bool> {
    let names = folder::names(folder)?;
    let names = names.iter().filter_map(|name| name.strip_suffix(ENDING)?.parse::<PolicyName>().ok());
    let (mut before, mut is_changed) = (std::mem::take(entries), false);
    for name in names {
        let path = folder.join(name.file_name());
        // One that goes at this moment is gone the next time.
        let Ok(Some(stamp)) = file::stamp(&path) else { continue };
        let known = before.remove(&name).filter(|known| known.stamp == stamp);
        is_changed |= known.is_none();
        let entry = known.unwrap_or_else(|| Entry::new(stamp, read(&name, &path)));
        entries.insert(name, entry);
    }
    Ok(is_changed || !before.is_empty())
}

fn read(name: &PolicyName, path: &Path) -> Result<Policy, String> {
    let bytes = match file::read_secret(path, POLICY_BYTES_MAX as u64) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err("its file is gone".to_owned()),
        Err(error) => return Err(format!("its file cannot be read: {error}")),
    };
    policy_from_file(name, &bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out files")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn policies_come_change_and_go_and_one_that_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policies");
        let mut entries = BTreeMap::new();
        assert!(!look(&path, &mut entries).unwrap() && entries.is_empty());
        std::fs::create_dir(&path).unwrap();
        let write = |schedule: &str| {
            let policy = json!({ "format": 1, "name": "etc", "policy": {
                "paths": ["/etc"], "schedule": schedule, "keep": { "last": 3 }, "target": "dir:/srv/b",
            }});
            file::replace(&path.join("etc.json"), policy.to_string().as_bytes()).unwrap();
        };
        write("continuous");
        assert!(look(&path, &mut entries).unwrap());
        let name: PolicyName = "etc".parse().unwrap();
        assert!(entries[&name].is_continuous());
        assert!(!look(&path, &mut entries).unwrap());
        write("at tea-time");
        assert!(look(&path, &mut entries).unwrap());
        assert!(entries[&name].schedule.as_ref().unwrap_err().contains("schedule"), "{entries:?}");
        std::fs::remove_file(path.join("etc.json")).unwrap();
        assert!(look(&path, &mut entries).unwrap() && entries.is_empty());
    }
}
