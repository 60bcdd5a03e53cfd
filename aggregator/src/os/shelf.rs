//! A folder whose plain files are handed out, and nothing else in it.

#![expect(clippy::disallowed_methods, reason = "`os` is where files are touched")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use campanile_common::id::Digest;

/// Most files of a folder that are looked at.
const FILES_MAX: usize = 512;
/// How much is read at once.
const PIECE_BYTES: usize = 128 * 1024;

/// Tells whether a file is still the one whose digest was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Its length.
    pub size_bytes: u64,
}

/// The plain files in a folder; links lead nowhere.
///
/// # Errors
/// When the folder is not there or not readable.
pub fn list(folder: &Path) -> io::Result<Vec<(String, Stamp)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(FILES_MAX) {
        let entry = entry?;
        let found = entry.metadata()?;
        let (Ok(name), true) = (entry.file_name().into_string(), found.is_file()) else { continue };
        let stamp = Stamp {
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            size_bytes: found.len(),
        };
        files.push((name, stamp));
    }
    Ok(files)
}

/// All of a small text file.
///
/// # Errors
/// When it is not there, not readable, no text, or longer than `bytes_max`.
pub fn read_text(folder: &Path, name: &str, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = open(folder, name)?.file.take(bytes_max + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > bytes_max) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
    }
    Ok(text)
}

/// A file that is read piece by piece.
#[derive(Debug)]
pub struct Reader {
    file: File,
    size_bytes: u64,
}

impl Reader {
    /// Its length when it was opened.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The next piece from `at` on, before `end`; empty at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn piece(&self, at: u64, end: u64) -> io::Result<Vec<u8>> {
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE_BYTES);
        let mut piece = vec![0; left.min(PIECE_BYTES)];
        let read = self.file.read_at(&mut piece, at)?;
        piece.truncate(read);
        Ok(piece)
    }
}

/// Opens a plain file of the folder.
///
/// # Errors
/// When it is not there, no plain file, or not readable.
pub fn open(folder: &Path, name: &str) -> io::Result<Reader> {
    if name.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no name of a file"));
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(folder.join(name))?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no plain file"));
    }
    Ok(Reader { size_bytes: found.len(), file })
}

/// SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn digest(folder: &Path, name: &str) -> io::Result<Digest> {
    let reader = open(folder, name)?;
    let (mut context, mut at) = (ring::digest::Context::new(&ring::digest::SHA256), 0);
    loop {
        let piece = reader.piece(at, u64::MAX)?;
        if piece.is_empty() {
            break;
        }
        context.update(&piece);
        at += piece.len() as u64;
    }
    let digest: [u8; 32] = context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
    Ok(Digest::from_bytes(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::authority::sha256;

    #[test]
    fn links_and_folders_are_not_listed_and_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("file"), folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        let names: Vec<String> = list(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["file"]);
        assert!(open(folder.path(), "link").is_err() && open(folder.path(), "folder").is_err());
        assert!(open(folder.path(), "../etc/passwd").is_err() && open(folder.path(), "none").is_err());
    }

    #[test]
    fn a_file_of_several_pieces_is_read_whole_and_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0_u8..=250).cycle().take(3 * PIECE_BYTES + 7).collect();
        std::fs::write(folder.path().join("file"), &content).unwrap();
        assert_eq!(digest(folder.path(), "file").unwrap(), sha256(&[&content]));
        let reader = open(folder.path(), "file").unwrap();
        assert_eq!(reader.piece(5, 9).unwrap(), content[5..9]);
        assert!(reader.piece(reader.size_bytes(), u64::MAX).unwrap().is_empty());
    }
}
