//! Durable writes of small files.

use std::fs::{File, OpenOptions, Permissions, rename};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::random;

/// Replaces a file as a whole: afterwards it holds the old bytes or the new, also after a power cut. Only its owner
/// may read it.
///
/// # Errors
/// When the folder is not writable or the disk full; the old file is then unchanged.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with_mode(path, bytes, 0o600)
}

/// As [`replace`], with these permissions whatever the umask.
///
/// # Errors
/// As [`replace`].
pub fn replace_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(bytes).and_then(|()| file.sync_all())
        })
        .and_then(|()| rename(&temporary, path));
    if written.is_err() {
        // What is left of the attempt is worthless; failing to remove it changes nothing.
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    sync_folder(path)
}

/// Makes a file that is not there yet: afterwards it is there as a whole, also after a power cut. Only its owner may
/// read it. Of several that make it at once, one succeeds.
///
/// # Errors
/// `AlreadyExists` when it is there already, and when the folder is not writable or the disk full.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{:016x}.new", random::number()));
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::hard_link(&temporary, path));
    // The name of the attempt is worthless, whatever came of it.
    drop(std::fs::remove_file(&temporary));
    made?;
    sync_folder(path)
}

/// All of a small secret file; none when it is not there.
///
/// # Errors
/// When it is unreadable or longer than `bytes_max`.
pub fn read_secret(path: &Path, bytes_max: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(bytes_max).unwrap_or(0)));
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > bytes_max) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is longer than {bytes_max} bytes"),
        ));
    }
    Ok(Some(bytes))
}

/// Makes a rename or a new file in the folder of `path` durable.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Tells whether a file is still the one that was read: nothing is hashed, nothing opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    /// Length in bytes.
    pub size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Permission bits.
    pub mode: u32,
    /// Who owns it.
    pub uid: u32,
}

/// The stamp of a file, or of the one that a link leads to; none when it is not there.
///
/// # Errors
/// When its folder cannot be searched.
pub fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
        mode: found.mode() & 0o7777,
        uid: found.uid(),
    }))
}
