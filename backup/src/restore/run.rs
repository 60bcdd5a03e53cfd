//! A restore that runs: what all of its threads share, and its beginning and end.

#![expect(clippy::disallowed_methods, reason = "the target is made and looked at here")]

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::details::Restorer;
use super::file::{FileJob, OpenFiles};
use super::folder::Planner;
use super::{Outcome, Problem, Progress, Request, RestoreError};
use crate::beneath::{LastFolder, Root};
use crate::id::ObjectId;
use crate::index::Index;
use crate::list::{Selection, Walk};
use crate::repository::Repository;

/// Shared by all threads of a restore.
pub(super) struct Run<'a> {
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) request: &'a Request,
    pub(super) progress: &'a dyn Progress,
    pub(super) restorer: Restorer,
    pub(super) open_files: OpenFiles,
    /// None in a dry run whose target is not there.
    pub(super) root: Option<Root>,
    outcome: Mutex<Outcome>,
    is_stopped: AtomicBool,
    reason: Mutex<Option<RestoreError>>,
}

impl<'a> Run<'a> {
    /// Makes the target, unless it is there.
    pub(super) fn begin(
        repository: &'a Repository,
        index: &'a Index,
        request: &'a Request,
        progress: &'a dyn Progress,
    ) -> Result<Self, RestoreError> {
        let failed = |source| RestoreError::Target { path: request.target.clone(), source };
        let is_there = match fs::metadata(&request.target) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        if !is_there && !request.dry_run {
            // What is restored may be a secret that its own folders, left out, kept.
            DirBuilder::new().recursive(true).mode(0o700).create(&request.target).map_err(failed)?;
        }
        let root = match Root::open(&request.target) {
            _ if !is_there && request.dry_run => None,
            Ok(root) => Some(root),
            Err(Errno::NOSYS) => return Err(RestoreError::Kernel),
            Err(errno) => return Err(failed(errno.into())),
        };
        Ok(Self {
            repository,
            index,
            request,
            progress,
            restorer: Restorer::this(request.owner),
            open_files: OpenFiles::default(),
            root,
            outcome: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            reason: Mutex::new(None),
        })
    }

    /// Restores all.
    pub(super) fn finish(self, tree: ObjectId) -> Result<Outcome, RestoreError> {
        let selection = Selection::new(&self.request.only, &self.request.excludes);
        let mut walk = Walk::new(self.repository, self.index, tree, selection.clone())
            .map_err(|error| RestoreError::Repository(Arc::new(error)))?;
        let mut planner = Planner::new(&self, selection)?;
        let done = planner.walk(&mut walk).and_then(|()| planner.finish());
        if done.is_err() {
            planner.abandon();
        }
        done?;
        Ok(self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder at `path`.
    pub(super) fn reach<'l>(&self, last: &'l mut LastFolder, path: &Arc<Path>) -> Result<&'l OwnedFd, Errno> {
        last.reach(self.root.as_ref().ok_or(Errno::NOENT)?, path)
    }

    /// Notes that something was not restored. A disk that is full ends the run.
    pub(super) fn fail(&self, path: PathBuf, problem: Problem) {
        match problem {
            Problem::Io { source, .. } if is_full(&source) => self.stop(RestoreError::Full { path, source }),
            problem => self.outcome().fail(path, problem),
        }
    }

    /// Notes it once for a file, whichever of its pieces failed.
    pub(super) fn fail_file(&self, job: &FileJob, problem: Problem) {
        if job.fail(&self.open_files) {
            self.fail(job.path(), problem);
        }
    }

    /// Gives a file that has its content its details.
    pub(super) fn finish_file(&self, job: &FileJob, file: &OwnedFd) {
        for problem in job.details.set(file, self.restorer) {
            self.fail(job.path(), problem);
        }
        job.set_whole(&self.open_files);
    }

    /// Ends the run; of several reasons the first is told.
    pub(super) fn stop(&self, reason: RestoreError) {
        let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert(reason);
        self.is_stopped.store(true, Ordering::Release);
    }

    /// Whether nothing more is to be done.
    pub(super) fn is_stopped(&self) -> bool {
        if !self.is_stopped.load(Ordering::Acquire) && self.progress.is_cancelled() {
            self.stop(RestoreError::Cancelled);
        }
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Why nothing more is to be done, if so.
    pub(super) fn go_on(&self) -> Result<(), RestoreError> {
        if !self.is_stopped() {
            return Ok(());
        }
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(reason.unwrap_or(RestoreError::Cancelled))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
