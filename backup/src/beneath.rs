//! Writing below a folder without ever leaving it, whoever else may write there.
//!
//! A folder is reached from the root by `openat2`, beneath it and through no link. What is in a folder is named by one
//! part and never followed. Something new gets a temporary name, one and the same for each name, so that what a killed
//! run left is found and replaced; when it is whole it is renamed.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, open, openat2, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::id::ObjectId;

/// `EAGAIN` means that something was renamed while a path was resolved: it is tried anew so often.
const ATTEMPTS_MAX: usize = 128;
/// A longer path is resolved in pieces, for the kernel takes none of 4,096 bytes.
const PIECE_BYTES_MAX: usize = 2048;
/// As deep as a folder that is to be removed may be: one handle is held for each level.
const REMOVED_DEPTH_MAX: usize = 512;
const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A folder that nothing leads out of.
#[derive(Debug)]
pub(crate) struct Root {
    folder: OwnedFd,
}

impl Root {
    /// Opens it. The path to it is followed as it stands: it is the caller's.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let folder = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // Says at once when the kernel lacks the call.
        open_in(&folder, OsStr::new("."), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { folder })
    }

    /// The folder at `path`, which is relative; to name what is in it, or with `OFlags::RDONLY` to list and change it.
    pub(crate) fn folder(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let way = OFlags::PATH | OFlags::DIRECTORY;
        let mut rest = path.as_os_str().as_bytes();
        let mut at: Option<OwnedFd> = None;
        while rest.len() > PIECE_BYTES_MAX {
            let cut = rest[..PIECE_BYTES_MAX].iter().rposition(|byte| *byte == b'/');
            let cut = cut.ok_or(Errno::NAMETOOLONG)?;
            let from = at.as_ref().map_or(self.folder.as_fd(), AsFd::as_fd);
            at = Some(open_in(from, OsStr::from_bytes(&rest[..cut]), way, Mode::empty())?);
            rest = &rest[cut + 1..];
        }
        let from = at.as_ref().map_or(self.folder.as_fd(), AsFd::as_fd);
        let last = if rest.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(rest) };
        open_in(from, last, flags | OFlags::DIRECTORY, Mode::empty())
    }
}

/// Holds the folder that was reached last: what follows is mostly in the same one.
#[derive(Debug, Default)]
pub(crate) struct LastFolder(Option<(Arc<Path>, OwnedFd)>);

impl LastFolder {
    /// The folder at `path`, to name what is in it.
    pub(crate) fn reach(&mut self, root: &Root, path: &Arc<Path>) -> Result<&OwnedFd, Errno> {
        if !self.0.as_ref().is_some_and(|(last, _)| Arc::ptr_eq(last, path) || last == path) {
            self.0 = Some((path.clone(), root.folder(path, OFlags::PATH)?));
        }
        self.0.as_ref().map(|(_, folder)| folder).ok_or(Errno::BADF)
    }

    /// Forgets it: something else may be at its path now.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

/// Opens what is in a folder, never through a link.
pub(crate) fn open_in(folder: impl AsFd, name: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 1..ATTEMPTS_MAX {
        match openat2(&folder, name, flags, mode, RESOLVE) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    openat2(&folder, name, flags, mode, RESOLVE)
}

/// What is in a folder under a name; none when nothing is.
pub(crate) fn stat_in(folder: impl AsFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The temporary name for a name.
pub(crate) fn temporary(name: &OsStr) -> OsString {
    let id = ObjectId::of(name.as_bytes());
    format!(".campanile-restore-{}", HEXLOWER.encode(&id.0[..8])).into()
}

/// Makes something under the temporary name, without what an earlier run may have left there.
pub(crate) fn make_anew<T>(
    folder: impl AsFd,
    temporary: &OsStr,
    mut make: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match make() {
        Err(Errno::EXIST) => {
            remove_one(folder, temporary)?;
            make()
        }
        made => made,
    }
}

/// Gives what has the temporary name its real one, in the place of what is there; of nothing, unless `may_replace`.
pub(crate) fn put_in_place(
    folder: impl AsFd,
    temporary: &OsStr,
    name: &OsStr,
    may_replace: bool,
) -> Result<(), Errno> {
    if may_replace {
        return renameat(&folder, temporary, &folder, name);
    }
    match renameat_with(&folder, temporary, &folder, name, RenameFlags::NOREPLACE) {
        // Some file systems cannot do it in one step.
        Err(Errno::INVAL | Errno::NOSYS) => match stat_in(&folder, name)? {
            Some(_) => Err(Errno::EXIST),
            None => renameat(&folder, temporary, &folder, name),
        },
        renamed => renamed,
    }
}

/// Removes a file, a link or an empty folder; nothing there is no error.
pub(crate) fn remove_one(folder: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let removed = match unlinkat(&folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => unlinkat(&folder, name, AtFlags::REMOVEDIR),
        removed => removed,
    };
    match removed {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

/// Removes a folder with all that is in it, as far as the same file system reaches, and tells how many entries.
pub(crate) fn remove_all(folder: impl AsFd, name: &OsStr) -> Result<u64, Errno> {
    match unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::NOENT) => return Ok(0),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(errno),
    }
    let device = stat_in(&folder, name)?.map(|stat| stat.st_dev);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut removed = 0;
    // Folders that are being emptied, each with what is still in it.
    let first = open_in(&folder, name, flags, Mode::empty())?;
    let mut levels = vec![(names(&first)?, first, name.to_owned())];
    loop {
        let depth = levels.len();
        let Some((left, opened, _)) = levels.last_mut() else { break };
        if let Some(next) = left.pop() {
            match unlinkat(&*opened, &next, AtFlags::empty()) {
                Ok(()) => removed += 1,
                Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) if depth >= REMOVED_DEPTH_MAX => return Err(Errno::NAMETOOLONG),
                Err(Errno::ISDIR) => {
                    if stat_in(&*opened, &next)?.map(|stat| stat.st_dev) != device {
                        return Err(Errno::XDEV);
                    }
                    let inner = open_in(&*opened, &next, flags, Mode::empty())?;
                    levels.push((names(&inner)?, inner, next));
                }
                Err(errno) => return Err(errno),
            }
            continue;
        }
        let Some((_, _, emptied)) = levels.pop() else { break };
        let parent = levels.last().map_or(folder.as_fd(), |(_, parent, _)| parent.as_fd());
        unlinkat(parent, &emptied, AtFlags::REMOVEDIR)?;
        removed += 1;
    }
    Ok(removed)
}

/// Names in a folder that was opened to be read, in no order.
pub(crate) fn names(folder: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// What a `stat` is of.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests;
