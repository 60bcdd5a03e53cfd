//! Folders that only their owner may look into, and locks in them.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::stopwatch::{Stopwatch, pause};

/// How often a lock is tried that another process has.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// Makes a folder and those above it where they are missing.
///
/// # Errors
/// When it cannot be made, or something else is in its place.
pub fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if path.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// The same, and takes it from everybody else where it was there already.
///
/// # Errors
/// When it cannot be made or is another's.
pub fn claim(path: &Path) -> io::Result<()> {
    make_private(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
}

/// Makes a folder that is empty and only its owner's; one that is there and empty becomes so.
///
/// # Errors
/// `AlreadyExists` when something is in it; `NotADirectory` when it is a link or no folder.
pub fn make_empty(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    if !std::fs::symlink_metadata(path)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if std::fs::read_dir(path)?.next().is_some() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
}

/// Removes a folder with all that is in it; links are not followed.
///
/// # Errors
/// When something of it stays.
pub fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(path)
}

/// Names in a folder, in order; none when it is not there.
///
/// # Errors
/// When it cannot be read.
pub fn names(path: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names: io::Result<Vec<String>> =
        entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}

/// What is directly in a folder: names, and whether each is a folder. Links are none.
///
/// # Errors
/// When it cannot be read.
pub fn entries(path: &Path) -> io::Result<Vec<(OsString, bool)>> {
    let read = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        Ok((entry.file_name(), is_folder))
    };
    std::fs::read_dir(path)?.map(read).collect()
}

/// Number of the file system that a folder is on; none where there is no folder, or a link in its place.
pub fn device(path: &Path) -> Option<u64> {
    let found = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    Some(found.dev())
}

/// Whether a file begins with these bytes.
pub fn begins_with(path: &Path, start: &[u8]) -> bool {
    let mut bytes = vec![0; start.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).is_ok() && bytes == start
}

/// A lock file that is held; the kernel releases it however the process ends.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "it is held")] File);

/// Takes the lock file at `path`; none when another process has it.
///
/// # Errors
/// When it cannot be made.
pub fn try_lock(path: &Path) -> io::Result<Option<Held>> {
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Held(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same, after waiting no longer than `patience` for another process.
///
/// # Errors
/// When it cannot be made.
pub fn lock_within(path: &Path, patience: Duration) -> io::Result<Option<Held>> {
    let watch = Stopwatch::start();
    loop {
        match try_lock(path)? {
            None if watch.elapsed() < patience => pause(LOCK_INTERVAL),
            held => return Ok(held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_is_empty_and_private_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_empty(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        make_empty(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        std::fs::write(path.join("x"), "x").unwrap();
        assert_eq!(make_empty(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(&path).unwrap(), ["x"]);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("a"), &link).unwrap();
        assert_eq!(make_empty(&link).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        remove(&path).unwrap();
        assert!(names(&path).unwrap().is_empty());
    }

    #[test]
    fn a_lock_is_one_holders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = try_lock(&path).unwrap();
        assert!(held.is_some() && try_lock(&path).unwrap().is_none());
        assert!(lock_within(&path, Duration::ZERO).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_is_given_back_meanwhile_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = try_lock(&path).unwrap();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || lock_within(&path, Duration::from_secs(600)).unwrap().is_some()
        });
        drop(held);
        assert!(waiting.join().unwrap());
    }
}
