//! The writer thread: the only one that writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use campanile_common::time::Timestamp;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::HistoryLimits;
use super::failure;
use super::row::{self, LeaseRow};
use crate::os::clock::Clock;
use crate::state::{Committed, Compare, LeaseId, Revision, StateError, Transaction, Write};

/// Requests that share one sync; more would make the first wait for the last.
const BATCH_MAX: usize = 64;
/// How often the thread looks for leases that are over and for what another process wrote.
const TICK: Duration = Duration::from_secs(1);

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    Commit(Transaction),
    GrantLease(Duration),
    KeepLease(LeaseId),
    RevokeLease(LeaseId),
    EndDueLeases,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Committed(Committed),
    Lease(LeaseId),
    Kept(bool),
    Done,
}

/// A request with the way back and its place in the queue.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Result<Outcome, StateError>>,
    pub(super) turn: OwnedSemaphorePermit,
}

/// A lease with its end, in memory alone: every process gives a lease it did not know a full turn.
#[derive(Debug, Clone, Copy)]
struct ArmedLease {
    row: LeaseRow,
    ends: Timestamp,
}

#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    connection: Connection,
    clock: Clock,
    limits: HistoryLimits,
    history_bytes: u64,
    leases: BTreeMap<LeaseId, ArmedLease>,
    /// The first end among the leases, in milliseconds, for readers.
    lease_deadline: Arc<AtomicU64>,
    newest: watch::Sender<Revision>,
    /// SQLite's own mark of what other processes wrote.
    seen_version: i64,
}

/// One SQLite transaction under way; what it means for the writer's memory is taken over once it is committed.
struct Batch<'a> {
    connection: &'a Connection,
    now: Timestamp,
    revision: Revision,
    history_bytes: u64,
    leases: BTreeMap<LeaseId, ArmedLease>,
}

impl Writer {
    pub(super) fn new(
        path: &Path,
        connection: Connection,
        clock: Clock,
        limits: HistoryLimits,
        lease_deadline: Arc<AtomicU64>,
    ) -> Result<(Self, watch::Receiver<Revision>), StateError> {
        let failed = |error| failure::of_sql(path, "open", &error);
        let history_bytes = row::history_bytes(&connection).map_err(failed)?;
        let (newest, receiver) = watch::channel(row::revision(&connection).map_err(failed)?);
        let mut writer = Self {
            path: path.to_owned(),
            connection,
            clock,
            limits,
            history_bytes,
            leases: BTreeMap::new(),
            lease_deadline,
            newest,
            seen_version: 0,
        };
        writer.notice_others().map_err(failed)?;
        Ok((writer, receiver))
    }

    /// Works until nobody can ask any more and nothing is left to do.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        loop {
            match queue.recv_timeout(TICK) {
                Ok(first) => {
                    let mut jobs = vec![first];
                    jobs.extend(queue.try_iter().take(BATCH_MAX - 1));
                    self.carry_out(jobs);
                }
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn tick(&mut self) {
        if let Err(error) = self.notice_others() {
            tracing::warn!(error = %error, "the state store cannot be read");
        }
        let now = self.clock.now();
        if self.leases.values().any(|lease| lease.ends <= now)
            && let Err(error) = self.attempt(&[])
        {
            tracing::warn!(error = %error, "leases that are over cannot be ended");
        }
    }

    /// Takes over what other processes committed: wakes watches, arms leases that are new to us.
    fn notice_others(&mut self) -> rusqlite::Result<()> {
        let version: i64 = self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if version == self.seen_version {
            return Ok(());
        }
        let (now, known) = (self.clock.now(), std::mem::take(&mut self.leases));
        let rows = row::leases(&self.connection);
        self.leases = match &rows {
            Ok(rows) => rows.iter().map(|row| (row.lease, arm(*row, known.get(&row.lease), now))).collect(),
            Err(_) => known,
        };
        rows?;
        self.publish(row::revision(&self.connection)?);
        self.seen_version = version;
        Ok(())
    }

    fn publish(&self, revision: Revision) {
        let ends = self.leases.values().map(|lease| lease.ends.as_millis()).min();
        self.lease_deadline.store(ends.unwrap_or(u64::MAX), Ordering::Release);
        self.newest.send_if_modified(|newest| std::mem::replace(newest, revision) != revision);
    }

    fn carry_out(&mut self, jobs: Vec<Job>) {
        let (requests, replies): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.request, (job.reply, job.turn))).unzip();
        let outcomes = match self.attempt(&requests) {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) if requests.len() == 1 => vec![Err(error)],
            // One request that does not fit on the disk must not fail the small ones beside it.
            Err(_) => requests.iter().map(|request| self.attempt_one(request)).collect::<Vec<_>>(),
        };
        for ((reply, turn), outcome) in replies.into_iter().zip(outcomes) {
            drop(turn);
            // A caller that has gone does not want to know.
            drop(reply.send(outcome));
        }
    }

    fn attempt_one(&mut self, request: &Request) -> Result<Outcome, StateError> {
        let outcomes = self.attempt(std::slice::from_ref(request))?;
        Ok(outcomes.into_iter().next().expect("one request has one outcome"))
    }

    /// Carries out all requests in one SQLite transaction, or none of them.
    fn attempt(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, StateError> {
        let result = self.transact(requests);
        result.map_err(|error| failure::of_sql(&self.path, "write", &error))
    }

    fn transact(&mut self, requests: &[Request]) -> rusqlite::Result<Vec<Outcome>> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = row::revision(&transaction)?;
        let mut batch = Batch {
            connection: &transaction,
            now: self.clock.now(),
            revision: before,
            history_bytes: self.history_bytes,
            leases: self.leases.clone(),
        };
        batch.end_due_leases()?;
        let outcomes = requests.iter().map(|request| batch.carry_out(request)).collect::<Result<_, _>>()?;
        batch.bound_history(self.limits)?;
        // A batch of conflicts writes nothing and needs no sync.
        if batch.revision != before {
            row::set_revision(&transaction, batch.revision)?;
        }
        let Batch { revision, history_bytes, leases, .. } = batch;
        transaction.commit()?;
        (self.history_bytes, self.leases) = (history_bytes, leases);
        self.publish(revision);
        Ok(outcomes)
    }
}

