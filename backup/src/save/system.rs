//! Every touch of the file system by a save: folders, details, content. Nothing here follows a link, but on the way to
//! a root; names are looked up within an open folder, so that no path is too long.

#![expect(clippy::disallowed_methods, reason = "this is where a save reads files and the clock")]

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, RawDir, SeekFrom, Stat};
use rustix::io::Errno;
use rustix::time::ClockId;

use super::owner::Owners;
use crate::chunker::Source;
use crate::tree::{Attribute, FileTime};

/// Of names asked for at a time.
const FOLDER_BYTES: usize = 32 << 10;
/// The kernel allows no longer list of attributes, and no longer value.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;
/// Enough for the attributes of nearly all files.
const ATTRIBUTE_BYTES: usize = 1 << 10;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What the kernel says about an entry of a folder, without following it.
pub(super) fn stat_entry(folder: &OwnedFd, name: &OsStr) -> io::Result<Stat> {
    Ok(fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// What the kernel says about an open file or folder.
pub(super) fn stat_open(open: impl AsFd) -> io::Result<Stat> {
    Ok(fs::fstat(open)?)
}

/// `/` itself.
pub(super) fn open_root() -> io::Result<OwnedFd> {
    Ok(fs::openat(CWD, "/", FOLDER, Mode::empty())?)
}

/// A folder on the way to a root: it need not be readable, and may be reached by a link.
pub(super) fn open_way(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::openat(folder, name, flags, Mode::empty())?)
}

/// A folder that is saved.
pub(super) fn open_folder(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    open_quietly(folder, name, FOLDER | OFlags::NOFOLLOW)
}

/// A file, without waiting for whoever may be at its other end.
pub(super) fn open_file(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open_quietly(folder, name, flags)
}

/// Without a trace in the time of last access, where that is allowed.
fn open_quietly(folder: &OwnedFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    match fs::openat(folder, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(fs::openat(folder, name, flags, Mode::empty())?),
        opened => Ok(opened?),
    }
}

/// The folder that holds an open one.
pub(super) fn open_parent(folder: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(fs::openat(folder, "..", FOLDER, Mode::empty())?)
}

/// The names in a folder, by their bytes.
pub(super) fn names(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut buffer = Vec::with_capacity(FOLDER_BYTES);
    let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Where a link leads.
pub(super) fn read_link(folder: &OwnedFd, name: &OsStr) -> io::Result<OsString> {
    Ok(OsString::from_vec(fs::readlinkat(folder, name, Vec::new())?.into_bytes()))
}

/// Extended attributes of an open file or folder. A file system without them has none.
pub(super) fn attributes(open: &OwnedFd) -> io::Result<Vec<Attribute>> {
    collect(|buffer| fs::flistxattr(open, buffer), |name, buffer| fs::fgetxattr(open, name, buffer))
}

/// Extended attributes of what [`open_way`] opened.
pub(super) fn attributes_of_way(open: &OwnedFd) -> io::Result<Vec<Attribute>> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    present(collect(|buffer| fs::listxattr(&path, buffer), |name, buffer| fs::getxattr(&path, name, buffer)))
}

/// Extended attributes of an entry that cannot be opened: a link, a pipe, a device.
pub(super) fn attributes_of_entry(folder: &OwnedFd, name: &OsStr) -> io::Result<Vec<Attribute>> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    path.push(name);
    present(collect(
        |buffer| fs::llistxattr(&path, buffer),
        |name, buffer| fs::lgetxattr(&path, name, buffer),
    ))
}

