//! `backup list` and `backup key`: what is in a repository, and who can open it.

use campanile_backup::id::ObjectId;
use campanile_backup::snapshot::Snapshot;
use campanile_common::api::{BackupFigures, BackupLine, BackupResult, BackupVerb, SnapshotLine};
use campanile_common::backup::PolicyName;

use super::error::BackupError;
use super::escrow;
use super::place::{Done, Of, Program};

impl Program {
    /// Lists snapshots, oldest first; those of a policy, where one is named.
    pub(super) fn list(&self, of: &Of) -> Result<Done, BackupError> {
        let (target, job) = self.target(of)?;
        self.started(BackupVerb::List, job.as_ref().map(|job| &job.name), &target);
        let repository = self.open(&target)?;
        let tag = job.map(|job| job.name.tag());
        let mut figures = BackupFigures::default();
        for (id, snapshot) in repository.snapshots()? {
            if tag.as_ref().is_none_or(|tag| snapshot.tags.contains(tag)) {
                figures.files += 1;
                self.output.line(&BackupLine::Snapshot(line(id, snapshot)));
            }
        }
        let repository = repository.config().id.to_string();
        Ok(Done { result: BackupResult::Ok, repository, snapshot: None, figures })
    }

    /// Shows who can open a repository; never a key.
    pub(super) fn key(&self, of: &Of) -> Result<Done, BackupError> {
        let (target, job) = self.target(of)?;
        self.started(BackupVerb::Key, job.as_ref().map(|job| &job.name), &target);
        let repository = self.open(&target)?;
        let path = self.keys()?.path(&target, "escrow");
        for key in escrow::shown(&repository, path)? {
            self.output.line(&BackupLine::Key(key));
        }
        let repository = repository.config().id.to_string();
        Ok(Done { result: BackupResult::Ok, repository, snapshot: None, figures: BackupFigures::default() })
    }
}

fn line(id: ObjectId, snapshot: Snapshot) -> SnapshotLine {
    let policy = snapshot.tags.iter().find_map(|tag| PolicyName::from_tag(tag)).map(String::from);
    let summary = snapshot.summary.as_ref();
    SnapshotLine {
        id: id.to_string(),
        time: snapshot.time.to_rfc3339(),
        policy,
        files: summary.map(|summary| summary.total_files_processed),
        bytes: summary.map(|summary| summary.total_bytes_processed),
        node: snapshot.hostname,
        paths: snapshot.paths,
    }
}
