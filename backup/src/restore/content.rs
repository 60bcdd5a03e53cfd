//! Reads the content of a group's files pack by pack, in a few threads, and writes it where it belongs.
//!
//! A blob that cannot be read costs the files that have it, and no others: when several are read together and the read
//! fails, each is read by itself.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::batch::{Batch, Piece, Read};
use super::file::{FileJob, is_zero};
use super::run::Run;
use super::{Problem, RestoreError};
use crate::backend::{BackendError, Object, ObjectKind};
use crate::beneath::LastFolder;
use crate::id::ObjectId;
use crate::pack::Opener;
use crate::repository::RepositoryError;

/// Threads are never more: each holds a read and a blob.
const WORKERS_MAX: usize = 16;

/// Restores the content of all files of a group, as far as they can be. What fails is noted in the run and the files.
pub(super) fn restore(run: &Run<'_>, batch: &mut Batch) {
    let packs = batch.arrange();
    let batch = &*batch;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut worker = Worker {
            run,
            batch,
            opener: Opener::default(),
            read_back: Vec::new(),
            last: LastFolder::default(),
        };
        while let Some((pack, pieces)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if run.is_stopped() {
                break;
            }
            worker.restore_pack(*pack, pieces.clone());
        }
    };
    thread::scope(|scope| {
        // One of them is this thread.
        for _ in 1..run.request.workers.clamp(1, WORKERS_MAX).min(packs.len()) {
            scope.spawn(work);
        }
        work();
    });
}

struct Worker<'a> {
    run: &'a Run<'a>,
    batch: &'a Batch,
    opener: Opener,
    read_back: Vec<u8>,
    last: LastFolder,
}

impl<'a> Worker<'a> {
    fn restore_pack(&mut self, pack: ObjectId, pieces: Range<usize>) {
        for Read { range, pieces } in self.batch.reads(pieces) {
            if self.run.is_stopped() {
                return;
            }
            match self.read(pack, range.clone()) {
                Ok(mut bytes) => self.restore_blobs(pack, &mut bytes, range.start, pieces),
                Err(error) if is_unreachable(&error) => {
                    return self.run.stop(RestoreError::Repository(error));
                }
                Err(_) => self.restore_one_by_one(pack, pieces),
            }
        }
    }

    /// After a read of several blobs failed.
    fn restore_one_by_one(&mut self, pack: ObjectId, pieces: Range<usize>) {
        let mut start = pieces.start;
        for blob in self.batch.pieces(pieces).chunk_by(|left, right| left.entry() == right.entry()) {
            let of_blob = start..start + blob.len();
            start = of_blob.end;
            let Some(entry) = blob.first().map(Piece::entry) else { continue };
            let offset = u64::from(entry.offset);
            match self.read(pack, offset..offset + u64::from(entry.length)) {
                Ok(mut bytes) => self.restore_blobs(pack, &mut bytes, offset, of_blob),
                Err(error) if is_unreachable(&error) => {
                    return self.run.stop(RestoreError::Repository(error));
                }
                Err(error) => self.fail_all(blob, &error),
            }
        }
    }

    fn read(&self, pack: ObjectId, range: Range<u64>) -> Result<Vec<u8>, Arc<RepositoryError>> {
        let object = Object::new(ObjectKind::Pack, pack);
        self.run.repository.backend().get(object, Some(range)).map_err(|error| Arc::new(error.into()))
    }

    /// `bytes` are those of the pack from `offset` on.
    fn restore_blobs(&mut self, pack: ObjectId, bytes: &mut [u8], offset: u64, pieces: Range<usize>) {
        for pieces in self.batch.pieces(pieces).chunk_by(|left, right| left.entry() == right.entry()) {
            let Some(entry) = pieces.first().map(Piece::entry) else { continue };
            let start = usize::try_from(u64::from(entry.offset).saturating_sub(offset)).unwrap_or(usize::MAX);
            let length = usize::try_from(entry.length).unwrap_or(usize::MAX);
            let sealed = start.checked_add(length).and_then(|end| bytes.get_mut(start..end));
            let object = Object::new(ObjectKind::Pack, pack);
            let Some(sealed) = sealed else {
                // The backend gave less than it was asked for.
                self.fail_all(pieces, &Arc::new(BackendError::Short(object).into()));
                continue;
            };
            // Taken out, so that what it lends can be used together with the rest of the worker.
            let mut opener = std::mem::take(&mut self.opener);
            match opener.open(self.run.repository.key(), entry.blob, sealed, entry.uncompressed) {
                Ok(plain) => self.write_all(pieces, plain),
                Err(error) => self.fail_all(pieces, &Arc::new(RepositoryError::damaged(object, error))),
            }
            self.opener = opener;
        }
    }

    fn write_all(&mut self, pieces: &[Piece], plain: &[u8]) {
        let is_zero = is_zero(plain);
        for piece in pieces {
            let Some(job) = self.job(piece) else { continue };
            if job.has_failed() {
                continue;
            }
            match self.write(job, piece.at, plain, is_zero) {
                Ok(()) => self.run.progress.wrote(plain.len() as u64),
                Err(problem) => self.run.fail_file(job, problem),
            }
            if self.run.is_stopped() {
                return;
            }
        }
    }

    fn write(&mut self, job: &FileJob, at: u64, plain: &[u8], is_zero: bool) -> Result<(), Problem> {
        let folder = self.run.reach(&mut self.last, &job.folder);
        let folder =
            folder.map_err(|errno| Problem::Io { doing: "reach its folder", source: errno.into() })?;
        let file = job.open(folder, &self.run.open_files)?;
        let read_back = self.run.request.verify.then_some(&mut self.read_back);
        job.write(&file, at, plain, is_zero, read_back)?;
        if job.piece_is_written() {
            self.run.finish_file(job, &file);
        }
        Ok(())
    }

    fn fail_all(&self, pieces: &[Piece], error: &Arc<RepositoryError>) {
        for job in pieces.iter().filter_map(|piece| self.job(piece)) {
            self.run.fail_file(job, Problem::Content(error.clone()));
        }
    }

    fn job(&self, piece: &Piece) -> Option<&'a FileJob> {
        self.batch.files.get(usize::try_from(piece.file).ok()?)
    }
}

/// What may go well later ends the run: it would cost every file that is left.
pub(super) fn is_unreachable(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::Backend(error) if error.is_transient())
}
