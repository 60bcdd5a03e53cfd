//! Files beneath a root, reached and written so that no local user can lead the writer elsewhere.
//!
//! A path is resolved with `openat2`, beneath the root and without following links. Where it meets a link in its
//! parents (`/bin`, `/var/run`), it is walked part by part, and a link is followed only where nobody but root or this
//! process's user can have put it there: the link belongs to one of them, and so does its folder, which neither group
//! nor others may write. The target is read from the very link that was judged, and `..` never leads above the root.
//! The last part is never followed: a link there is read, replaced or removed itself.
//!
//! Content goes to a new file that is synced and then renamed, so a file holds its old bytes or its new ones, and
//! another name of the old file (a hard link) keeps the old.

mod batch;
mod resolve;
#[cfg(test)]
mod tests;
mod write;

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, open, openat2, readlinkat, statat};
use rustix::io::Errno;

pub use batch::Batch;

/// Most entries of a folder that are listed.
const ENTRIES_MAX: usize = 100_000;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a socket, a named pipe.
    Other,
}

impl NodeKind {
    const fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link,
            _ => Self::Other,
        }
    }

    /// In words, with an article.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Link => "a symbolic link",
            Self::Other => "a device, a socket or a named pipe",
        }
    }
}

/// What is known of a path without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits.
    pub mode: u32,
    /// Number of its user.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// Bytes.
    pub length: u64,
    /// Names that it has.
    pub links: u64,
    /// Number of its inode.
    pub inode: u64,
    /// Number of its file system.
    pub device: u64,
    /// When its content was changed, in seconds after 1970.
    pub modified_s: i64,
    /// When that, or its name, mode or owner was changed.
    pub changed_s: i64,
}

impl Stat {
    fn of(found: &rustix::fs::Stat) -> Self {
        Self {
            kind: NodeKind::of(FileType::from_raw_mode(found.st_mode)),
            mode: found.st_mode & 0o7777,
            uid: found.st_uid,
            gid: found.st_gid,
            length: u64::try_from(found.st_size).unwrap_or(0),
            links: found.st_nlink,
            inode: found.st_ino,
            device: found.st_dev,
            modified_s: found.st_mtime,
            changed_s: found.st_ctime,
        }
    }
}

/// Mode and owner by number, for what is made or changed; none leaves or takes what the kernel gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owned {
    /// Permission bits.
    pub mode: Option<u32>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// Why a path cannot be reached, read or written.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    /// Not an absolute path, or one with parts that lead elsewhere.
    #[error("`{0}` is no absolute path without `.`, `..` and empty parts")]
    NotPlain(String),
    /// A link that somebody else could have put there.
    #[error(
        "{path}: the link {link} on the way is not followed, for others than root may change it; give a path without it"
    )]
    UntrustedLink {
        /// The path that was asked for.
        path: String,
        /// The part that is a link.
        link: String,
    },
    /// More links than any honest path has.
    #[error("{0}: links lead in a circle")]
    Circle(String),
    /// It is of a kind for which this cannot be done.
    #[error("{path} is {}; {rule}", found.as_str())]
    Kind {
        /// Which.
        path: String,
        /// What it is.
        found: NodeKind,
        /// What to do.
        rule: &'static str,
    },
    /// It has other names, which would change with it.
    #[error(
        "{0} has other names (hard links), whose mode and owner would change with it; replace or remove it"
    )]
    HardLinks(String),
    /// Another file system begins on the way.
    #[error("{0} is on another file system, which is not to be crossed")]
    MountPoint(String),
    /// Longer than is read.
    #[error("{path} has more than {bytes_max} bytes")]
    TooLong {
        /// Which.
        path: String,
        /// How many may be read.
        bytes_max: usize,
    },
    /// The kernel lacks the call that all of this is built on.
    #[error("the kernel has no openat2: Linux 5.6 or newer is needed to configure a node")]
    Kernel,
    /// The kernel says no.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

impl BeneathError {
    fn io(what: &'static str, path: &str) -> impl FnOnce(Errno) -> Self {
        move |errno| match errno {
            Errno::NOSYS => Self::Kernel,
            Errno::XDEV => Self::MountPoint(path.to_owned()),
            errno => Self::Io { what, path: path.to_owned(), source: errno.into() },
        }
    }

    /// True where a part of the path is missing, or is no folder.
    pub fn is_missing(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    }

