//! Small files that only their owner reads, and the lock on the state folder.

#![expect(clippy::disallowed_methods, reason = "`os` is where files are touched")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::random;

/// In a state folder from which an aggregator serves, or once did.
const LOCK_FILE: &str = "aggregator.lock";

/// Reads 32 secret bytes, or makes them at the first start. They are durable before they are used.
///
/// # Errors
/// When the file is unreadable, of another length or cannot be written.
pub fn secret(path: &Path) -> io::Result<[u8; 32]> {
    match std::fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|bytes: Vec<u8>| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("holds {} bytes instead of 32; restore it from a self-backup", bytes.len()),
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = random::bytes();
            write_durably(path, &bytes)?;
            Ok(bytes)
        }
        Err(error) => Err(error),
    }
}

/// Writes a file that only its owner may read, so that it is there whole after a crash, or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// True while an aggregator serves from the folder. Makes nothing.
pub fn is_locked(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join(LOCK_FILE)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

/// Held while an aggregator serves from a state folder.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the folder; none when another aggregator serves from it.
///
/// # Errors
/// When the folder is not accessible.
pub fn lock(folder: &Path) -> io::Result<Option<Lock>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join(LOCK_FILE))?;
    Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| Lock { _file: file }))
}

/// Who serves from a state folder.
#[derive(Debug)]
pub enum Hold {
    /// Nobody, and nobody begins to while this is held. There is no lock where nobody ever served.
    Free {
        /// The lock.
        lock: Option<Lock>,
    },
    /// An aggregator.
    Served,
}

/// Keeps aggregators from the folder, unless one serves from it. Makes no file: whoever asks may be another user.
///
/// # Errors
/// When the folder is not accessible.
pub fn hold(folder: &Path) -> io::Result<Hold> {
    let file = match OpenOptions::new().write(true).open(folder.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Hold::Free { lock: None }),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Hold::Free { lock: Some(Lock { _file: file }) }),
        Err(_) => Ok(Hold::Served),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_from_which_an_aggregator_serves_is_told_from_a_free_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(hold(folder.path()).unwrap(), Hold::Free { lock: None }));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let serving = lock(folder.path()).unwrap().unwrap();
        assert!(matches!(hold(folder.path()).unwrap(), Hold::Served));
        drop(serving);
        let Hold::Free { lock: Some(held) } = hold(folder.path()).unwrap() else { panic!("nobody serves") };
        assert!(lock(folder.path()).unwrap().is_none(), "nobody begins to serve meanwhile");
        drop(held);
    }
}
