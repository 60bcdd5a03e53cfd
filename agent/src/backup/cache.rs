//! Copies of indexes and snapshots beside the keys, so that a run does not read all of them from a store that is away
//! again.
//!
//! One folder for each repository that policies name; those of others go.

use std::path::Path;
use std::sync::Arc;

use campanile_backup::backend::{Backend, Cached};

use super::error::BackupError;
use super::place::Program;
use super::target::Target;
use crate::os::folder;

/// The folder's name ends so.
const ENDING: &str = "cache";
/// For the copies of one repository: indexes of some millions of blobs, and thousands of snapshots.
const BYTES_MAX: u64 = 128 << 20;

impl Program {
    /// What is there, with copies. A folder is as near as they would be; where they cannot be kept, a word is said.
    pub(super) fn with_copies(
        &self,
        backend: Arc<dyn Backend>,
        target: &Target,
    ) -> Result<Arc<dyn Backend>, BackupError> {
        if matches!(target, Target::Folder(_)) {
            return Ok(backend);
        }
        let path = self.keys()?.path(target, ENDING);
        self.remove_others(&path);
        match Cached::open(Arc::clone(&backend), &path, BYTES_MAX) {
            Ok(cached) => Ok(Arc::new(cached)),
            Err(error) => {
                let path = path.display();
                self.output.problem(format!("copies of indexes are not kept in {path}: {error}"));
                Ok(backend)
            }
        }
    }

    /// Removes the copies of repositories that no policy names any more. Those that stay take room and do no harm.
    fn remove_others(&self, own: &Path) {
        let (Ok(keys), Ok(targets), Some(above)) = (self.keys(), self.targets(), own.parent()) else {
            return;
        };
        let is_used =
            |path: &Path| path == own || targets.iter().any(|target| keys.path(target, ENDING) == path);
        for name in folder::names(above).unwrap_or_default() {
            let path = above.join(&name);
            if name.rsplit_once('.').is_some_and(|(_, ending)| ending == ENDING) && !is_used(&path) {
                folder::remove(&path).ok();
            }
        }
    }
}
