//! After a save: lets go of the snapshots that the policy's keep rules do not keep, and of what nobody else needs.
//!
//! At most once a day for each policy. In a folder the engine removes them, under the exclusive lock. The aggregator's store
//! decides by itself: it gets proposals, first snapshots, then what those that stay do not need. What goes wrong is told
//! and changes nothing about the save: the snapshot is there.

mod decide;
mod ledger;

use std::time::Duration;

use campanile_backup::backend::{BackendError, Object, ObjectKind};
use campanile_backup::id::ObjectId;
use campanile_backup::lock::{ExclusiveLock, LockError, REFRESH};
use campanile_backup::prune::{self, Facts, Policy, PruneError};
use campanile_backup::repository::{Repository, RepositoryError};

use self::decide::{Due, Record, due};
use self::ledger::Ledger;
use super::error::{BackupError, chain};
use super::job::Job;
use super::place::{Program, file_time};
use crate::os::clock;

/// Every run leaves an index, and every run reads all of them: with so many they are put together though nothing goes.
const INDEXES_MAX: usize = 64;
/// What anybody needs of a pack keeps all of it: what a node writes anew stays in the store beside the old for the floor.
const WHOLE_PACKS: Policy =
    Policy { unused_percent_max: 5, small_packs_max: 16, repack_bytes_max: 0, whole_packs_only: true };

/// What was let go.
#[derive(Debug, Default)]
pub(super) struct LetGo {
    /// Snapshots.
    pub(super) snapshots: u64,
    /// Snapshots that the policy's rules do not keep and the store's do.
    pub(super) stays: u64,
    /// Bytes of packs.
    pub(super) bytes: u64,
}

/// Keep rules that were not followed.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// What nobody needs was not removed.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Others work on the repository, or the lock was lost.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The program was told to stop.
    #[error("it was told to stop")]
    Stopped,
}

impl From<BackendError> for KeepError {
    fn from(error: BackendError) -> Self {
        Self::Repository(error.into())
    }
}

impl Program {
    /// Follows the policy's keep rules where that is due. The caller holds no lock on the repository any more, and this
    /// node's own.
    pub(super) fn keep(&self, job: &Job, repository: &Repository) -> LetGo {
        self.keep_if_due(job, repository).unwrap_or_else(|error| {
            self.output.problem(error.line());
            LetGo::default()
        })
    }

    fn keep_if_due(&self, job: &Job, repository: &Repository) -> Result<LetGo, BackupError> {
        let failed = |doing| move |source| BackupError::Io { doing, source };
        let ledger = Ledger::open(&self.place.folder, &job.name);
        let ledger = ledger.map_err(failed("make the folder of keep rules"))?;
        let now = clock::now();
        let last = ledger.read().map_err(failed("read when keep rules were followed"))?;
        let Due::Yes { is_unfinished } = due(last, now) else { return Ok(LetGo::default()) };
        let mut record = Record { begun: now, is_done: false };
        let write = |record| ledger.write(record).map_err(failed("remember that keep rules were followed"));
        write(record)?;
        let mut let_go = LetGo::default();
        match self.follow(job, repository, is_unfinished, &mut let_go) {
            Ok(()) => {
                record.is_done = true;
                write(record)?;
            }
            Err(error) => {
                let policy = &job.name;
                let what = "were not followed to their end and will be in a day";
                self.output.problem(format!(
                    "the snapshot was made; the keep rules of {policy} {what}: {}",
                    chain(&error)
                ));
            }
        }
        Ok(let_go)
    }

