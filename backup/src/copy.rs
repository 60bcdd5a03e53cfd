//! Copies snapshots with all that they need into another repository, which may have another key and another polynomial:
//! blobs keep their names and are sealed anew.
//!
//! Nothing is copied twice, and a copy that was cut goes on: packs that it left are indexed first. Within a run a tree is
//! read once. A snapshot is written only after all that it needs is stored and indexed. The caller holds a shared lock on
//! both.
//!
//! Memory: both indexes (70 bytes for each blob), 40 bytes for each blob that is copied, and a batch of places.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasherDefault;

use crate::backend::ObjectKind;
use crate::id::ObjectId;
use crate::index::{IdHasher, Index, Location};
use crate::opener::Opener;
use crate::pack::{Blob, Entry};
use crate::rebuild::{Scope, rebuild};
use crate::repository::{Repository, RepositoryError};
use crate::snapshot::Snapshot;
use crate::transfer::{TransferError, transfer};
use crate::walk::{Seen, blobs, walk};
use crate::writer::Writer;

/// So many places are gathered before they are read, in the order in which they lie. 90 bytes each.
const BATCH_BLOBS: usize = 20_000;
/// Snapshots are written when at least so much was copied for them, so that small ones share packs.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// A copy that did not succeed. What was copied stays; the next run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The repository that is copied from could not be read.
    #[error("cannot read what is to be copied")]
    Source(#[source] RepositoryError),
    /// The repository that is copied into could not be read or written.
    #[error("cannot write the copy")]
    Target(#[source] RepositoryError),
    /// The caller stopped it.
    #[error("the copy was stopped; the next run goes on")]
    Stopped,
}

/// What was just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Blobs of a pack were copied: so many bytes.
    Copied(u64),
    /// All that a snapshot needs was handed to the writer.
    Walked(ObjectId),
}

/// What a copy did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Snapshots that were copied, and the names of the copies.
    pub snapshots: Vec<(ObjectId, ObjectId)>,
    /// Snapshots that are there already.
    pub known: Vec<ObjectId>,
    /// Blobs that were copied.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Copies `snapshots`, oldest first; none means all. `keep_on` is called after each step, and with `false` the run ends.
///
/// # Errors
/// When either repository could not be read or written, or the run was stopped.
pub fn copy(
    source: &Repository,
    snapshots: Option<&[ObjectId]>,
    target: &Repository,
    keep_on: &mut dyn FnMut(Step) -> bool,
) -> Result<Copied, CopyError> {
    let mut wanted = source.snapshots().map_err(CopyError::Source)?;
    if let Some(chosen) = snapshots {
        wanted.retain(|(id, _)| chosen.contains(id));
    }
    // A pack of a cut run that does not open is no loss: what it held is copied again.
    drop(rebuild(target, Scope::Missing).map_err(CopyError::Target)?);
    let known = Known::load(target).map_err(CopyError::Target)?;
    let mut run = Run {
        source,
        target,
        keep_on,
        source_index: source.load_index().map_err(CopyError::Source)?,
        target_index: target.load_index().map_err(CopyError::Target)?,
        handed_over: HashSet::default(),
        opener: Opener::new().map_err(|error| CopyError::Target(RepositoryError::Compress(error)))?,
        copied: Copied::default(),
    };
    let mut writer = Writer::new(target);
    let (mut seen, mut pending, mut written_bytes) = (Seen::default(), Vec::new(), 0);
    for (id, snapshot) in wanted {
        if known.has(id, &snapshot) {
            run.copied.known.push(id);
            continue;
        }
        if let Err(error) = run.snapshot(snapshot.tree, &mut seen, &writer) {
            return Err(ended(writer, error));
        }
        pending.push((id, snapshot));
        if !(run.keep_on)(Step::Walked(id)) {
            return Err(ended(writer, RunError::Asked));
        }
        if run.copied.bytes - written_bytes >= CHECKPOINT_BYTES {
            written_bytes = run.copied.bytes;
            writer.finish().map_err(CopyError::Target)?;
            run.write(&mut pending)?;
            writer = Writer::new(target);
        }
    }
    writer.finish().map_err(CopyError::Target)?;
    run.write(&mut pending)?;
    Ok(run.copied)
}

/// Why a run ended early.
#[derive(Debug)]
enum RunError {
    /// By a blob or tree that could not be read, or because the writer stopped.
    Transfer(TransferError),
    /// By the caller.
    Asked,
}

