//! A group of files whose content is restored together: which blobs, out of which packs, into which files.
//!
//! Blobs are read in the order in which they lie in their packs, each once for all files that have it. Touches nothing.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::details::Details;
use super::file::FileJob;
use super::links::FirstName;
use crate::id::ObjectId;
use crate::index::{IdMap, Location};
use crate::pack::{Blob, BlobKind, Entry};

/// Entries of a group: some 300 bytes of memory each.
const ENTRIES_MAX: usize = 16_384;
/// Pieces of a group: 72 bytes of memory each.
const PIECES_MAX: usize = 65_536;
/// Bytes of a group: what is written between two syncs, and lost by a cut.
const BYTES_MAX: u64 = 1 << 30;
/// Blobs that follow each other are read together up to so many bytes.
const READ_BYTES_MAX: u32 = 4 << 20;
/// Bytes that are not wanted are read as well, when there are no more between two blobs that are.
const GAP_BYTES_MAX: u32 = 64 << 10;

/// A blob's place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Among the packs of the group.
    pack: u32,
    /// Where its sealed bytes begin in the pack.
    start: u32,
    /// How many sealed bytes.
    length: u32,
    uncompressed: Option<u32>,
    id: ObjectId,
    /// Among the files of the group.
    pub(super) file: u32,
    /// Where it begins in the file.
    pub(super) at: u64,
}

impl Piece {
    /// What is to be opened, and as what.
    pub(super) fn entry(&self) -> Entry {
        let blob = Blob { kind: BlobKind::Data, id: self.id };
        Entry { blob, offset: self.start, length: self.length, uncompressed: self.uncompressed }
    }
}

/// A further name of a file.
#[derive(Debug)]
pub(super) struct LinkJob {
    pub(super) folder: Arc<Path>,
    pub(super) name: OsString,
    pub(super) first: Arc<FirstName>,
    pub(super) may_replace: bool,
}

/// A folder that everything below has been planned of.
#[derive(Debug)]
pub(super) struct LeaveJob {
    pub(super) path: Arc<Path>,
    pub(super) details: Details,
}

/// A group.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) files: Vec<FileJob>,
    pub(super) links: Vec<LinkJob>,
    pub(super) leaves: Vec<LeaveJob>,
    packs: Vec<ObjectId>,
    numbers: IdMap<ObjectId, u32>,
    pieces: Vec<Piece>,
    bytes: u64,
}

/// Blobs of one pack that are read in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    /// Bytes of the pack.
    pub(super) range: Range<u64>,
    /// Which pieces are in them.
    pub(super) pieces: Range<usize>,
}

impl Batch {
    /// Whether it is time to do it.
    pub(super) fn is_full(&self) -> bool {
        self.files.len() + self.links.len() + self.leaves.len() >= ENTRIES_MAX
            || self.pieces.len() >= PIECES_MAX
            || self.bytes >= BYTES_MAX
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.links.is_empty() && self.leaves.is_empty()
    }

    /// Adds a blob at `at` in the file that was added last.
    pub(super) fn add_piece(&mut self, location: &Location, at: u64) {
        let number = |length: usize| u32::try_from(length).expect("a group is far smaller");
        let next = number(self.packs.len());
        let pack = *self.numbers.entry(location.pack).or_insert_with(|| {
            self.packs.push(location.pack);
            next
        });
        let Entry { blob, offset, length, uncompressed } = location.entry;
        let file = number(self.files.len().saturating_sub(1));
        self.bytes += location.entry.plain_length();
        self.pieces.push(Piece { pack, start: offset, length, uncompressed, id: blob.id, file, at });
    }

    /// Puts the pieces in the order in which they are read, and tells which belong to which pack.
    pub(super) fn arrange(&mut self) -> Vec<(ObjectId, Range<usize>)> {
        self.pieces.sort_unstable_by_key(|piece| (piece.pack, piece.start, piece.file, piece.at));
        let mut packs = Vec::with_capacity(self.packs.len());
        let mut start = 0;
        for run in self.pieces.chunk_by(|left, right| left.pack == right.pack) {
            let end = start + run.len();
            let number = run.first().and_then(|piece| usize::try_from(piece.pack).ok());
            if let Some(pack) = number.and_then(|number| self.packs.get(number)) {
                packs.push((*pack, start..end));
            }
            start = end;
        }
        packs
    }

    /// Pieces in the order in which they are read.
    pub(super) fn pieces(&self, range: Range<usize>) -> &[Piece] {
        self.pieces.get(range).unwrap_or_default()
    }

    /// How the pieces of one pack are read.
    pub(super) fn reads(&self, range: Range<usize>) -> Vec<Read> {
        let mut reads: Vec<Read> = Vec::new();
        for (number, piece) in range.clone().zip(self.pieces(range)) {
            let (start, end) = (u64::from(piece.start), u64::from(piece.start) + u64::from(piece.length));
            match reads.last_mut() {
                Some(last)
                    if start <= last.range.end + u64::from(GAP_BYTES_MAX)
                        && end.max(last.range.end) - last.range.start <= u64::from(READ_BYTES_MAX) =>
                {
                    last.range.end = last.range.end.max(end);
                    last.pieces.end = number + 1;
                }
                // The same blob once more, longer than a read.
                Some(last) if start >= last.range.start && end <= last.range.end => {
                    last.pieces.end = number + 1;
                }
                _ => reads.push(Read { range: start..end, pieces: number..number + 1 }),
            }
        }
        reads
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