    fn follow(
        &self,
        job: &Job,
        repository: &Repository,
        is_unfinished: bool,
        let_go: &mut LetGo,
    ) -> Result<(), KeepError> {
        let take = || ExclusiveLock::take(repository, self.holder(), file_time());
        let lock = job.target.has_locks().then(take).transpose()?;
        let mut watch = Watch { program: self, lock, refreshed: self.elapsed() };
        let forgotten = decide::let_go(repository.snapshots()?, &job.name, &job.keep, file_time());
        let indexes = repository.backend().list(ObjectKind::Index)?.len();
        let is_wanted = is_unfinished || indexes > INDEXES_MAX;
        watch.goes_on()?;
        if job.target.has_locks() {
            if is_wanted || !forgotten.is_empty() {
                remove(repository, &forgotten, &mut watch, let_go)?;
            }
        } else {
            propose_snapshots(repository, &forgotten, let_go)?;
            if is_wanted || let_go.snapshots > 0 {
                propose_packs(repository, &mut watch, let_go)?;
            }
        }
        Ok(watch.lock.map_or(Ok(()), ExclusiveLock::release)?)
    }
}

/// Keeps the lock, and ends the work when the program is to stop.
struct Watch<'a> {
    program: &'a Program,
    lock: Option<ExclusiveLock>,
    refreshed: Duration,
}

impl Watch<'_> {
    fn goes_on(&mut self) -> Result<(), KeepError> {
        if self.program.is_stopping() {
            return Err(KeepError::Stopped);
        }
        let now = self.program.elapsed();
        if let Some(lock) = self.lock.as_ref().filter(|_| now.saturating_sub(self.refreshed) >= REFRESH) {
            lock.refresh(file_time())?;
            self.refreshed = now;
        }
        Ok(())
    }
}

/// In a folder: what goes is removed here.
fn remove(
    repository: &Repository,
    forgotten: &[ObjectId],
    watch: &mut Watch<'_>,
    let_go: &mut LetGo,
) -> Result<(), KeepError> {
    let facts = Facts::load(repository, forgotten).map_err(PruneError::from)?;
    watch.goes_on()?;
    let plan = prune::plan(&facts, &Policy::default()).map_err(PruneError::from)?;
    let mut error = None;
    let mut keep_on = || match watch.goes_on() {
        Ok(()) => true,
        Err(why) => {
            error = Some(why);
            false
        }
    };
    // Before anything is packed anew: a place that lets nothing be removed would grow with each attempt.
    if let Some(first) = forgotten.first() {
        repository.backend().remove(Object::new(ObjectKind::Snapshot, *first))?;
    }
    let executed = prune::execute(repository, &facts, &plan, &mut |_| keep_on());
    let removed =
        executed.map(|removals| prune::apply(&**repository.backend(), &removals, &mut |_| keep_on()));
    if let Some(error) = error {
        return Err(error);
    }
    removed??;
    let_go.snapshots = count(forgotten.len());
    let_go.bytes = plan.figures.freed_bytes;
    Ok(())
}

/// To a store: it says which snapshots go.
fn propose_snapshots(
    repository: &Repository,
    forgotten: &[ObjectId],
    let_go: &mut LetGo,
) -> Result<(), KeepError> {
    if forgotten.is_empty() {
        return Ok(());
    }
    let objects: Vec<Object> = forgotten.iter().map(|id| Object::new(ObjectKind::Snapshot, *id)).collect();
    let stays = repository.backend().remove_all(&objects)?.len();
    let_go.stays = count(stays);
    let_go.snapshots = count(objects.len().saturating_sub(stays));
    Ok(())
}

/// To a store: what none of the snapshots that are still there needs.
fn propose_packs(
    repository: &Repository,
    watch: &mut Watch<'_>,
    let_go: &mut LetGo,
) -> Result<(), KeepError> {
    let facts = Facts::load(repository, &[]).map_err(PruneError::from)?;
    watch.goes_on()?;
    let plan = prune::plan(&facts, &WHOLE_PACKS).map_err(PruneError::from)?;
    let removals = prune::execute(repository, &facts, &plan, &mut |_| true)?;
    watch.goes_on()?;
    let_go.bytes = prune::propose(repository, &facts, &removals)?.freed_bytes;
    Ok(())
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
