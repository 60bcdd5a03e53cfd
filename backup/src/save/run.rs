//! What the threads of a save share, and what each of them has of its own to make blobs.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::details::Recording;
use super::folder::{Done, Folder, Own, Text};
use super::needs::Needs;
use super::progress::{Counters, Flow, Progress};
use super::throttle::Throttle;
use super::{Request, SaveError, UNREAD_MAX, Unread, Why};
use crate::chunker::{Chunk, Chunker, Source, ZEROS};
use crate::id::ObjectId;
use crate::index::Index;
use crate::pack::{Blob, BlobKind, Compressor};
use crate::repository::{Repository, RepositoryError};
use crate::writer::Writer;

/// Shared by all threads.
pub(super) struct Run<'r> {
    pub(super) repository: &'r Repository,
    pub(super) index: &'r Index,
    pub(super) writer: &'r Writer,
    pub(super) needs: Needs<'r>,
    pub(super) request: &'r Request,
    pub(super) recording: Recording<'r>,
    pub(super) counters: Counters,
    pub(super) tally: Tally,
    progress: &'r dyn Progress,
    throttle: Option<Throttle>,
    zeros: ObjectId,
    unread: Mutex<Vec<Unread>>,
    is_stopped: AtomicBool,
    failure: Mutex<Option<SaveError>>,
    root: OnceLock<ObjectId>,
}

/// What a run has seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) counters: Counters,
    pub(super) tally: Tally,
    /// Packs that were there before and hold something of the snapshot.
    pub(super) needed: BTreeSet<ObjectId>,
    /// By path.
    pub(super) unread: Vec<Unread>,
}

/// Files and folders against the earlier snapshot.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) files: Fates,
    pub(super) folders: Fates,
}

/// How many are new, changed and unchanged.
#[derive(Debug, Default)]
pub(super) struct Fates([AtomicU64; 3]);

/// Against the earlier snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    New,
    Changed,
    Unchanged,
}

