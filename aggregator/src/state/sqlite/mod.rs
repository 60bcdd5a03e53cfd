//! The state store in one SQLite file: WAL, `synchronous=FULL`, one writer thread, readers apart.
//!
//! Writers wait in one queue; the thread carries out whatever waits in one SQLite transaction, so that many small
//! commits share one sync. Comparisons are evaluated in the order of the queue, so a conflict of one does not touch
//! the others. A second process may use the same file: SQLite's lock orders the two, and each notices within a
//! second what the other wrote.
//! Invariant: a reply leaves the writer only after SQLite's commit returned.

mod failure;
mod migrate;
mod open;
mod reader;
mod row;
mod snapshot;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use campanile_common::time::Timestamp;
use tokio::sync::{Semaphore, oneshot};

use self::migrate::{Release, THIS};
use self::open::Opener;
use self::reader::Readers;
use self::watch::SqliteWatch;
use self::writer::{Job, Outcome, Request, Writer};
use super::{
    BoxFuture, Committed, Entry, LeaseId, Range, Revision, StateError, StateStore, Transaction, Watch,
};
use crate::os::clock::Clock;

/// Writes that may wait for the writer thread: some seconds of work on a slow disk. Past it callers wait their
/// turn, for [`TURN_WAIT_MAX`] at most.
const WAITING_MAX: usize = 1024;
/// How long a caller waits to get into the queue before it is told that the store is unavailable.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Shortest and longest lease: below, a stalled disk ends it; above, it is no lease.
const LEASE_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// How many old changes are kept for watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Commits; an eighth more may be kept for a while.
    pub revisions_max: u64,
    /// Bytes of keys and values.
    pub bytes_max: u64,
}

/// Limits of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Size of the file; a write past it fails with [`StateError::Full`].
    pub bytes_max: u64,
    /// Old changes.
    pub history: HistoryLimits,
}

impl Default for StoreLimits {
    /// 4 GiB hold some millions of audit entries; a watcher may be 8192 commits behind, or 32 MiB.
    fn default() -> Self {
        let history = HistoryLimits { revisions_max: 8192, bytes_max: 32 * 1024 * 1024 };
        Self { bytes_max: 4 * 1024 * 1024 * 1024, history }
    }
}

/// A state store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    clock: Clock,
    /// None only while the store is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    turns: Arc<Semaphore>,
    readers: Arc<Readers>,
    newest: tokio::sync::watch::Receiver<Revision>,
    lease_deadline: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store in this file; makes it when there never was one.
    ///
    /// # Errors
    /// When the file is damaged, gone, foreign or too new, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Self::open_with(path, StoreLimits::default(), Clock::steady())
    }

    /// The same beside an aggregator that serves from it.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], and when the store is behind this release: it is not upgraded beneath another process.
    pub fn open_beside(path: &Path) -> Result<Self, StateError> {
        Self::open_as(path, StoreLimits::default(), Clock::steady(), Opener::Guest, &THIS)
    }

    /// The same with other limits and another clock for leases.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with(path: &Path, limits: StoreLimits, clock: Clock) -> Result<Self, StateError> {
        Self::open_as(path, limits, clock, Opener::Owner, &THIS)
    }

    fn open_as(
        path: &Path,
        limits: StoreLimits,
        clock: Clock,
        opener: Opener,
        release: &Release<'_>,
    ) -> Result<Self, StateError> {
        let connection = open::writer(path, limits.bytes_max, opener, release)?;
        let readers = Arc::new(Readers::open(path)?);
        let lease_deadline = Arc::new(AtomicU64::new(u64::MAX));
        let (writer, newest) =
            Writer::new(path, connection, clock.clone(), limits.history, lease_deadline.clone())?;
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| StateError::Unavailable { detail: format!("cannot start a thread: {error}") })?;
        Ok(Self {
            path: path.to_owned(),
            clock,
            jobs: Some(jobs),
            turns: Arc::new(Semaphore::new(WAITING_MAX)),
            readers,
            newest,
            lease_deadline,
            thread: Some(thread),
        })
    }

    async fn ask(&self, request: Request) -> Result<Outcome, StateError> {
        let unavailable = |detail: &str| StateError::Unavailable { detail: detail.to_owned() };
        let turn = tokio::time::timeout(TURN_WAIT_MAX, self.turns.clone().acquire_owned())
            .await
            .map_err(|_| unavailable("too many writes are waiting for the disk"))?
            .map_err(|_| unavailable("the store is closed"))?;
        let (reply, answer) = oneshot::channel();
        let job = Job { request, reply, turn };
        let jobs = self.jobs.as_ref().expect("jobs are there until the store is dropped");
        jobs.send(job).map_err(|_| unavailable("the writer has stopped"))?;
        answer.await.map_err(|_| unavailable("the writer has stopped"))?
    }

    /// A read must not see keys of a lease that has ended. When they cannot be removed (the disk is full) the read
    /// goes on: it sees them a little longer.
    async fn end_leases(&self) {
        if self.clock.now() >= Timestamp::from_millis(self.lease_deadline.load(Ordering::Acquire))
            && let Err(error) = self.ask(Request::EndDueLeases).await
        {
            tracing::warn!(error = %error, "leases that are over cannot be ended");
        }
    }
}

impl Drop for SqliteStore {
    /// Waits until what was asked for is written and the file is closed.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the state store's writer had failed");
        }
    }
}

impl StateStore for SqliteStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StateError>> {
        Box::pin(async move {
            self.end_leases().await;
            let key = key.to_owned();
            self.readers.run(move |connection| row::get(connection, &key)).await
        })
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Vec<Entry>, StateError>> {
        Box::pin(async move {
            self.end_leases().await;
            self.readers.run(move |connection| row::range(connection, &range)).await
        })
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StateError>> {
        Box::pin(async move {
            transaction.check()?;
            match self.ask(Request::Commit(transaction)).await? {
                Outcome::Committed(committed) => Ok(committed),
                Outcome::Lease(_) | Outcome::Kept(_) | Outcome::Done => {
                    unreachable!("a commit is answered as one")
                }
            }
        })
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StateError>> {
        Box::pin(async move { self.readers.run(row::revision).await })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StateError>> {
        Box::pin(async move {
            let watch = SqliteWatch::new(prefix, after, self.readers.clone(), self.newest.clone());
            watch.check().await?;
            Ok(Box::new(watch) as Box<dyn Watch>)
        })
    }

    fn grant_lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, StateError>> {
        Box::pin(async move {
            if !LEASE_RANGE.contains(&ttl) {
                return Err(StateError::Invalid { detail: format!("a lease of {ttl:?}") });
            }
            match self.ask(Request::GrantLease(ttl)).await? {
                Outcome::Lease(lease) => Ok(lease),
                Outcome::Committed(_) | Outcome::Kept(_) | Outcome::Done => {
                    unreachable!("a grant is answered by a lease")
                }
            }
        })
    }

    fn keep_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<bool, StateError>> {
        Box::pin(async move {
            match self.ask(Request::KeepLease(lease)).await? {
                Outcome::Kept(kept) => Ok(kept),
                Outcome::Committed(_) | Outcome::Lease(_) | Outcome::Done => {
                    unreachable!("a renewal is answered as one")
                }
            }
        })
    }

    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async move { self.ask(Request::RevokeLease(lease)).await.map(drop) })
    }
}
