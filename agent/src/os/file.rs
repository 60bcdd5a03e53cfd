//! Durable writes of small files.

use std::fs::{File, OpenOptions, Permissions, rename};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::random;

/// Room for a secret whose file does not say how long it is.
const ROOM_MIN: u64 = 1024;

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
    // As much as it seems to need: all of it is wiped in the end, used or not. Nothing grows in place, which would leave a copy.
    let mut room = file.metadata()?.len().clamp(ROOM_MIN, ROOM_MIN.max(bytes_max)) + 1;
    let mut bytes = Zeroizing::new(Vec::new());
    loop {
        let mut wider = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or(usize::MAX)));
        wider.extend_from_slice(&bytes);
        bytes = wider;
        (&file).take(room - bytes.len() as u64).read_to_end(&mut bytes)?;
        let length = bytes.len() as u64;
        if length > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it is longer than {bytes_max} bytes"),
            ));
        }
        if length < room {
            break;
        }
        room = room.saturating_mul(2).min(bytes_max + 1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_takes_the_room_of_its_file_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(read_secret(&path, 16 << 20).unwrap().is_none());
        replace(&path, b"open sesame").unwrap();
        let read = read_secret(&path, 16 << 20).unwrap().unwrap();
        assert_eq!(&read[..], b"open sesame");
        assert!(read.capacity() <= 2048, "all of it is wiped: {}", read.capacity());
        let long = vec![7; 100_000];
        replace(&path, &long).unwrap();
        assert_eq!(&read_secret(&path, 100_000).unwrap().unwrap()[..], long);
    }

    #[test]
    fn a_secret_that_is_too_long_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        replace(&path, b"12345").unwrap();
        assert!(read_secret(&path, 5).unwrap().is_some());
        assert!(read_secret(&path, 4).unwrap_err().to_string().contains("longer than 4 bytes"));
    }

    #[test]
    fn a_file_that_does_not_say_how_long_it_is_is_read_whole() {
        let path = Path::new("/proc/self/smaps");
        assert_eq!(path.metadata().unwrap().len(), 0);
        let read = read_secret(path, 16 << 20).unwrap().unwrap();
        assert!(read.len() > 8000 && read.ends_with(b"\n"), "{}", read.len());
        assert!(read_secret(path, 5000).is_err());
    }
}