    /// With its causes, on one line.
    pub fn full_text(&self) -> String {
        let source = std::error::Error::source(self).map(|source| format!(": {source}"));
        format!("{self}{}", source.unwrap_or_default())
    }
}

/// A folder beneath which all paths lie, as `/` is for a process.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    path: PathBuf,
    own_uid: u32,
    may_cross_mounts: bool,
}

impl Root {
    /// Opens it. The path to it is followed as it stands: it comes from the settings.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(path: &Path) -> Result<Self, BeneathError> {
        let shown = path.display().to_string();
        let folder = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(BeneathError::io("open", &shown))?;
        let own_uid = rustix::process::geteuid().as_raw();
        Ok(Self { folder, path: path.to_owned(), own_uid, may_cross_mounts: true })
    }

    /// The same, that refuses whatever lies on another file system.
    #[must_use]
    pub fn within_its_file_system(self) -> Self {
        Self { may_cross_mounts: false, ..self }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a path is; none where nothing is there.
    ///
    /// # Errors
    /// When the way there is not safe, or cannot be searched.
    pub fn stat(&self, path: &str) -> Result<Option<Stat>, BeneathError> {
        let found = self.place(path).and_then(|place| place.stat());
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The whole content of a regular file.
    ///
    /// # Errors
    /// When it is none, is missing, or has more than `bytes_max` bytes.
    pub fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, BeneathError> {
        let place = self.place(path)?;
        // Before it is opened: opening a device or a pipe does something.
        place.check_kind(NodeKind::File, "only regular files are read")?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = place.open(flags).map_err(BeneathError::io("open", path))?;
        let found = rustix::fs::fstat(&file).map_err(BeneathError::io("look at", path))?;
        let kind = NodeKind::of(FileType::from_raw_mode(found.st_mode));
        if kind != NodeKind::File {
            let rule = "only regular files are read";
            return Err(BeneathError::Kind { path: path.to_owned(), found: kind, rule });
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        std::fs::File::from(file).take(limit).read_to_end(&mut bytes).map_err(|source| BeneathError::Io {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        if bytes.len() > bytes_max {
            return Err(BeneathError::TooLong { path: path.to_owned(), bytes_max });
        }
        Ok(bytes)
    }

    /// What a symbolic link points at, as it is written in it.
    ///
    /// # Errors
    /// When it is none, or its target no text.
    pub fn read_link(&self, path: &str) -> Result<String, BeneathError> {
        let place = self.place(path)?;
        let target = readlinkat(place.folder.as_fd(), place.name.as_str(), Vec::new());
        let target = target.map_err(BeneathError::io("read the link", path))?;
        target.into_string().map_err(|_| BeneathError::Io {
            what: "understand the link",
            path: path.to_owned(),
            source: io::ErrorKind::InvalidData.into(),
        })
    }

    /// Names in a folder, in order.
    ///
    /// # Errors
    /// When it is none, or holds too many.
    pub fn list(&self, path: &str) -> Result<Vec<String>, BeneathError> {
        let failed = || BeneathError::io("list", path);
        let folder = if path == "/" {
            openat2(
                &self.folder,
                ".",
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::BENEATH,
            )
            .map_err(failed())?
        } else {
            self.place(path)?.open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed())?
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() > ENTRIES_MAX {
                return Err(BeneathError::TooLong { path: path.to_owned(), bytes_max: ENTRIES_MAX });
            }
        }
        names.sort();
        Ok(names)
    }
}

/// A name in a folder that was reached safely.
#[derive(Debug)]
struct Place {
    folder: OwnedFd,
    name: String,
    path: String,
    resolve: ResolveFlags,
}

impl Place {
    fn stat(&self) -> Result<Stat, BeneathError> {
        let found = statat(&self.folder, self.name.as_str(), AtFlags::SYMLINK_NOFOLLOW);
        found.map(|found| Stat::of(&found)).map_err(BeneathError::io("look at", &self.path))
    }

    /// Opens what is there, never through a link.
    fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        resolve::persistently(|| {
            openat2(&self.folder, self.name.as_str(), flags, Mode::empty(), self.resolve)
        })
    }

    fn check_kind(&self, wanted: NodeKind, rule: &'static str) -> Result<Stat, BeneathError> {
        let stat = self.stat()?;
        if stat.kind == wanted {
            return Ok(stat);
        }
        Err(BeneathError::Kind { path: self.path.clone(), found: stat.kind, rule })
    }
}
