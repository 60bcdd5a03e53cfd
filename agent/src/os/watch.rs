//! Tells when files in a folder change: inotify under the async runtime, which costs a descriptor and no thread.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Room for one event with the longest name, and for dozens of usual ones.
const BUFFER_BYTES: usize = 1024;

/// Watches folders.
#[derive(Debug)]
pub struct FolderWatch(AsyncFd<OwnedFd>);

impl FolderWatch {
    /// Watches nothing yet. Call it within a runtime.
    ///
    /// # Errors
    /// When this user has too many such watches.
    #[expect(
        deprecated,
        reason = "the sound form is unsafe code, for types whose descriptor may change; an `OwnedFd`'s cannot"
    )]
    pub fn new() -> io::Result<Self> {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self(AsyncFd::with_interest(inotify, Interest::READABLE)?))
    }

    /// Watches a folder from now on. Of a file that is written, the end of the writing counts; whoever puts another in
    /// its place renames it. A folder that is watched already stays so.
    ///
    /// # Errors
    /// When there is no such folder, or this user watches too many.
    pub fn add(&self, folder: &Path) -> io::Result<()> {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        add_watch(&self.0, folder, flags)?;
        Ok(())
    }

    /// Waits until something happens to a file whose name is wanted, or to a folder itself. All that happened until
    /// then counts as one. Losing the future loses nothing.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is told any more then.
    pub async fn changed(&self, is_wanted: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        self.0.async_io(Interest::READABLE, |inotify| drain(inotify, &is_wanted)).await
    }
}

/// Takes every event that waits; `WouldBlock` when none was wanted.
fn drain(inotify: &OwnedFd, is_wanted: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut found = false;
    loop {
        match reader.next() {
            // Events without a name are about the folder, or say that there were too many.
            Ok(event) => found |= event.file_name().is_none_or(|name| is_wanted(name.to_bytes())),
            Err(Errno::AGAIN) if found => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_told(watch: &FolderWatch) -> bool {
        let wait = Duration::from_millis(200);
        tokio::time::timeout(wait, watch.changed(|name| name == b"a.toml"))
            .await
            .is_ok_and(|told| told.is_ok())
    }

    #[tokio::test]
    async fn writing_renaming_and_removing_are_told_and_other_names_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let watch = FolderWatch::new().unwrap();
        watch.add(folder.path()).unwrap();
        assert!(!is_told(&watch).await);
        std::fs::write(folder.path().join("b.toml"), "x").unwrap();
        assert!(!is_told(&watch).await, "another file");
        std::fs::write(&path, "x").unwrap();
        assert!(is_told(&watch).await, "written");
        assert!(!is_told(&watch).await, "all of it counts as one");
        std::fs::rename(folder.path().join("b.toml"), &path).unwrap();
        assert!(is_told(&watch).await, "renamed over");
        std::fs::remove_file(&path).unwrap();
        assert!(is_told(&watch).await, "removed");
    }

    #[tokio::test]
    async fn the_end_of_the_folder_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let watch = FolderWatch::new().unwrap();
        watch.add(folder.path()).unwrap();
        drop(folder);
        assert!(is_told(&watch).await);
        assert!(watch.add(Path::new("/nonexistent/folder")).is_err());
    }
}
