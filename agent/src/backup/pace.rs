//! Looks after work that takes long: says how far it is, keeps its lock, and ends it when the program is to stop.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use campanile_backup::lock::{LockError, REFRESH, SharedLock};
use campanile_backup::{restore, save};
use campanile_common::api::BackupLine;

use super::error::chain;
use super::place::{Program, file_time};

/// Lines about progress are so far apart.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Used by all threads of the work.
pub(super) struct Pace<'a> {
    program: &'a Program,
    lock: Option<&'a SharedLock>,
    last: Mutex<Last>,
    is_lost: AtomicBool,
    files: AtomicU64,
    bytes: AtomicU64,
}

struct Last {
    line: Duration,
    refresh: Duration,
}

impl<'a> Pace<'a> {
    pub(super) fn new(program: &'a Program, lock: Option<&'a SharedLock>) -> Self {
        let now = program.elapsed();
        Self {
            program,
            lock,
            last: Mutex::new(Last { line: now, refresh: now }),
            is_lost: AtomicBool::new(false),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Whether the lock was lost: what was done may have met others' work.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Whether the work is to end: it is told to, or others may be at the repository.
    pub(super) fn has_ended(&self) -> bool {
        self.program.is_stopping() || self.is_lost()
    }

    /// So many bytes more were read, or verified. A check is not stopped: it changes nothing, and the signal ends it.
    pub(super) fn verified(&self, bytes: u64) {
        let (files, bytes) = (0, self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes);
        self.goes_on(|| line(files, bytes, bytes, 0, String::new()));
    }

    /// Whether the work goes on.
    fn goes_on(&self, line: impl FnOnce() -> BackupLine) -> bool {
        if self.has_ended() {
            return false;
        }
        // Another thread sees to it.
        let Ok(mut last) = self.last.try_lock() else { return true };
        let now = self.program.elapsed();
        if now.saturating_sub(last.line) >= LINE_INTERVAL {
            last.line = now;
            self.program.output.line(&line());
        }
        if let Some(lock) = self.lock.filter(|_| now.saturating_sub(last.refresh) >= REFRESH) {
            last.refresh = now;
            match lock.refresh(file_time()) {
                Ok(()) => {}
                Err(LockError::Lost) => self.is_lost.store(true, Ordering::Relaxed),
                // It counts for a while yet.
                Err(error) => self.program.output.problem(chain(&error)),
            }
        }
        true
    }
}

fn line(files: u64, bytes: u64, read_bytes: u64, unread: u64, current: String) -> BackupLine {
    BackupLine::Progress { files, bytes, read_bytes, unread, current }
}

impl save::Progress for Pace<'_> {
    fn pace(&self, counters: &save::Counters) -> save::Flow {
        let goes_on = self.goes_on(|| {
            let current = String::from_utf8_lossy(&counters.current()).into_owned();
            line(counters.files(), counters.bytes(), counters.read_bytes(), counters.unread(), current)
        });
        if goes_on { save::Flow::Continue } else { save::Flow::Stop }
    }
}

impl restore::Progress for Pace<'_> {
    fn decided(&self, path: &Path, _: restore::Action) {
        let files = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.goes_on(|| line(files, bytes, bytes, 0, path.to_string_lossy().into_owned()));
    }

    fn wrote(&self, bytes: u64) {
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.goes_on(|| line(self.files.load(Ordering::Relaxed), bytes, bytes, 0, String::new()));
    }

    fn is_cancelled(&self) -> bool {
        self.has_ended()
    }
}
