//! `backup drill`: restores a policy's newest snapshot on trial, has the policy's own command look at it, and removes it.

use campanile_backup::restore::Request;
use campanile_common::api::{BackupResult, BackupVerb};

use super::error::BackupError;
use super::pace::Pace;
use super::place::{Done, Program};
use super::restore::{chosen, figures};
use crate::os::{background, folder, random};

/// Held during a drill: what another left can be removed under it.
const LOCK_FILE: &str = "drill.lock";
/// What folders of drills begin with.
const FOLDER_START: &str = "drill-";

impl Program {
    pub(super) fn drill(&self, policy: &str) -> Result<Done, BackupError> {
        let job = self.job(policy)?;
        let _held = self.hold(LOCK_FILE)?;
        background::stand_back();
        self.started(BackupVerb::Drill, Some(&job.name), &job.target);
        self.clear()?;
        let repository = self.open(&job.target)?;
        let lock = self.lock(&repository, &job.target)?;
        let (id, snapshot) = chosen(&repository, Some(&job), "latest")?;
        let path = self.place.folder.join(format!("{FOLDER_START}{:016x}", random::number()));
        folder::make_empty(&path).map_err(|source| BackupError::Folder { path: path.clone(), source })?;
        let pace = Pace::new(self, lock.as_ref());
        let restored = self.restore_into(&repository, &snapshot, &Request::new(path.clone()), &pace);
        let tried = restored.map(|outcome| {
            let folder = path.to_string_lossy().into_owned();
            let command = job.drill_command(&folder);
            let environment = [("CAMPANILE_DRILL", folder), ("CAMPANILE_SNAPSHOT", id.to_string())];
            let is_fine =
                command.is_none_or(|argv| self.run_hook(&job, "drill", &argv, &environment).is_ok());
            (outcome, is_fine)
        });
        self.clear()?;
        let (outcome, is_fine) = tried?;
        // A drill proves that all can be had, or it proves nothing.
        let is_proof = outcome.is_complete() && is_fine;
        let result = if is_proof { BackupResult::Ok } else { BackupResult::Failed };
        let repository = repository.config().id.to_string();
        Ok(Done { result, repository, snapshot: Some(id.to_string()), figures: figures(&outcome) })
    }

    /// Removes what drills left, this one and those that were cut.
    fn clear(&self) -> Result<(), BackupError> {
        let failed = |source| BackupError::Io { doing: "remove what a drill restored", source };
        for name in folder::names(&self.place.folder).map_err(failed)? {
            if name.starts_with(FOLDER_START) {
                folder::remove(&self.place.folder.join(name)).map_err(failed)?;
            }
        }
        Ok(())
    }
}
