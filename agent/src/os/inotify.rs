//! Tells when something in a folder is touched.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// Room for some dozens of events of one read.
const BUFFER_BYTES: usize = 4096;
/// Reads before others have their turn.
const READS_MAX: usize = 64;

/// Watched folders.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

impl Inotify {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the user has too many of these.
    pub fn new() -> io::Result<Self> {
        Ok(Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?))
    }

    /// Watches what is directly in a folder.
    ///
    /// # Errors
    /// When it is not there, or the user watches too much.
    pub fn watch(&self, folder: &Path) -> io::Result<()> {
        let what = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.0, folder, what)?;
        Ok(())
    }

    /// To be waited for.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes what was told so far. True when something was touched whose name `is_meant`; the folder itself, and what
    /// the kernel could not tell one by one, always is.
    pub fn take(&self, is_meant: impl Fn(&[u8]) -> bool) -> bool {
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let (mut is_touched, mut reads) = (false, 0);
        while reads < READS_MAX {
            // A read of its own only once what the one before brought is used up.
            if reader.is_buffer_empty() {
                reads += 1;
            }
            match reader.next() {
                Ok(event) => {
                    let is_whole = event.events().intersects(ReadFlags::QUEUE_OVERFLOW);
                    is_touched |= is_whole || event.file_name().is_none_or(|name| is_meant(name.to_bytes()));
                }
                Err(_) => break,
            }
        }
        is_touched
    }
}
