//! Where a repository's objects lie.
//!
//! A backend stores whole objects under their kind and name and knows nothing of what is in them. It is used by several
//! threads at once.

mod cached;
mod directory;
mod memory;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;

pub use cached::Cached;
pub use directory::Directory;
pub use memory::Memory;

use crate::id::ObjectId;

/// What an object is for; each kind has a folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// The one `config`; its name is all zero.
    Config,
    /// A key file.
    Key,
    /// A snapshot.
    Snapshot,
    /// Where blobs lie in packs.
    Index,
    /// A pack of blobs.
    Pack,
    /// A lock of one who works on the repository.
    Lock,
}

impl ObjectKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::Config, Self::Key, Self::Snapshot, Self::Index, Self::Pack, Self::Lock];

    /// The folder in restic's layout; `config` is a file.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Snapshot => "snapshots",
            Self::Index => "index",
            Self::Pack => "data",
            Self::Lock => "locks",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Key => "key",
            Self::Snapshot => "snapshot",
            Self::Index => "index",
            Self::Pack => "pack",
            Self::Lock => "lock",
        })
    }
}

/// Kind and name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// What it is for.
    pub kind: ObjectKind,
    /// The hash of its bytes.
    pub id: ObjectId,
}

impl Object {
    /// The repository's `config`, which alone is not named by its hash.
    pub const CONFIG: Self = Self { kind: ObjectKind::Config, id: ObjectId([0; 32]) };

    /// Of this kind and name.
    pub const fn new(kind: ObjectKind, id: ObjectId) -> Self {
        Self { kind, id }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ObjectKind::Config => f.write_str("config"),
            kind => write!(f, "{kind} {}", self.id),
        }
    }
}

/// An object that a backend holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: ObjectId,
    /// Its length in bytes.
    pub size: u64,
}

/// A request that a backend did not fulfil.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is no such object.
    #[error("{0} is not there")]
    Missing(Object),
    /// An object holds fewer bytes than were asked for.
    #[error("{0} is shorter than it should be")]
    Short(Object),
    /// No room is left: on the disk, or within a quota.
    #[error("no room for {object}: {reason}")]
    Full {
        /// What was to be stored.
        object: Object,
        /// Which limit was reached.
        reason: String,
    },
    /// The other side does not do that, now or ever.
    #[error("refused for {object}: {reason}")]
    Refused {
        /// What was asked for.
        object: Object,
        /// Why, for a person.
        reason: String,
    },
    /// The other side cannot be reached; trying again later may help.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// Reading or writing failed.
    #[error("cannot {doing} {object}")]
    Io {
        /// In a word or two.
        doing: &'static str,
        /// Of which object.
        object: Object,
        /// What the system said.
        source: io::Error,
    },
}

impl BackendError {
    /// Whether the same request may go well later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// A place for objects.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Stores an object that is not there yet; durable when this returns. One that is there already stays as it is.
    ///
    /// # Errors
    /// When it was not stored.
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError>;

    /// A whole object, or the bytes of it in `range`. Nothing of it has been verified.
    ///
    /// # Errors
    /// When it is not there, is shorter, or cannot be read.
    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError>;

    /// All objects of a kind, in no order.
    ///
    /// # Errors
    /// When they cannot be listed: an empty answer means that there are none.
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError>;

    /// Removes an object. One that is not there is no error.
    ///
    /// # Errors
    /// When it may not or cannot be removed.
    fn remove(&self, object: Object) -> Result<(), BackendError>;

    /// Stores a snapshot that needs exactly these packs. A place that decides by itself what may be removed keeps them for
    /// as long as the snapshot, and judges snapshots of one label among themselves; others have no use for either.
    ///
    /// # Errors
    /// When it was not stored; where the list counts, also when a pack of it is not there.
    fn append(
        &self,
        snapshot: ObjectId,
        bytes: &[u8],
        packs: &BTreeSet<ObjectId>,
        label: Option<&str>,
    ) -> Result<(), BackendError> {
        let _ = (packs, label);
        self.put(Object::new(ObjectKind::Snapshot, snapshot), bytes)
    }

    /// Removes objects together: a place that decides by itself looks at them as one request. Gives those that stay, and
    /// why.
    ///
    /// # Errors
    /// When they may not or cannot be removed; some may be gone then.
    fn remove_all(&self, objects: &[Object]) -> Result<Vec<(Object, String)>, BackendError> {
        objects.iter().try_for_each(|object| self.remove(*object))?;
        Ok(Vec::new())
    }

    /// Removes what writes that were cut left behind, where that lies among the objects: how much there was.
    ///
    /// # Errors
    /// When it cannot be listed or removed.
    fn remove_leftovers(&self) -> Result<u64, BackendError> {
        Ok(0)
    }
}
