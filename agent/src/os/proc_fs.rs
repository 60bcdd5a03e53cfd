//! Reads files of `/proc` and `/sys`.
//!
//! A [`KeptFile`] stays open and is read from its start again each round: a third of the cost of opening it
//! anew. Missing is told apart from failing, since most sources are missing on some machine.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, pread, read, retry_on_intr};

/// Largest file that is read: `/proc/stat` of a machine with thousands of interrupts has a tenth of it.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Longest content of a `/sys` attribute; the kernel's own limit is a page.
const ATTRIBUTE_BYTES_MAX: usize = 4096;
/// Reads of a missing file that are answered without asking the machine again.
const MISSING_REST: u8 = 60;
/// A buffer with less room than this is enlarged before the next read.
const ROOM_BYTES_MIN: usize = 1024;

/// Why a file gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// This machine does not have it.
    #[error("there is no {path}")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened or read.
    #[error("cannot read {path}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not end.
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl ReadError {
    /// True when the machine has no such file.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

/// How the kernel hands a file out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In one piece: a read that does not fill the buffer was the last.
    Single,
    /// Record by record, a page at most at a time: only an empty read is the end.
    Records,
}

/// A file that is read again and again.
#[derive(Debug)]
pub struct KeptFile {
    path: PathBuf,
    layout: Layout,
    file: Option<OwnedFd>,
    /// Reads left that a missing file is not looked for again.
    rest: u8,
}

impl KeptFile {
    /// Opens nothing yet.
    pub fn new(path: impl Into<PathBuf>, layout: Layout) -> Self {
        Self { path: path.into(), layout, file: None, rest: 0 }
    }

    /// The file's whole content, in `buffer`.
    ///
    /// # Errors
    /// When it is missing, cannot be read or does not end.
    pub fn read<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], ReadError> {
        if self.rest > 0 {
            self.rest -= 1;
            return Err(ReadError::Missing { path: self.path.clone() });
        }
        let was_open = self.file.is_some();
        let mut done = self.read_once(buffer);
        if was_open && done.is_err() {
            // What it stood for may be gone and back, e.g. a module unloaded and loaded.
            done = self.read_once(buffer);
        }
        match done {
            Ok(true) => Ok(buffer),
            Ok(false) => Err(ReadError::TooLarge { path: self.path.clone() }),
            Err(errno) => Err(self.error(errno)),
        }
    }

    /// False when the file is too large.
    fn read_once(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Errno> {
        buffer.clear();
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        loop {
            if buffer.capacity() - buffer.len() < ROOM_BYTES_MIN {
                if buffer.len() >= FILE_BYTES_MAX {
                    return Ok(false);
                }
                buffer.reserve(buffer.len().max(ROOM_BYTES_MIN));
            }
            let room = buffer.capacity() - buffer.len();
            let offset = u64::try_from(buffer.len()).expect("a file length fits 64 bits");
            let count = retry_on_intr(|| pread(&file, spare_capacity(buffer), offset))?;
            if count == 0 || (self.layout == Layout::Single && count < room) {
                self.file = Some(file);
                return Ok(true);
            }
        }
    }

    fn error(&mut self, errno: Errno) -> ReadError {
        let path = self.path.clone();
        match errno {
            // The last is what pressure files say where the kernel was told not to keep them.
            Errno::NOENT | Errno::NOTDIR | Errno::OPNOTSUPP => {
                self.rest = MISSING_REST;
                ReadError::Missing { path }
            }
            errno => ReadError::Failed { path, source: errno.into() },
        }
    }
}

/// The content of a small file without the white space around it.
///
/// # Errors
/// What the machine says; also when it is no UTF-8.
pub fn read_attribute(path: &Path) -> io::Result<String> {
    let file = open(path)?;
    let mut content = Vec::with_capacity(64);
    while content.len() < ATTRIBUTE_BYTES_MAX {
        content.reserve(64);
        if retry_on_intr(|| read(&file, spare_capacity(&mut content)))? == 0 {
            break;
        }
    }
    let text =
        String::from_utf8(content).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(text.trim().to_owned())
}

/// Names in a folder that are UTF-8, in order, at most `max` of them.
///
/// # Errors
/// What the machine says.
pub fn names(path: &Path, max: usize) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for_each_name(path, |name| {
        if let Ok(name) = std::str::from_utf8(name) {
            names.push(name.to_owned());
        }
        names.len() < max
    })?;
    names.sort_unstable();
    Ok(names)
}

/// How many names in a folder are numbers: the processes of a `/proc`.
///
/// # Errors
/// What the machine says.
pub fn count_numbers(path: &Path) -> io::Result<u64> {
    let mut count = 0;
    for_each_name(path, |name| {
        count += u64::from(name.iter().all(u8::is_ascii_digit));
        true
    })?;
    Ok(count)
}

/// Where a link leads, with every link on the way followed.
///
/// # Errors
/// What the machine says.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// True when something of this name is there.
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Effective owner of a process, who owns its folder in `/proc`.
///
/// # Errors
/// What the machine says, e.g. that the process has ended.
pub fn owner(path: &Path) -> io::Result<u32> {
    Ok(rustix::fs::stat(path)?.st_uid)
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// Calls `visit` with each name but `.` and `..` until it says false.
fn for_each_name(path: &Path, mut visit: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let folder = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !visit(name) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_shows_what_it_holds_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stat");
        std::fs::write(&path, "one").unwrap();
        let mut file = KeptFile::new(&path, Layout::Records);
        let mut buffer = Vec::new();
        assert_eq!(file.read(&mut buffer).unwrap(), b"one");
        std::fs::write(&path, "two, longer").unwrap();
        assert_eq!(file.read(&mut buffer).unwrap(), b"two, longer");
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stat");
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &content).unwrap();
        for layout in [Layout::Single, Layout::Records] {
            assert_eq!(KeptFile::new(&path, layout).read(&mut Vec::new()).unwrap(), content);
        }
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = KeptFile::new("/dev/zero", Layout::Records).read(&mut Vec::new()).unwrap_err();
        assert!(matches!(error, ReadError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_missing_file_is_found_again_after_its_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stat");
        let mut file = KeptFile::new(&path, Layout::Single);
        assert!(file.read(&mut Vec::new()).unwrap_err().is_missing());
        std::fs::write(&path, "there").unwrap();
        for _ in 0..MISSING_REST {
            assert!(file.read(&mut Vec::new()).unwrap_err().is_missing());
        }
        assert_eq!(file.read(&mut Vec::new()).unwrap(), b"there");
    }

    #[test]
    fn only_names_that_are_numbers_count_as_processes() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1", "23", "self", "4x"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(count_numbers(folder.path()).unwrap(), 2);
        assert_eq!(names(folder.path(), 10).unwrap(), ["1", "23", "4x", "self"]);
    }
}
