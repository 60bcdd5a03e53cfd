//! Files of the operator: written whole or not at all, synced, secrets readable by their owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Mode of files that hold a secret.
pub const SECRET: u32 = 0o600;
/// Mode of other files.
pub const PUBLIC: u32 = 0o644;
/// Longest file that is read: keys, certificates and settings are far shorter.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is there already.
    #[error("{path} exists already and is not overwritten")]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// It is longer than such a file can be.
    #[error("{path} is longer than {FILE_BYTES_MAX} bytes; it cannot be what it should be")]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// It is not text.
    #[error("{path} is not UTF-8 text")]
    NotText {
        /// Which.
        path: PathBuf,
    },
}

/// Reads a small file.
///
/// # Errors
/// When it is not there, not readable, or too long.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let error = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(error)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(error)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(FileError::TooLong { path: path.to_owned() })
    }
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// When it is not there, not readable, or longer.
pub fn read_up_to(path: &Path, most: usize) -> Result<Vec<u8>, FileError> {
    let error = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(error)?;
    if bytes.len() > most {
        let text = format!("it is longer than {most} bytes");
        return Err(error(io::Error::new(io::ErrorKind::FileTooLarge, text)));
    }
    Ok(bytes)
}

/// Reads a small text file.
///
/// # Errors
/// As [`read`], and when it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path)?).map_err(|_| FileError::NotText { path: path.to_owned() })
}

/// Makes a folder and its parents, readable by their owner alone; one that exists stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_private_dir(path: &Path) -> Result<(), FileError> {
    let error = |source| FileError::Write { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(error)
}

/// Writes a file that must not exist yet.
///
/// # Errors
/// When it exists or cannot be written.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let staged = stage(path, bytes, mode)?;
    // A link, unlike a rename, fails when the name is taken.
    let linked = fs::hard_link(&staged, path);
    let removed = fs::remove_file(&staged);
    match linked.and(removed).and_then(|()| sync_folder(path)) {
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            Err(FileError::Exists { path: path.to_owned() })
        }
        Err(source) => Err(FileError::Write { path: path.to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

/// Writes a file, in place of the one that may be there.
///
/// # Errors
/// When it cannot be written; the old content is whole then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let staged = stage(path, bytes, mode)?;
    fs::rename(&staged, path)
        .and_then(|()| sync_folder(path))
        .map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Writes the bytes to a synced file beside `path`.
fn stage(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, FileError> {
    let error = |source| FileError::Write { path: path.to_owned(), source };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let staged = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(error)?;
    Ok(staged)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_new_file_never_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, b"first", SECRET).unwrap();
        assert!(matches!(write_new(&path, b"second", SECRET), Err(FileError::Exists { .. })));
        assert_eq!(read(&path).unwrap(), b"first");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SECRET);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_file_too_long_to_be_a_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(matches!(read(&path), Err(FileError::TooLong { .. })));
    }
}
