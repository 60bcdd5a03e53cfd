//! A file that is being written, under its temporary name, by whichever thread has a piece of it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags, fstat, ftruncate};
use rustix::io::{Errno, pread, pwrite};

use super::Problem;
use super::details::Details;
use super::links::FirstName;
use crate::beneath::{make_anew, open_in, temporary};

/// Runs of zeros are left out of a file in blocks of this many bytes, aligned in the file: they become holes.
const HOLE_BYTES: usize = 16 << 10;
const ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
/// Of unfinished files so many are held open; more are opened again for each piece.
const OPEN_MAX: usize = 128;
/// Read back at a time: what a processor's cache holds.
const READ_BACK_BYTES: usize = 128 << 10;

/// A file of a group.
#[derive(Debug)]
pub(super) struct FileJob {
    pub(super) folder: Arc<Path>,
    pub(super) name: OsString,
    pub(super) details: Details,
    pub(super) size: u64,
    /// Whether it takes the place of what is there.
    pub(super) may_replace: bool,
    /// When it has further names.
    pub(super) first: Option<Arc<FirstName>>,
    state: Mutex<State>,
}

/// How far a file has come.
#[derive(Debug, Default)]
struct State {
    /// Its device and inode, once it was made.
    made: Option<(u64, u64)>,
    open: Option<Arc<OwnedFd>>,
    /// Pieces that are not written.
    left: u64,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Progress {
    #[default]
    Unfinished,
    /// It holds all of its content and its details.
    Whole,
    Failed,
}

/// Where a file stands when its group ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Goes on in the next group.
    Unfinished,
    /// Is to get its real name.
    Whole,
    /// Is to be removed, when it was made at all.
    Failed {
        /// Whether it was.
        is_made: bool,
    },
}

/// How many files are held open.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(AtomicUsize);

