//! Writing: whole files and links that take the place of what was there in one step, made durable.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Uid, chmod, chownat, fchmod, fchown, fsync, mkdirat, openat, renameat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::{BeneathError, NodeKind, Owned, Place, Root};

impl Root {
    /// Puts a regular file in place, whole: whoever looks finds the old bytes or the new, also after a power cut.
    /// Takes the place of a file or a link, never of a folder, and is always a new inode.
    ///
    /// # Errors
    /// When the folder is missing or the disk full; what was there is then as it was.
    pub fn put(&self, path: &str, bytes: &[u8], owned: Owned) -> Result<(), BeneathError> {
        let place = self.place(path)?;
        place.check_replaceable()?;
        let temporary = place.temporary();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(&place.folder, temporary.as_str(), flags, Mode::from_raw_mode(0o600));
        let file = place.anew(create)?;
        let written = place.fill(file, bytes, owned).and_then(|()| {
            renameat(&place.folder, temporary.as_str(), &place.folder, place.name.as_str())
                .map_err(BeneathError::io("put in place", path))
        });
        place.finish(written)
    }

    /// Makes a symbolic link, or puts it in the place of a file or another link.
    ///
    /// # Errors
    /// When a folder is in its place, or its folder is missing.
    pub fn put_link(&self, path: &str, target: &str) -> Result<(), BeneathError> {
        let place = self.place(path)?;
        place.check_replaceable()?;
        let temporary = place.temporary();
        place.anew(|| symlinkat(target, &place.folder, temporary.as_str()))?;
        let written = renameat(&place.folder, temporary.as_str(), &place.folder, place.name.as_str())
            .map_err(BeneathError::io("put in place", path));
        place.finish(written)
    }

    /// Makes a folder that is not there.
    ///
    /// # Errors
    /// When something is there, or its own folder is missing.
    pub fn make_directory(&self, path: &str, owned: Owned) -> Result<(), BeneathError> {
        let place = self.place(path)?;
        let failed = || BeneathError::io("make the folder", path);
        // Nobody else gets in before it belongs to whom it should.
        mkdirat(&place.folder, place.name.as_str(), Mode::from_raw_mode(0o700)).map_err(failed())?;
        let folder = place.open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed())?;
        let owned = Owned { mode: Some(owned.mode.unwrap_or(0o755)), ..owned };
        own(&folder, owned).map_err(failed())?;
        fsync(&folder).map_err(failed())?;
        place.sync()
    }

    /// Changes mode and owner of a file or folder, never of what a link leads to, nor of a file with other names.
    ///
    /// # Errors
    /// When it is missing or of another kind.
    pub fn own(&self, path: &str, owned: Owned) -> Result<(), BeneathError> {
        let place = self.place(path)?;
        let failed = || BeneathError::io("change mode and owner of", path);
        // Held by a handle that reads nothing: what is checked is what is changed, and no permission is needed.
        let held = place.open(OFlags::PATH).map_err(failed())?;
        let found = super::Stat::of(&rustix::fs::fstat(&held).map_err(failed())?);
        match found.kind {
            NodeKind::Directory => {}
            NodeKind::File if found.links == 1 => {}
            NodeKind::File => return Err(BeneathError::HardLinks(path.to_owned())),
            NodeKind::Link | NodeKind::Other => {
                let rule = "mode and owner are changed of files and folders";
                return Err(BeneathError::Kind { path: path.to_owned(), found: found.kind, rule });
            }
        }
        let (uid, gid) = (owned.uid.map(Uid::from_raw), owned.gid.map(Gid::from_raw));
        if uid.is_some() || gid.is_some() {
            chownat(&held, "", uid, gid, AtFlags::EMPTY_PATH).map_err(failed())?;
        }
        // The kernel drops set-id bits when the owner changes: the mode comes after, and as it was where none is given.
        let mode = owned.mode.unwrap_or(found.mode);
        chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), Mode::from_raw_mode(mode)).map_err(failed())?;
        place.sync()
    }

    /// Removes a file, a link, or an empty folder. That it is gone already is no error.
    ///
    /// # Errors
    /// When it is a folder that is not empty.
    pub fn remove(&self, path: &str) -> Result<(), BeneathError> {
        let place = match self.place(path) {
            Err(error) if error.is_missing() => return Ok(()),
            place => place?,
        };
        let failed = || BeneathError::io("remove", path);
        match unlinkat(&place.folder, place.name.as_str(), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) if place.stat()?.kind == NodeKind::Directory => {
                unlinkat(&place.folder, place.name.as_str(), AtFlags::REMOVEDIR).map_err(failed())?;
            }
            Err(errno) => return Err(failed()(errno)),
        }
        place.sync()
    }

    /// Removes what a killed process left of its attempt to write this path.
    ///
    /// # Errors
    /// When its folder cannot be reached or written.
    pub fn clear_attempt(&self, path: &str) -> Result<(), BeneathError> {
        let place = match self.place(path) {
            Err(error) if error.is_missing() => return Ok(()),
            place => place?,
        };
        match unlinkat(&place.folder, place.temporary().as_str(), AtFlags::empty()) {
            Ok(()) => place.sync(),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(BeneathError::io("clear the folder of", path)(errno)),
        }
    }
}