impl Fates {
    pub(super) fn add(&self, fate: Fate) {
        let [new, changed, unchanged] = &self.0;
        let counter = match fate {
            Fate::New => new,
            Fate::Changed => changed,
            Fate::Unchanged => unchanged,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// New, changed, unchanged.
    pub(super) fn all(&self) -> [u64; 3] {
        self.0.each_ref().map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// The run is being given up; [`Run::end`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped;

/// Why content was not saved.
#[derive(Debug)]
pub(super) enum ContentError {
    /// It cannot be read.
    Read(io::Error),
    /// The run is being given up.
    Stopped,
}

impl From<Stopped> for ContentError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl<'r> Run<'r> {
    pub(super) fn new(
        repository: &'r Repository,
        index: &'r Index,
        writer: &'r Writer,
        request: &'r Request,
        progress: &'r dyn Progress,
        recording: Recording<'r>,
    ) -> Self {
        Self {
            repository,
            index,
            writer,
            needs: Needs::new(index),
            request,
            recording,
            counters: Counters::default(),
            tally: Tally::default(),
            progress,
            throttle: request.bytes_per_second.map(Throttle::new),
            zeros: ObjectId::of(&ZEROS),
            unread: Mutex::new(Vec::new()),
            is_stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
            root: OnceLock::new(),
        }
    }

    /// Gives the run up. The first reason counts.
    pub(super) fn fail(&self, error: SaveError) -> Stopped {
        lock(&self.failure).get_or_insert(error);
        self.is_stopped.store(true, Ordering::Relaxed);
        Stopped
    }

    /// Asks whether to go on, after so many bytes were read.
    pub(super) fn pace(&self, read_bytes: u64) -> Result<(), Stopped> {
        if read_bytes > 0 {
            self.counters.add_read(read_bytes);
            self.throttle.iter().for_each(|throttle| throttle.wait(read_bytes));
        }
        if self.is_stopped() {
            return Err(Stopped);
        }
        match self.progress.pace(&self.counters) {
            Flow::Continue => Ok(()),
            Flow::Stop => Err(self.fail(SaveError::Stopped)),
        }
    }

    /// Says that the snapshot counts on these blobs.
    pub(super) fn need(&self, kind: BlobKind, ids: &[ObjectId]) {
        let blobs = ids.iter().map(|id| Blob { kind, id: *id });
        let mut new = blobs.filter(|blob| !self.needs.note(*blob)).peekable();
        if new.peek().is_some() {
            self.writer.need(new);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Records what could not be saved as it should.
    pub(super) fn add_unread(&self, path: &[u8], why: Why) {
        if self.counters.add_unread() < UNREAD_MAX as u64 {
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
            lock(&self.unread).push(Unread { path, why });
        }
    }

    /// The root's tree or why the run was given up, and what was seen.
    pub(super) fn end(self) -> (Result<ObjectId, SaveError>, Seen) {
        let failure = self.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut unread = self.unread.into_inner().unwrap_or_else(PoisonError::into_inner);
        unread.sort_by(|left, right| left.path.cmp(&right.path));
        let root = match (failure, self.root.into_inner()) {
            (Some(error), _) => Err(error),
            (None, Some(root)) => Ok(root),
            (None, None) => Err(SaveError::Stopped),
        };
        let needed = self.needs.packs();
        (root, Seen { counters: self.counters, tally: self.tally, needed, unread })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one thread makes blobs with. Its buffers are kept: one chunk with what was read behind it, and one compressed.
pub(super) struct Kit<'r> {
    chunker: Chunker<'r>,
    compressor: Compressor,
}

impl<'r> Kit<'r> {
    pub(super) fn new(repository: &'r Repository) -> Result<Self, SaveError> {
        let compressor = Compressor::new().map_err(RepositoryError::Compress)?;
        Ok(Self { chunker: Chunker::new(repository.tables()), compressor })
    }

    /// Saves content to its end: its chunks and how many bytes they have.
    pub(super) fn save_content(
        &mut self,
        run: &Run<'_>,
        source: &mut impl Source,
    ) -> Result<(Vec<ObjectId>, u64), ContentError> {
        let Self { chunker, compressor } = self;
        chunker.reset();
        let (mut content, mut size) = (Vec::new(), 0);
        while let Some(chunk) = chunker.next_chunk(source).map_err(ContentError::Read)? {
            let bytes = chunk.bytes();
            let id = match chunk {
                Chunk::Zeros => run.zeros,
                Chunk::Content(bytes) => ObjectId::of(bytes),
            };
            save_blob(compressor, run, Blob { kind: BlobKind::Data, id }, bytes)?;
            content.push(id);
            size += bytes.len() as u64;
            // A hole is not read, and not slowed down.
            run.pace(if chunk == Chunk::Zeros { 0 } else { bytes.len() as u64 })?;
        }
        run.need(BlobKind::Data, &content);
        Ok((content, size))
    }

    /// Saves the tree of a folder that is done, and of those above that are done by it.
    pub(super) fn finish_folder(&mut self, run: &Run<'_>, mut folder: Arc<Folder>) -> Result<(), Stopped> {
        loop {
            let id = match folder.take() {
                Done::Same(id) => id,
                Done::Text(text) => {
                    let id = ObjectId::of(&text);
                    let blob = Blob { kind: BlobKind::Tree, id };
                    save_blob(&mut self.compressor, run, blob, &text)?;
                    id
                }
            };
            run.need(BlobKind::Tree, &[id]);
            let Some((place, own)) = &folder.above else {
                // Set once: there is one root.
                return run.root.set(id).map_err(|_| Stopped);
            };
            let entry = folder.entry(own, &place.folder, id);
            run.counters.add_folder();
            run.tally.folders.add(match (own, &entry) {
                (Own::Known(..), Text::Same(_)) => Fate::Unchanged,
                _ if folder.was_known => Fate::Changed,
                _ => Fate::New,
            });
            if !place.fill(entry) {
                return Ok(());
            }
            let above = Arc::clone(&place.folder);
            folder = above;
        }
    }
}

fn save_blob(compressor: &mut Compressor, run: &Run<'_>, blob: Blob, plain: &[u8]) -> Result<(), Stopped> {
    if !run.writer.claim(run.index, blob) {
        return Ok(());
    }
    // Others count on a claimed blob: when it is not added, there must be no snapshot.
    let sealed = compressor
        .seal(run.repository.key(), blob, plain)
        .map_err(|error| run.fail(RepositoryError::Compress(error).into()))?;
    run.writer.add(&sealed, plain.len()).map_err(|_| run.fail(SaveError::Stopped))?;
    compressor.recycle(sealed);
    Ok(())
}