impl FileJob {
    /// A file with so many pieces.
    pub(super) fn new(
        folder: Arc<Path>,
        name: OsString,
        details: Details,
        size: u64,
        pieces: u64,
        may_replace: bool,
        first: Option<Arc<FirstName>>,
    ) -> Self {
        let state = Mutex::new(State { left: pieces, ..State::default() });
        Self { folder, name, details, size, may_replace, first, state }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it up; false when it was given up before.
    pub(super) fn fail(&self, open_files: &OpenFiles) -> bool {
        let mut state = self.state();
        close(&mut state, open_files);
        std::mem::replace(&mut state.progress, Progress::Failed) != Progress::Failed
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state().progress == Progress::Failed
    }

    pub(super) fn standing(&self) -> Standing {
        let state = self.state();
        match state.progress {
            Progress::Unfinished => Standing::Unfinished,
            Progress::Whole => Standing::Whole,
            Progress::Failed => Standing::Failed { is_made: state.made.is_some() },
        }
    }

    /// Whether something lies under its temporary name.
    pub(super) fn is_made(&self) -> bool {
        self.state().made.is_some()
    }

    /// The file, to write to; made by the first who asks.
    pub(super) fn open(&self, folder: &OwnedFd, open_files: &OpenFiles) -> Result<Arc<OwnedFd>, Problem> {
        let failed = |doing| move |errno: Errno| Problem::Io { doing, source: errno.into() };
        let mut state = self.state();
        if let Some(open) = &state.open {
            return Ok(open.clone());
        }
        let temporary = temporary(&self.name);
        let file = if let Some(made) = state.made {
            let file = open_in(folder, &temporary, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty())
                .map_err(failed("open what was written of it"))?;
            let stat = fstat(&file).map_err(failed("look at what was written of it"))?;
            if (stat.st_dev, stat.st_ino) != made {
                return Err(failed("go on with it, for somebody else replaced it")(Errno::STALE));
            }
            file
        } else {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            // Readable for nobody else before it belongs to whom it should.
            let make = || open_in(folder, &temporary, flags, Mode::from_raw_mode(0o600));
            let file = make_anew(folder, &temporary, make).map_err(failed("make it"))?;
            let stat = fstat(&file).map_err(failed("look at it"))?;
            state.made = Some((stat.st_dev, stat.st_ino));
            if state.left > 1 {
                // What is not written of it is a hole.
                ftruncate(&file, self.size).map_err(failed("set its length"))?;
            }
            file
        };
        let file = Arc::new(file);
        if state.left > 1 && open_files.0.load(Ordering::Relaxed) < OPEN_MAX {
            open_files.0.fetch_add(1, Ordering::Relaxed);
            state.open = Some(file.clone());
        }
        Ok(file)
    }

    /// Writes a piece at `at`, zeros as holes, and reads it back when `read_back` is given room to.
    pub(super) fn write(
        &self,
        file: &OwnedFd,
        at: u64,
        plain: &[u8],
        is_zero: bool,
        read_back: Option<&mut Vec<u8>>,
    ) -> Result<(), Problem> {
        let failed = |source| Problem::Io { doing: "write it", source };
        let end = at + plain.len() as u64;
        let written_to = if is_zero { at } else { write_sparsely(file, at, plain).map_err(failed)? };
        // A file of several pieces has its length already.
        if written_to < end && end == self.size {
            ftruncate(file, self.size).map_err(|errno| failed(errno.into()))?;
        }
        match read_back {
            // A file that is new holds zeros wherever nothing was written.
            Some(buffer) if !is_zero => compare(file, at, plain, buffer),
            _ => Ok(()),
        }
    }

    /// Counts a piece as written; true for the last one.
    pub(super) fn piece_is_written(&self) -> bool {
        let mut state = self.state();
        state.left = state.left.saturating_sub(1);
        state.left == 0 && state.progress == Progress::Unfinished
    }

    /// It has its content and its details.
    pub(super) fn set_whole(&self, open_files: &OpenFiles) {
        let mut state = self.state();
        close(&mut state, open_files);
        if state.progress == Progress::Unfinished {
            state.progress = Progress::Whole;
        }
    }
}

fn close(state: &mut State, open_files: &OpenFiles) {
    if state.open.take().is_some() {
        open_files.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether all bytes are zero; told by the first that is not.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(HOLE_BYTES).all(|block| ZEROS.get(..block.len()) == Some(block))
}

/// Writes all but blocks of zeros, and tells where the last byte that was written ends.
fn write_sparsely(file: &OwnedFd, at: u64, plain: &[u8]) -> io::Result<u64> {
    let unit = HOLE_BYTES as u64;
    let to_boundary = usize::try_from((unit - at % unit) % unit).unwrap_or(0).min(plain.len());
    let mut written_to = at;
    // The run of bytes that is to be written, within `plain`.
    let (mut start, mut end) = (0, to_boundary);
    let mut write = |start: usize, end: usize| -> io::Result<()> {
        if start < end {
            let from = at + start as u64;
            write_all(file, from, plain.get(start..end).unwrap_or_default())?;
            written_to = at + end as u64;
        }
        Ok(())
    };
    while end < plain.len() {
        let next = plain.len().min(end + HOLE_BYTES);
        let block = plain.get(end..next).unwrap_or_default();
        if block.len() == HOLE_BYTES && block == ZEROS {
            write(start, end)?;
            start = next;
        }
        end = next;
    }
    write(start, end)?;
    Ok(written_to)
}

fn write_all(file: &OwnedFd, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, at) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(count) => {
                at += count as u64;
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn compare(file: &OwnedFd, at: u64, plain: &[u8], buffer: &mut Vec<u8>) -> Result<(), Problem> {
    buffer.resize(READ_BACK_BYTES, 0);
    let mut done = 0;
    while done < plain.len() {
        let room = buffer.len().min(plain.len() - done);
        let read = pread(file, buffer.get_mut(..room).unwrap_or_default(), at + done as u64);
        let count = match read {
            Err(Errno::INTR) => continue,
            read => read.map_err(|errno| Problem::Io { doing: "read it back", source: errno.into() })?,
        };
        if count == 0 || buffer.get(..count) != plain.get(done..done + count) {
            return Err(Problem::ReadBack);
        }
        done += count;
    }
    Ok(())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
