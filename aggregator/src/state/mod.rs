//! The state store: a small ordered map with revisions, compare-and-swap transactions, watches and leases.
//!
//! SQLite is the embedded default; etcd comes for those who run several aggregators. One conformance suite holds
//! for all. The only SQL is in this folder.
//!
//! Keys are 1 to [`KEY_BYTES_MAX`] printable ASCII characters; a transaction is bounded by
//! [`TRANSACTION_OPERATIONS_MAX`] and [`TRANSACTION_BYTES_MAX`], which etcd also takes as it is delivered.

#[cfg(test)]
mod conformance;
mod record;
mod sqlite;
mod transaction;

pub(crate) use record::from_json;
pub use record::{Record, read_json, to_json};
pub use sqlite::{HistoryLimits, SqliteStore, StoreLimits};
pub use transaction::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::id::{FleetId, NodeId};

/// A boxed future, so that stores can be chosen while the program runs.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Counts commits; every entry carries that of the commit which last wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// Commit that last wrote it.
    pub revision: Revision,
}

/// What must hold for a transaction to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key was last written by this commit.
    At(String, Revision),
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key; with a lease, the key goes when the lease ends.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Vec<u8>,
        /// Lease it depends on.
        lease: Option<LeaseId>,
    },
    /// Removes a key; nothing happens when there is none.
    Delete {
        /// The key.
        key: String,
    },
}

impl Write {
    /// Sets `key` without a lease.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: None }
    }
}

/// All or nothing: the writes are carried out when every comparison holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Conditions.
    pub compares: Vec<Compare>,
    /// Effects.
    pub writes: Vec<Write>,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Committed {
    /// Carried out and synced to disk.
    Done(Revision),
    /// A comparison did not hold, or a lease that a write names has ended; nothing was written.
    Conflict,
}

/// Identifies a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// Keys beneath a prefix, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Every key begins with this.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Last key first (then `after` means before).
    pub descending: bool,
}

/// One change of one key, as a watch sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its value from then on; none when it was removed.
    pub value: Option<Vec<u8>>,
    /// Commit that changed it.
    pub revision: Revision,
}

/// A store that cannot do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// Damaged data: never read as empty.
    #[error("state store {path} is damaged: {detail}; restore it from a self-backup")]
    Damaged {
        /// Where.
        path: std::path::PathBuf,
        /// What was found.
        detail: String,
    },
    /// Written by a newer program.
    #[error(
        "state store {path} was written by {written_by} (schema {found}); this is {this}, which knows up to {known}; nothing \
         was changed: install {written_by} again, or {way_back}",
        this = env!("CARGO_PKG_VERSION")
    )]
    TooNew {
        /// Where.
        path: std::path::PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
        /// The release that used it last.
        written_by: String,
        /// What else can be done.
        way_back: String,
    },
    /// Of an earlier release, and in use.
    #[error(
        "state store {path} is of {written_by} (schema {found}), and an aggregator serves from it; restart that, so that it \
         runs this release ({this}, schema {known}), then try again; nothing was changed",
        this = env!("CARGO_PKG_VERSION")
    )]
    Behind {
        /// Where.
        path: std::path::PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
        /// The release that used it last.
        written_by: String,
    },
    /// An upgrade does not fit.
    #[error(
        "state store {path} is to be upgraded, which takes {needed} bytes for a copy and for the work, and {free} are free; \
         nothing was changed: make room, or go on with the release from before"
    )]
    NoRoomToUpgrade {
        /// Where.
        path: std::path::PathBuf,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are there.
        free: u64,
    },
    /// The disk is full: nothing was written.
    #[error("no space left for the state store; nothing was changed")]
    Full,
    /// Not a state store of ours.
    #[error("{path} belongs to another program; set state_dir to Campanile's own folder")]
    Foreign {
        /// Where.
        path: std::path::PathBuf,
    },
    /// What was asked is outside the store's limits.
    #[error("the state store cannot take this: {detail}")]
    Invalid {
        /// Which limit.
        detail: String,
    },
    /// The changes that a watch asked for are no longer kept.
    #[error("changes up to revision {} are no longer kept; read everything and watch from there", oldest.0)]
    Compacted {
        /// A watch from here on works.
        oldest: Revision,
    },
    /// A record that cannot be read as what its key says it is.
    #[error("the record {key} in the state store is damaged: {detail}")]
    Unreadable {
        /// Its key.
        key: String,
        /// What was found.
        detail: String,
    },
    /// A record written by a newer program.
    #[error("the record {key} has format {found}, newest known is {known}; install the newer aggregator")]
    UnknownFormat {
        /// Its key.
        key: String,
        /// Its format.
        found: u64,
        /// Ours.
        known: u16,
    },
    /// Anything else, temporary as far as is known.
    #[error("state store unavailable: {detail}")]
    Unavailable {
        /// What was being done and what went wrong.
        detail: String,
    },
}

/// A state store. Every successful [`StateStore::commit`] is synced to disk before it returns.
pub trait StateStore: Send + Sync + fmt::Debug {
    /// One key.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StateError>>;
    /// Keys in order.
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Vec<Entry>, StateError>>;
    /// Carries out a transaction. One that changes nothing is done at the newest revision. Dropping the future does
    /// not take back what was asked.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StateError>>;
    /// The newest commit: read this, then everything, then watch from here, and no change is missed.
    fn revision(&self) -> BoxFuture<'_, Result<Revision, StateError>>;
    /// Every change of keys that begin with `prefix` by commits after `after`, each once and in order.
    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StateError>>;
    /// A new lease, which ends when it is not renewed for as long as `ttl`.
    fn grant_lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, StateError>>;
    /// Renews a lease; false when it has ended.
    fn keep_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<bool, StateError>>;
    /// Ends a lease now; its keys go with it.
    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), StateError>>;
}

/// A watch over some keys.
pub trait Watch: Send + fmt::Debug {
    /// Waits for the next changes: those of one or more whole commits. Losing this future loses no change.
    ///
    /// Fails with [`StateError::Compacted`] when the watcher was too slow and changes are no longer kept.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Change>, StateError>>;
}

/// A store shared by everything in the process.
pub type Store = Arc<dyn StateStore>;

/// Makes keys; the fleet's id is in every one.
#[derive(Debug, Clone)]
pub struct Keys {
    fleet: FleetId,
    root: String,
}

impl Keys {
    /// Keys of one fleet.
    pub fn new(fleet: FleetId) -> Self {
        Self { fleet, root: format!("campanile/{fleet}/") }
    }

    /// The fleet.
    pub fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// Everything of one kind, e.g. `node`.
    pub fn prefix(&self, kind: &str) -> String {
        format!("{}{kind}/", self.root)
    }

    /// One thing of one kind.
    pub fn of(&self, kind: &str, id: &str) -> String {
        format!("{}{kind}/{id}", self.root)
    }

    /// A node's record.
    pub fn node(&self, node: NodeId) -> String {
        self.of("node", &node.to_string())
    }
}
