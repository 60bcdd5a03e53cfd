//! Files as the state store meets them before it trusts them: their length, their first bytes, the space left.

#![expect(clippy::disallowed_methods, reason = "`os` is where files are touched")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A lock among processes; ends when dropped, or with the process.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Waits for the lock on `path`, which is made if it does not exist.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }

    /// What the lock's file holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn content(&mut self) -> io::Result<String> {
        let mut text = String::new();
        (&self.0).take(256).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Writes into the lock's file and syncs it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())?;
        self.0.sync_all()
    }
}

/// Length of a file; none when there is no such file.
///
/// # Errors
/// When it cannot be told.
pub fn length(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first bytes of a file.
///
/// # Errors
/// When the file is shorter or cannot be read.
pub fn first_bytes<const N: usize>(path: &Path) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open(path)?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Makes an empty file that only its owner can read.
///
/// # Errors
/// When it exists or cannot be made.
pub fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// Removes a file; nothing happens when there is none.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_if_present(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Puts a finished file in its place, so that it is there after a power cut.
///
/// # Errors
/// When a step fails; the file is then under one of the two names.
pub fn move_durably(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    std::fs::rename(from, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Bytes that may still be written to the file system of `path`.
///
/// # Errors
/// When it cannot be told.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(path)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}
