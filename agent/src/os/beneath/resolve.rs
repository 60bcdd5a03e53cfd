//! The way to a path: which links on it are followed.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, openat2, readlinkat,
};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::{BeneathError, Place, Root};

/// As many links as the kernel itself follows.
const LINKS_MAX: usize = 40;
/// `EAGAIN` means that something was renamed while a path was resolved: it is tried anew so often.
const ATTEMPTS_MAX: usize = 128;

/// Whether a link of `/proc` leads to an object of a process (`/proc/self/cwd`) and is no path.
fn is_magic(folder: BorrowedFd<'_>, part: &str) -> bool {
    if !fstatfs(folder).is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC) {
        return false;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    persistently(|| openat2(folder, part, flags, Mode::empty(), resolve)).err() == Some(Errno::LOOP)
}

/// Tries a resolution anew that met a rename.
pub(super) fn persistently<T>(mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 1..ATTEMPTS_MAX {
        match attempt() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    attempt()
}

impl Root {
    /// The folder of a path, opened, and the last part of it.
    pub(super) fn place(&self, path: &str) -> Result<Place, BeneathError> {
        let not_plain = || BeneathError::NotPlain(path.to_owned());
        let relative = path.strip_prefix('/').ok_or_else(not_plain)?;
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        if !relative.split('/').all(is_plain) {
            return Err(not_plain());
        }
        let (parent, name) = relative.rsplit_once('/').unwrap_or((".", relative));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened =
            persistently(|| openat2(&self.folder, parent, flags, Mode::empty(), self.resolve_flags()));
        let folder = match opened {
            Ok(folder) => folder,
            Err(Errno::LOOP) => self.walk(parent, path)?,
            Err(errno) => return Err(BeneathError::io("reach", path)(errno)),
        };
        Ok(Place { folder, name: name.to_owned(), path: path.to_owned(), resolve: self.resolve_flags() })
    }

    fn resolve_flags(&self) -> ResolveFlags {
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if self.may_cross_mounts { flags } else { flags | ResolveFlags::NO_XDEV }
    }

    /// Part by part: each is opened by itself, in a folder that is held open, so that nothing which is renamed
    /// meanwhile changes what was judged.
    fn walk(&self, parent: &str, path: &str) -> Result<OwnedFd, BeneathError> {
        let failed = || BeneathError::io("reach", path);
        let mut left: VecDeque<String> = parent.split('/').map(str::to_owned).collect();
        // Folders that were entered: `..` in a link's target goes back to where it came from, never above the root.
        let mut entered: Vec<(OwnedFd, String)> = Vec::new();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    entered.pop();
                    continue;
                }
                _ => {}
            }
            let folder = entered.last().map_or(self.folder.as_fd(), |(folder, _)| folder.as_fd());
            // With these, what is opened of a link is the link itself.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let next =
                persistently(|| openat2(folder, part.as_str(), flags, Mode::empty(), self.resolve_flags()))
                    .map_err(failed())?;
            let found = fstat(&next).map_err(failed())?;
            let shown = || {
                let names = entered.iter().map(|(_, name)| name.as_str());
                names.chain([part.as_str()]).fold(String::new(), |text, name| format!("{text}/{name}"))
            };
            match FileType::from_raw_mode(found.st_mode) {
                FileType::Directory => entered.push((next, part)),
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(BeneathError::Circle(path.to_owned()));
                    }
                    let around = fstat(folder).map_err(failed())?;
                    if !self.is_trusted(&found, &around) || is_magic(folder, &part) {
                        return Err(BeneathError::UntrustedLink { path: path.to_owned(), link: shown() });
                    }
                    let target = readlinkat(&next, "", Vec::new()).map_err(failed())?;
                    let target = target.into_string().map_err(|_| failed()(Errno::ILSEQ))?;
                    if target.starts_with('/') {
                        entered.clear();
                    }
                    for part in target.split('/').rev() {
                        left.push_front(part.to_owned());
                    }
                }
                _ => return Err(failed()(Errno::NOTDIR)),
            }
        }
        match entered.pop() {
            Some((folder, _)) => Ok(folder),
            None => fcntl_dupfd_cloexec(&self.folder, 0).map_err(failed()),
        }
    }

    /// Whether nobody but root and this process's user can have made this link, or can put another in its place.
    fn is_trusted(&self, link: &rustix::fs::Stat, folder: &rustix::fs::Stat) -> bool {
        let is_ours = |uid: u32| uid == 0 || uid == self.own_uid;
        is_ours(link.st_uid) && is_ours(folder.st_uid) && folder.st_mode & 0o022 == 0
    }
}
