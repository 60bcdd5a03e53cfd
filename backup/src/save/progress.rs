//! How far a save is, and who may slow it down or end it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a save has seen so far.
#[derive(Debug, Default)]
pub struct Counters {
    files: AtomicU64,
    folders: AtomicU64,
    bytes: AtomicU64,
    read_bytes: AtomicU64,
    unread: AtomicU64,
    current: Mutex<Vec<u8>>,
}

/// Whether a save goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It ends now, without a snapshot. What is stored stays; the next save need not send it again.
    Stop,
}

/// Whoever started a save and looks after it. Asked by all its threads, before each file and after each chunk.
pub trait Progress: Sync {
    /// May take as long as it likes: that is how a save is paused. Called often, so that whoever shows the counters does
    /// so a few times a second and not each time.
    fn pace(&self, counters: &Counters) -> Flow;
}

/// Nobody looks.
impl Progress for () {
    fn pace(&self, _: &Counters) -> Flow {
        Flow::Continue
    }
}

impl Counters {
    /// Regular files that are done.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Folders that are done.
    pub fn folders(&self) -> u64 {
        self.folders.load(Ordering::Relaxed)
    }

    /// Bytes of files that are done, read or known to be unchanged.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that were read.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Files and folders that could not be read as they should.
    pub fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// The folder that the walk is in.
    pub fn current(&self) -> Vec<u8> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_current(&self, path: &[u8]) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clear();
        current.extend_from_slice(path);
    }

    pub(super) fn add_file(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_folder(&self) {
        self.folders.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_unread(&self) -> u64 {
        self.unread.fetch_add(1, Ordering::Relaxed)
    }
}
