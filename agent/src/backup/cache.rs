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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "policies are put in place and a store is damaged")]
mod tests {
    use std::path::PathBuf;

    use campanile_backup::backend::{BackendError, Directory};

    use super::*;
    use crate::backup::output::Output;
    use crate::backup::place::{Of, Place};

    const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    /// A program whose store that is away is the folder `store`.
    fn program(folder: &Path) -> Program {
        let store = folder.join("store");
        let place = Place {
            folder: folder.join("backup"),
            sealing_key: folder.join("config/sealing.key"),
            node: "web-1".to_owned(),
            connect: Box::new(move || Ok(Arc::new(Directory::create(&store).expect("the store is made")))),
            connect_to: Box::new(|_| Err(BackendError::Unreachable("there is no other".to_owned()))),
            own: Vec::new(),
            is_confined: false,
        };
        let policies = folder.join("backup/policies");
        std::fs::create_dir_all(&policies).unwrap();
        std::fs::create_dir_all(folder.join("files")).unwrap();
        let policy = serde_json::json!({ "format": 1, "name": "files", "policy": {
            "paths": [folder.join("files")], "target": "aggregator", "keep": { "last": 7 }, "schedule": "@daily",
            "escrow": [RECIPIENT],
        }});
        std::fs::write(policies.join("files.json"), policy.to_string()).unwrap();
        std::fs::write(folder.join("files/a"), "content").unwrap();
        Program::new(place, Output::standard(), Arc::default())
    }

    fn names(folder: PathBuf) -> Vec<String> {
        folder::names(&folder).unwrap()
    }

    #[test]
    fn a_run_reads_copies_of_what_the_store_lists_and_whoever_proves_it_reads_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let of_another = folder.path().join("backup/repository-01234567.cache");
        std::fs::create_dir_all(of_another.join("index")).unwrap();
        let (store, copies) = (folder.path().join("store"), folder.path().join("backup/repository.cache"));
        program(folder.path()).save("files", false).unwrap();
        let indexes = names(store.join("index"));
        assert_eq!(names(copies.join("index")), indexes);
        assert_eq!(names(copies.join("snapshots")), names(store.join("snapshots")));
        assert!(!of_another.exists(), "no policy saves there");
        // Where only a copy is as it should be, a run goes well.
        std::fs::write(store.join("index").join(&indexes[0]), "damaged").unwrap();
        program(folder.path()).save("files", false).unwrap();
        let program = program(folder.path());
        let (target, _) = program.target(&Of { policy: Some("files".to_owned()), target: None }).unwrap();
        assert!(program.open(&target).unwrap().load_index().is_err());
    }
}
