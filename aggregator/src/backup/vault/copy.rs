//! Copies objects from one place to another, with the times of their receipts.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;

use super::{Appending, Begun, LoadError, Vault, failed};
use crate::backup::limits::Limits;
use crate::backup::note::Note;
use crate::backup::record::Record;
use crate::backup::{Failure, layout};

/// Bytes of a list of names that are read at once; a multiple of a name's length.
const NAMES_BYTES: u64 = 256 * 1024;

/// What copying an object came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copied {
    /// Bytes that were written.
    pub bytes: u64,
    /// What others should know of the place that it was copied to.
    pub notes: Vec<Note>,
}

impl Vault {
    /// Opens a node's folder in a second place. It raises no alarms: the first place does, and a person settles them
    /// there.
    ///
    /// # Errors
    /// When folder or journal cannot be used, or the journal is damaged.
    pub fn load_copy(folder: &std::path::Path, node: NodeId, now: Timestamp) -> Result<Arc<Self>, LoadError> {
        Self::load_as(folder, node, now, true).map(|(vault, _)| vault)
    }

    /// Copies an object to another vault of the same node. It is verified there by its hash as if a node had sent it,
    /// and receipted with the time at which it was received here.
    ///
    /// # Errors
    /// When it cannot be read here, is not what it was named for, or cannot be stored there.
    pub fn copy_to(
        &self,
        object: StoredObject,
        other: &Arc<Self>,
        limits: &Limits,
    ) -> Result<Copied, Failure> {
        let receipt = self.with(|account| account.objects.get(&object).cloned());
        // Let go meanwhile.
        let Some(receipt) = receipt else { return Ok(Copied::default()) };
        let appending = receipt
            .closure()
            .map(|closure| Appending { packs: closure.packs, policy: closure.policy.clone() });
        let has_names = appending.is_some();
        let mut reading = self.open_object(object, None)?;
        let begun = other.begin(object, receipt.size, appending, limits, receipt.received);
        let Begun::Open(mut incoming) = begun.map_err(|(failure, _)| failure)? else {
            return Ok(Copied::default());
        };
        let bytes = incoming.expected();
        if has_names {
            let failed = failed("read what snapshots need");
            let mut names = File::open(self.path(layout::closure(object.id))).map_err(&failed)?;
            let mut piece = Vec::new();
            while names.by_ref().take(NAMES_BYTES).read_to_end(&mut piece).map_err(&failed)? > 0 {
                incoming.write(&piece)?;
                piece.clear();
            }
        }
        while reading.left() > 0 {
            incoming.write(&reading.piece()?)?;
        }
        let received = incoming.finish(receipt.received).map_err(|(failure, _)| failure)?;
        Ok(Copied { bytes, notes: received.notes })
    }

    /// Moves objects to the trash that the first place let go of, to be brought back from here until the given time.
    /// Those that are not here are passed over. Gives how many were moved.
    ///
    /// # Errors
    /// When the store fails: nothing is lost then.
    pub fn let_go(&self, objects: &[(StoredObject, Timestamp)], now: Timestamp) -> Result<usize, Failure> {
        let mut state = self.lock();
        let known = objects.iter().filter(|(object, _)| state.account.objects.contains_key(object));
        let mut going: Vec<(StoredObject, Timestamp)> = known.copied().collect();
        if going.is_empty() {
            return Ok(0);
        }
        // Snapshots first: none is there without what it needs.
        going.sort_by_key(|(object, _)| (object.kind != StoredKind::Snapshot, *object));
        let trashed = |(object, until): &(StoredObject, Timestamp)| Record::Trashed {
            object: *object,
            at: now,
            until: *until,
        };
        state.write(&going.iter().map(trashed).collect::<Vec<_>>(), true)?;
        let going: Vec<StoredObject> = going.into_iter().map(|(object, _)| object).collect();
        self.move_all(&going, layout::place, layout::trash)?;
        Ok(going.len())
    }
}
