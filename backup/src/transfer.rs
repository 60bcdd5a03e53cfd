//! Moves blobs out of packs into a writer: of the same repository, to pack anew, or of another, to copy.
//!
//! Each blob is opened and compared with its name on the way, so that damage is never copied; it is not compressed again.
//! Memory: a run of 4 MiB or one blob, and that blob decompressed and sealed.

use crate::backend::{Object, ObjectKind};
use crate::id::ObjectId;
use crate::key::MasterKey;
use crate::opener::{Opened, Opener};
use crate::pack::{Entry, PackError, SealedBlob};
use crate::repository::{Repository, RepositoryError};
use crate::runs::{range, runs, sealed};
use crate::writer::{Writer, WriterStopped};

/// Why blobs were not moved.
#[derive(Debug)]
pub(crate) enum TransferError {
    /// The source could not be read.
    Source(RepositoryError),
    /// The writer has stopped; its end says why.
    Stopped,
}

impl From<RepositoryError> for TransferError {
    fn from(error: RepositoryError) -> Self {
        Self::Source(error)
    }
}

impl From<WriterStopped> for TransferError {
    fn from(WriterStopped: WriterStopped) -> Self {
        Self::Stopped
    }
}

/// Adds `entries` of `pack`, in the order of their offsets, to `writer`, sealed with `key`. Their bytes as stored.
pub(crate) fn transfer(
    source: &Repository,
    pack: ObjectId,
    entries: &[Entry],
    opener: &mut Opener,
    writer: &Writer,
    key: &MasterKey,
) -> Result<u64, TransferError> {
    let object = Object::new(ObjectKind::Pack, pack);
    let mut moved = 0;
    for run in runs(entries) {
        let range = range(run);
        let start = range.start;
        let mut bytes = source.backend().get(object, Some(range)).map_err(RepositoryError::from)?;
        for entry in run {
            let sealed = sealed(entry, start, &mut bytes)
                .ok_or_else(|| RepositoryError::damaged(object, PackError::Malformed))?;
            let Opened { stored, plain } = opener
                .open(source.key(), entry, sealed)
                .map_err(|error| RepositoryError::damaged(object, error))?;
            let mut anew = Vec::new();
            key.seal(stored, &mut anew);
            let blob = SealedBlob { blob: entry.blob, bytes: anew, uncompressed: entry.uncompressed };
            writer.add(&blob, plain.len())?;
            moved += u64::from(entry.length);
        }
    }
    Ok(moved)
}
