//! One node's folder: its objects, its journal, and the account that tells what is in both.
//!
//! `load` brings folder and journal together at the start, `intake` takes objects in, `read` gives them out, `copy`
//! brings them to another place, `deletion` moves them to the trash, back, and away, `audit` reads them back. All of it blocks; `store` calls it where that may be.
//!
//! Invariants: a receipt is written after its object is durable in its place; an object is replaced only where it is
//! known to be damaged, and only by the bytes that it is named for; the lock is held for renames and lines of the
//! journal, never while bytes come or go.

#![expect(clippy::disallowed_methods, reason = "an edge: a vault is a folder")]

mod audit;
mod copy;
mod deletion;
mod intake;
mod load;
mod read;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::store::StoreFailure;

pub use copy::Copied;
pub use intake::{Appending, Begun, Incoming};
pub use load::LoadError;
pub use read::Reading;

use super::Failure;
use super::account::Account;
use super::journal::{Journal, JournalError};
use super::limits::HourCount;
use super::note::Note;
use super::record::{Record, Suspicion};

/// One node's part of the store.
#[derive(Debug)]
pub struct Vault {
    node: NodeId,
    root: PathBuf,
    state: Mutex<State>,
    /// Bytes that are on their way and have found room.
    in_flight: AtomicU64,
    next_name: AtomicU64,
}

#[derive(Debug)]
struct State {
    account: Account,
    journal: Journal,
    hour: HourCount,
    /// A second place raises no alarms: nobody would settle them.
    is_copy: bool,
}

impl State {
    /// Writes lines and takes them over.
    fn write(&mut self, records: &[Record], is_synced: bool) -> Result<(), JournalError> {
        self.journal.append(records)?;
        if is_synced {
            self.journal.sync()?;
        }
        for record in records {
            self.account.apply(record);
        }
        Ok(())
    }

    /// Raises an alarm: from now on deletions wait. One that waits already for the same is not raised again.
    fn hold(
        &mut self,
        reasons: Vec<Suspicion>,
        detail: String,
        proposed: u64,
        now: Timestamp,
    ) -> Result<Option<Note>, JournalError> {
        if self.is_copy {
            return Ok(None);
        }
        let open = self.account.open_reasons();
        if reasons.iter().all(|reason| open.contains(reason)) {
            return Ok(None);
        }
        let id = self.account.next_hold();
        let record = Record::Held { id, at: now, reasons: reasons.clone(), detail: detail.clone(), proposed };
        self.write(&[record], true)?;
        Ok(Some(Note::Held { id, reasons, detail }))
    }
}

impl Vault {
    /// Whose it is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the account.
    pub fn with<T>(&self, look: impl FnOnce(&Account) -> T) -> T {
        look(&self.lock().account)
    }

    /// Bytes of this node that are on their way.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn path(&self, place: impl AsRef<Path>) -> PathBuf {
        self.root.join(place)
    }

    /// A name for a file that is not whole yet.
    fn temporary(&self) -> PathBuf {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        self.path(super::layout::NEW).join(number.to_string())
    }
}

/// Bytes that have found room until this is dropped.
#[derive(Debug)]
struct Reservation {
    vault: Arc<Vault>,
    bytes: u64,
}

impl Reservation {
    fn new(vault: &Arc<Vault>, bytes: u64) -> Self {
        vault.in_flight.fetch_add(bytes, Ordering::Relaxed);
        Self { vault: Arc::clone(vault), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.vault.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file that may be gone.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a node is told when the store's disk fails; the log has the details.
fn failed(doing: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Failure::new(StoreFailure::Full, "the store's disk is full".to_owned());
        }
        tracing::error!(doing, %error, "backup store failed");
        Failure::new(StoreFailure::Unavailable, format!("the store cannot {doing} now"))
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io { path, source } => {
                tracing::error!(path = %path.display(), error = %source, "receipts cannot be written");
                failed("write receipts")(source)
            }
            error @ (JournalError::Foreign { .. }
            | JournalError::TooNew { .. }
            | JournalError::Damaged { .. }
            | JournalError::Lost { .. }) => {
                tracing::error!(%error, "backup store failed");
                Self::new(StoreFailure::Unavailable, "the node's receipts cannot be used".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests;
