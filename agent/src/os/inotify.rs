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

/// Names a watched folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WatchId(i32);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Something was made or came here.
    Appeared,
    /// Something was removed or went away.
    Vanished,
    /// Something was written or altered.
    Touched,
    /// The folder is watched no more: it was removed, or unmounted.
    Unwatched,
    /// More than the kernel remembers.
    Overflow,
}

/// Something that happened in a watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// In which.
    pub watch: WatchId,
    /// To what in it; empty for the folder itself.
    pub name: Vec<u8>,
    /// Whether that is a folder.
    pub is_folder: bool,
    /// What.
    pub what: What,
}

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
    pub fn watch(&self, folder: &Path) -> io::Result<WatchId> {
        let what = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        Ok(WatchId(inotify::add_watch(&self.0, folder, what)?))
    }

    /// Watches a folder no more.
    pub fn forget(&self, watch: WatchId) {
        // One that is gone is watched no more either.
        inotify::remove_watch(&self.0, watch.0).ok();
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

    /// Takes what was told so far, one by one. True when there may be more.
    pub fn take_each(&self, mut sink: impl FnMut(Happened)) -> bool {
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut reads = 0;
        while reads < READS_MAX {
            if reader.is_buffer_empty() {
                reads += 1;
            }
            let Ok(event) = reader.next() else { return false };
            let flags = event.events();
            let what = match () {
                () if flags.intersects(ReadFlags::QUEUE_OVERFLOW) => What::Overflow,
                () if flags.intersects(ReadFlags::IGNORED) => What::Unwatched,
                () if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) => What::Appeared,
                () if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) => What::Vanished,
                () => What::Touched,
            };
            sink(Happened {
                watch: WatchId(event.wd()),
                name: event.file_name().map(|name| name.to_bytes().to_vec()).unwrap_or_default(),
                is_folder: flags.intersects(ReadFlags::ISDIR),
                what,
            });
        }
        true
    }
}
