//! Gives objects out. Bytes that leave as a whole are compared with the object's name on their way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::v1::store::{LISTED_MAX, StoreFailure};
use ring::digest::{Context, SHA256};

use super::intake::HashContext;
use super::{Vault, failed};
use crate::backup::{Failure, layout};

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 256 * 1024;

/// An object on its way out.
#[derive(Debug)]
pub struct Reading {
    node: NodeId,
    object: StoredObject,
    /// Of what left, where all of it does and the name is its hash.
    hash: Option<HashContext>,
    is_altered: bool,
    file: Arc<File>,
    next: u64,
    end: u64,
}

impl Vault {
    /// Opens an object, or a range of it.
    ///
    /// # Errors
    /// When it is not there, is shorter, or cannot be read: told apart.
    pub fn open_object(&self, object: StoredObject, range: Option<(u64, u64)>) -> Result<Reading, Failure> {
        let size = self.with(|account| account.objects.get(&object).map(|receipt| receipt.size));
        let size =
            size.ok_or_else(|| Failure::new(StoreFailure::Missing, format!("{object} is not there")))?;
        let (start, end) = range.unwrap_or((0, size));
        if start > end || end > size {
            let reason = format!("{object} has {size} bytes");
            return Err(Failure::new(StoreFailure::Short, reason));
        }
        match File::open(self.path(layout::place(object))) {
            Ok(file) => {
                let is_hashed = (start, end) == (0, size) && object.kind != StoredKind::Config;
                let hash = is_hashed.then(|| HashContext(Context::new(&SHA256)));
                let (node, file) = (self.node, Arc::new(file));
                Ok(Reading { node, object, hash, is_altered: false, file, next: start, end })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = format!("{object} was received, and its file is gone from the store");
                Err(Failure::new(StoreFailure::Damaged, reason))
            }
            Err(error) => Err(failed("read objects")(error)),
        }
    }

    /// Names and lengths of a kind behind `after`, in order, at most [`LISTED_MAX`].
    pub fn page(&self, kind: StoredKind, after: Option<Digest>) -> Vec<(Digest, u64)> {
        self.with(|account| {
            let found = account.of_kind(kind, after).map(|(id, receipt)| (id, receipt.size));
            found.take(LISTED_MAX).collect()
        })
    }
}

impl Reading {
    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.end - self.next
    }

    /// The next piece; empty at the end.
    ///
    /// # Errors
    /// When it cannot be read, or the file ends early.
    pub fn piece(&mut self) -> Result<Vec<u8>, Failure> {
        let length = self.left().min(PIECE_BYTES);
        let mut piece = vec![0; usize::try_from(length).expect("a piece is small")];
        self.file.read_exact_at(&mut piece, self.next).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Failure::new(
                StoreFailure::Damaged,
                format!("the file of {} is shorter than its receipt", self.object),
            ),
            _ => failed("read objects")(error),
        })?;
        self.next += length;
        if let Some(hash) = &mut self.hash {
            hash.0.update(&piece);
        }
        if self.left() == 0 {
            let found = self.hash.take().map(|hash| hash.0.finish());
            self.is_altered = found.is_some_and(|found| found.as_ref() != self.object.id.as_bytes());
        }
        Ok(piece)
    }

    /// Whose it is, and what.
    pub fn of(&self) -> (NodeId, StoredObject) {
        (self.node, self.object)
    }

    /// Whether all of it was read and is not what its name says.
    pub fn is_altered(&self) -> bool {
        self.is_altered
    }
}