/// Without /proc there is no way to them.
fn present(collected: io::Result<Vec<Attribute>>) -> io::Result<Vec<Attribute>> {
    match collected {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        collected => collected,
    }
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&CString, &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<Attribute>> {
    let mut attributes = Vec::new();
    let names = match filled(list) {
        Ok(names) => names,
        Err(Errno::NOTSUP | Errno::PERM) => return Ok(attributes),
        Err(error) => return Err(error.into()),
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let c_name = CString::new(name).expect("split at zeros");
        match filled(|buffer| get(&c_name, buffer)) {
            Ok(value) => {
                attributes.push(Attribute { name: String::from_utf8_lossy(name).into_owned(), value });
            }
            // Gone since it was listed, or readable for the kernel alone.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    attributes.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(attributes)
}

/// What a call writes into a buffer, which is made larger once when it is too small.
fn filled(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; ATTRIBUTE_BYTES];
    match call(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; ATTRIBUTE_BYTES_MAX];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}

/// The content of a file. Holes are passed over without being read.
#[derive(Debug)]
pub(super) struct Content {
    file: File,
    position: u64,
    /// Up to where no content is known to be; not asked again before.
    hole_end: u64,
    /// From `hole_end` up to here there is content.
    content_end: u64,
}

impl Content {
    /// Of an open file. `has_holes` when fewer blocks belong to it than its size needs.
    pub(super) fn new(file: OwnedFd, has_holes: bool) -> Self {
        // Without holes, content goes on for as long as there is any.
        let content_end = if has_holes { 0 } else { u64::MAX };
        Self { file: File::from(file), position: 0, hole_end: 0, content_end }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    fn look(&mut self) -> io::Result<()> {
        if self.position < self.content_end {
            return Ok(());
        }
        match fs::seek(&self.file, SeekFrom::Data(self.position)) {
            Ok(start) => {
                self.hole_end = start;
                self.content_end = fs::seek(&self.file, SeekFrom::Hole(start))?;
            }
            // Nothing but a hole up to the end, wherever that is by now.
            Err(Errno::NXIO) => {
                self.hole_end = fs::fstat(&self.file)?.st_size.try_into().unwrap_or(0);
                self.content_end = self.hole_end;
            }
            Err(Errno::INVAL | Errno::NOTSUP) => self.content_end = u64::MAX,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.look()?;
        let within = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
        let length = if self.position < self.hole_end {
            let length = within(self.hole_end - self.position);
            buffer[..length].fill(0);
            length
        } else {
            // At the end of the file both are the same; what was appended since is still read.
            let left = self.content_end.saturating_sub(self.position);
            let length = if left == 0 { buffer.len() } else { within(left) };
            self.file.read_at(&mut buffer[..length], self.position)?
        };
        self.position += length as u64;
        Ok(length)
    }
}

impl Source for Content {
    fn zeros(&mut self) -> io::Result<u64> {
        self.look()?;
        Ok(self.hole_end.saturating_sub(self.position))
    }

    fn skip(&mut self, bytes: u64) {
        self.position += bytes;
    }
}

/// The first bytes of a file in a folder, as many as fit; none when it cannot be read.
pub(super) fn file_starts_with(folder: &OwnedFd, name: &OsStr, header: &[u8]) -> bool {
    let Ok(file) = open_file(folder, name) else { return false };
    let mut start = vec![0; header.len()];
    File::from(file).read_exact_at(&mut start, 0).is_ok() && start == header
}

/// The names of this machine's users and groups; none where its files cannot be read.
pub(super) fn owners() -> Owners {
    let text = |path| std::fs::read(Path::new(path)).unwrap_or_default();
    Owners::parse(&text("/etc/passwd"), &text("/etc/group"))
}

/// The clock that file systems take their times from: it moves once in a few milliseconds.
pub(super) fn file_clock() -> FileTime {
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    FileTime { seconds: now.tv_sec, nanoseconds: now.tv_nsec.try_into().unwrap_or(0) }
}

/// The time.
pub(super) fn now() -> FileTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    FileTime {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: since.subsec_nanos(),
    }
}

/// The file system that a root is on; none when it is not there.
pub(super) fn device(root: &Path) -> Option<u64> {
    fs::statat(CWD, root, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| stat.st_dev)
}