/// A lease gets a full turn when it is new to us or was renewed elsewhere.
fn arm(row: LeaseRow, known: Option<&ArmedLease>, now: Timestamp) -> ArmedLease {
    match known {
        Some(known) if known.row.renewals == row.renewals => *known,
        _ => ArmedLease { row, ends: now + row.ttl },
    }
}

impl Batch<'_> {
    fn carry_out(&mut self, request: &Request) -> rusqlite::Result<Outcome> {
        Ok(match request {
            Request::Commit(transaction) => Outcome::Committed(self.commit(transaction)?),
            Request::GrantLease(ttl) => {
                let row = row::add_lease(self.connection, *ttl)?;
                self.leases.insert(row.lease, ArmedLease { row, ends: self.now + row.ttl });
                Outcome::Lease(row.lease)
            }
            Request::KeepLease(lease) => Outcome::Kept(self.keep_lease(*lease)?),
            Request::RevokeLease(lease) => {
                self.end_lease(*lease)?;
                Outcome::Done
            }
            // Done before every batch.
            Request::EndDueLeases => Outcome::Done,
        })
    }

    fn commit(&mut self, transaction: &Transaction) -> rusqlite::Result<Committed> {
        for compare in &transaction.compares {
            let holds = match compare {
                Compare::Absent(key) => row::revision_of(self.connection, key)?.is_none(),
                Compare::At(key, revision) => row::revision_of(self.connection, key)? == Some(*revision),
            };
            if !holds {
                return Ok(Committed::Conflict);
            }
        }
        for write in &transaction.writes {
            if let Write::Put { lease: Some(lease), .. } = write
                && row::lease(self.connection, *lease)?.is_none()
            {
                return Ok(Committed::Conflict);
            }
        }
        let revision = Revision(self.revision.0 + 1);
        let mut position = 0;
        for write in &transaction.writes {
            let (key, value) = match write {
                Write::Put { key, value, lease } => {
                    row::put(self.connection, key, value, revision, *lease)?;
                    (key, Some(value.as_slice()))
                }
                Write::Delete { key } => {
                    if !row::delete(self.connection, key)? {
                        continue;
                    }
                    (key, None)
                }
            };
            self.history_bytes += row::remember(self.connection, revision, position, key, value)?;
            position += 1;
        }
        if position > 0 {
            self.revision = revision;
        }
        Ok(Committed::Done(self.revision))
    }

    fn keep_lease(&mut self, lease: LeaseId) -> rusqlite::Result<bool> {
        if row::lease(self.connection, lease)?.is_none() {
            return Ok(false);
        }
        row::renew_lease(self.connection, lease)?;
        let row = row::lease(self.connection, lease)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        self.leases.insert(lease, ArmedLease { row, ends: self.now + row.ttl });
        Ok(true)
    }

    fn end_due_leases(&mut self) -> rusqlite::Result<()> {
        let due: Vec<ArmedLease> =
            self.leases.values().filter(|lease| lease.ends <= self.now).copied().collect();
        for known in due {
            match row::lease(self.connection, known.row.lease)? {
                // Another process renewed it.
                Some(row) if row.renewals != known.row.renewals => {
                    self.leases.insert(row.lease, arm(row, Some(&known), self.now));
                }
                _ => self.end_lease(known.row.lease)?,
            }
        }
        Ok(())
    }

    fn end_lease(&mut self, lease: LeaseId) -> rusqlite::Result<()> {
        let keys = row::keys_of(self.connection, lease)?;
        if !keys.is_empty() {
            self.revision = Revision(self.revision.0 + 1);
        }
        for (position, key) in keys.iter().enumerate() {
            row::delete(self.connection, key)?;
            self.history_bytes += row::remember(self.connection, self.revision, position, key, None)?;
        }
        row::remove_lease(self.connection, lease)?;
        self.leases.remove(&lease);
        Ok(())
    }

    /// Forgets the oldest changes. Only once an eighth too many are kept, so that not every commit has to.
    fn bound_history(&mut self, limits: HistoryLimits) -> rusqlite::Result<()> {
        let compacted = row::compacted(self.connection)?;
        let mut last = compacted;
        let kept = self.revision.0.saturating_sub(compacted.0);
        if kept > limits.revisions_max + limits.revisions_max / 8 {
            last = Revision(self.revision.0 - limits.revisions_max);
        }
        if self.history_bytes > limits.bytes_max {
            let beyond = row::last_beyond(self.connection, limits.bytes_max / 8 * 7)?;
            last = last.max(beyond.unwrap_or(last));
        }
        if last > compacted {
            row::forget_up_to(self.connection, last)?;
            self.history_bytes = row::history_bytes(self.connection)?;
        }
        Ok(())
    }
}