impl From<RepositoryError> for RunError {
    fn from(error: RepositoryError) -> Self {
        Self::Transfer(error.into())
    }
}

/// Stores and indexes what the writer has, and says why the run ended.
fn ended(writer: Writer, why: RunError) -> CopyError {
    match (writer.finish(), why) {
        (Err(error), _) => CopyError::Target(error),
        (Ok(_), RunError::Transfer(TransferError::Source(error))) => CopyError::Source(error),
        (Ok(_), RunError::Asked | RunError::Transfer(TransferError::Stopped)) => CopyError::Stopped,
    }
}

struct Run<'a> {
    source: &'a Repository,
    target: &'a Repository,
    keep_on: &'a mut dyn FnMut(Step) -> bool,
    source_index: Index,
    target_index: Index,
    handed_over: HashSet<Blob, BuildHasherDefault<IdHasher>>,
    opener: Opener,
    copied: Copied,
}

impl Run<'_> {
    /// Copies the blobs below `root` that are not there.
    fn snapshot(&mut self, root: ObjectId, seen: &mut Seen, writer: &Writer) -> Result<(), RunError> {
        let mut batch: Vec<Location> = Vec::new();
        // A tree that is there says nothing of what is below it: a copy may have been cut in between.
        let (source, mut index) = (self.source, std::mem::take(&mut self.source_index));
        let walked = walk(source, &index, root, seen, &mut |id, tree| {
            for blob in blobs(id, tree) {
                if self.target_index.has(blob) || !self.handed_over.insert(blob) {
                    continue;
                }
                batch.push(index.find(blob).ok_or(RepositoryError::NoBlob(blob))?);
            }
            if batch.len() >= BATCH_BLOBS { self.drain(&mut batch, writer) } else { Ok(()) }
        });
        std::mem::swap(&mut self.source_index, &mut index);
        walked?;
        self.drain(&mut batch, writer)
    }

    fn drain(&mut self, batch: &mut Vec<Location>, writer: &Writer) -> Result<(), RunError> {
        let mut packs: BTreeMap<ObjectId, Vec<Entry>> = BTreeMap::new();
        for Location { pack, entry } in batch.drain(..) {
            packs.entry(pack).or_default().push(entry);
        }
        for (pack, mut entries) in packs {
            entries.sort_by_key(|entry| entry.offset);
            let (source, key) = (self.source, self.target.key());
            let moved = transfer(source, pack, &entries, &mut self.opener, writer, key)
                .map_err(RunError::Transfer)?;
            self.copied.blobs += entries.len() as u64;
            self.copied.bytes += moved;
            if !(self.keep_on)(Step::Copied(moved)) {
                return Err(RunError::Asked);
            }
        }
        Ok(())
    }

    /// Writes snapshots whose blobs are stored and indexed.
    fn write(&mut self, pending: &mut Vec<(ObjectId, Snapshot)>) -> Result<(), CopyError> {
        for (id, snapshot) in pending.drain(..) {
            let original = snapshot.original.or(Some(id));
            let snapshot = Snapshot { original, parent: None, ..snapshot };
            let copy = self.target.write_document(ObjectKind::Snapshot, &snapshot);
            self.copied.snapshots.push((id, copy.map_err(CopyError::Target)?));
        }
        Ok(())
    }
}

/// Snapshots that the target has, by what they are copies of.
struct Known(BTreeMap<ObjectId, Vec<Snapshot>>);

impl Known {
    fn load(target: &Repository) -> Result<Self, RepositoryError> {
        let mut known: BTreeMap<ObjectId, Vec<Snapshot>> = BTreeMap::new();
        for (id, snapshot) in target.snapshots()? {
            known.entry(snapshot.original.unwrap_or(id)).or_default().push(snapshot);
        }
        Ok(Self(known))
    }

    /// Whether a copy is there that says the same: tags may have been changed since.
    fn has(&self, id: ObjectId, snapshot: &Snapshot) -> bool {
        let bare = |snapshot: &Snapshot| Snapshot { original: None, parent: None, ..snapshot.clone() };
        let copies = self.0.get(&snapshot.original.unwrap_or(id));
        copies.is_some_and(|copies| copies.iter().any(|copy| bare(copy) == bare(snapshot)))
    }
}

#[cfg(test)]
mod tests;