impl Place {
    /// One name for each path: what a kill leaves behind is found again.
    fn temporary(&self) -> String {
        format!(".campanile-{:08x}.new", crc32fast::hash(self.name.as_bytes()))
    }

    fn check_replaceable(&self) -> Result<(), BeneathError> {
        match self.stat() {
            Ok(stat) if stat.kind == NodeKind::Directory => {
                let rule = "a file or link cannot take its place; remove it first";
                Err(BeneathError::Kind { path: self.path.clone(), found: stat.kind, rule })
            }
            Err(error) if !error.is_missing() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Creates something under the temporary name, without what an earlier attempt may have left there.
    fn anew<T>(&self, mut create: impl FnMut() -> Result<T, Errno>) -> Result<T, BeneathError> {
        let created = match create() {
            Err(Errno::EXIST) => {
                // Gone by now, or not removable: the second attempt tells.
                unlinkat(&self.folder, self.temporary().as_str(), AtFlags::empty()).ok();
                create()
            }
            created => created,
        };
        created.map_err(BeneathError::io("write beside", &self.path))
    }

    fn fill(&self, file: OwnedFd, bytes: &[u8], owned: Owned) -> Result<(), BeneathError> {
        let owned = Owned { mode: Some(owned.mode.unwrap_or(0o644)), ..owned };
        let mut file = std::fs::File::from(file);
        file.write_all(bytes).map_err(|source| BeneathError::Io {
            what: "write",
            path: self.path.clone(),
            source,
        })?;
        own(file.as_fd(), owned).map_err(BeneathError::io("set mode and owner of", &self.path))?;
        fsync(&file).map_err(BeneathError::io("sync", &self.path))
    }

    /// After a failure the attempt is removed; after success the folder is synced.
    fn finish(&self, written: Result<(), BeneathError>) -> Result<(), BeneathError> {
        if written.is_err() {
            // It is worthless; that it cannot be removed changes nothing.
            unlinkat(&self.folder, self.temporary().as_str(), AtFlags::empty()).ok();
        }
        written.and_then(|()| self.sync())
    }

    fn sync(&self) -> Result<(), BeneathError> {
        let failed = || BeneathError::io("sync the folder of", &self.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(&self.folder, ".", flags, Mode::empty()).map_err(failed())?;
        fsync(&folder).map_err(failed())
    }
}

/// Owner first: changing it drops set-id bits.
fn own(file: impl std::os::fd::AsFd, owned: Owned) -> Result<(), Errno> {
    let (uid, gid) = (owned.uid.map(Uid::from_raw), owned.gid.map(Gid::from_raw));
    if uid.is_some() || gid.is_some() {
        fchown(&file, uid, gid)?;
    }
    owned.mode.map_or(Ok(()), |mode| fchmod(&file, Mode::from_raw_mode(mode)))
}
