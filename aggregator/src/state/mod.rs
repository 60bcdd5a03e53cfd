//! The state store: a small ordered map with revisions, compare-and-swap transactions, watches and leases.
//!
//! SQLite is the embedded default; etcd comes for those who run several aggregators. One conformance suite holds
//! for all. The only SQL is in this folder.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

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
    /// A comparison did not hold; nothing was written.
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

/// A store that cannot do what was asked.
#[derive(Debug, thiserror::Error)]
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
    #[error("state store {path} has schema {found}, newest known is {known}; install the newer aggregator")]
    TooNew {
        /// Where.
        path: std::path::PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The disk is full: nothing was written.
    #[error("no space left for the state store; nothing was changed")]
    Full,
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
    /// Carries out a transaction.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StateError>>;
}

/// A store shared by everything in the process.
pub type Store = Arc<dyn StateStore>;

/// Makes keys; the fleet's id is in every one.
#[derive(Debug, Clone)]
pub struct Keys {
    root: String,
}

impl Keys {
    /// Keys of one fleet.
    pub fn new(fleet: FleetId) -> Self {
        Self { root: format!("campanile/{fleet}/") }
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
