//! Changes that become durable together.
//!
//! Syncing costs a turn of the disk however little it is about, and most of the time of whoever writes thousands of
//! files. So new content is written beside its place, all of it is synced at once, and only then takes its place; the
//! folders are synced at the end, each once. Who looks finds the old bytes of a file or the new, also after a power
//! cut; which of the files are new by then is not told before [`Batch::settle`] has returned.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Uid, chmod, chownat, fchmod, fchown, fstat, fsync, mkdirat, openat, renameat,
    symlinkat, syncfs, unlinkat,
};
use rustix::io::Errno;

use super::{BeneathError, NodeKind, Owned, Place, Root, Stat};

/// Files that wait beside their places at most: two descriptors each, of 1,024.
const STAGED_MAX: usize = 256;
/// With more on a file system, all of it is synced once. That also waits for what others wrote there, and fewer are
/// synced by themselves for it. It tells of content that could not be written since Linux 5.8.
const SYNCED_ONE_BY_ONE: usize = 16;

/// Changes beneath a root. What was neither settled nor finished may or may not be made; no attempt stays behind.
#[derive(Debug)]
pub struct Batch<'a> {
    root: &'a Root,
    staged: Vec<Staged>,
    unsynced: Unsynced,
}

/// Number of a file system, and of an inode of it.
type Identity = (u64, u64);

/// New content beside its place. Removed when it is dropped, unless it took its place before.
#[derive(Debug)]
struct Staged {
    place: Place,
    temporary: String,
    folder: Identity,
    file: OwnedFd,
    is_in_place: bool,
}

/// Folders in which something changed, by file system.
#[derive(Debug, Default)]
struct Unsynced(BTreeMap<u64, BTreeMap<u64, (OwnedFd, String)>>);

impl Root {
    /// Changes that become durable together.
    pub fn batch(&self) -> Batch<'_> {
        Batch { root: self, staged: Vec::new(), unsynced: Unsynced::default() }
    }
}

impl Batch<'_> {
    /// As [`Root::put`]. The file is in place at the latest when the batch is settled.
    ///
    /// # Errors
    /// When the folder is missing or the disk full; what was there is then as it was. Also of files before it.
    pub fn put(&mut self, path: &str, bytes: &[u8], owned: Owned) -> Result<(), BeneathError> {
        let place = self.root.place(path)?;
        place.check_replaceable()?;
        let (temporary, folder) = (place.temporary(), place.identity()?);
        let is_taken = |staged: &Staged| staged.folder == folder && staged.temporary == temporary;
        if self.staged.len() >= STAGED_MAX || self.staged.iter().any(is_taken) {
            self.put_in_place()?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(&place.folder, temporary.as_str(), flags, Mode::from_raw_mode(0o600));
        let file = place.anew(create)?;
        let mut staged = Staged { place, temporary, folder, file, is_in_place: false };
        staged.fill(bytes, owned)?;
        self.staged.push(staged);
        Ok(())
    }

    /// As [`Root::put_link`].
    ///
    /// # Errors
    /// When a folder is in its place, or its folder is missing. Also of files before it.
    pub fn put_link(&mut self, path: &str, target: &str) -> Result<(), BeneathError> {
        self.put_in_place()?;
        let place = self.root.place(path)?;
        place.check_replaceable()?;
        let temporary = place.temporary();
        place.anew(|| symlinkat(target, &place.folder, temporary.as_str()))?;
        if let Err(errno) = renameat(&place.folder, temporary.as_str(), &place.folder, place.name.as_str()) {
            // The attempt is worthless; that it cannot be removed changes nothing.
            unlinkat(&place.folder, temporary.as_str(), AtFlags::empty()).ok();
            return Err(BeneathError::io("put in place", path)(errno));
        }
        self.unsynced.note(&place)
    }

    /// As [`Root::make_directory`]. Files that wait beside their places go on waiting.
    ///
    /// # Errors
    /// When something is there, or its own folder is missing.
    pub fn make_directory(&mut self, path: &str, owned: Owned) -> Result<(), BeneathError> {
        let place = self.root.place(path)?;
        let failed = || BeneathError::io("make the folder", path);
        // Nobody else gets in before it belongs to whom it should.
        mkdirat(&place.folder, place.name.as_str(), Mode::from_raw_mode(0o700)).map_err(failed())?;
        let folder = place.open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed())?;
        let owned = Owned { mode: Some(owned.mode.unwrap_or(0o755)), ..owned };
        own(&folder, owned).map_err(failed())?;
        self.unsynced.note_folder(folder, path)?;
        self.unsynced.note(&place)
    }

    /// As [`Root::own`].
    ///
    /// # Errors
    /// When it is missing or of another kind. Also of files before it.
    pub fn own(&mut self, path: &str, owned: Owned) -> Result<(), BeneathError> {
        self.put_in_place()?;
        let place = self.root.place(path)?;
        let failed = || BeneathError::io("change mode and owner of", path);
        // Held by a handle that reads nothing: what is checked is what is changed, and no permission is needed.
        let held = place.open(OFlags::PATH).map_err(failed())?;
        let found = Stat::of(&fstat(&held).map_err(failed())?);
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
        self.unsynced.note(&place)
    }

    /// As [`Root::remove`].
    ///
    /// # Errors
    /// When it is a folder that is not empty. Also of files before it.
    pub fn remove(&mut self, path: &str) -> Result<(), BeneathError> {
        self.put_in_place()?;
        let place = match self.root.place(path) {
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
        self.unsynced.note(&place)
    }

    /// As [`Root::clear_attempt`]. What waits under the same name takes its place first.
    ///
    /// # Errors
    /// When its folder cannot be reached or written.
    pub fn clear_attempt(&mut self, path: &str) -> Result<(), BeneathError> {
        let place = match self.root.place(path) {
            Err(error) if error.is_missing() => return Ok(()),
            place => place?,
        };
        let temporary = place.temporary();
        if self.staged.iter().any(|staged| staged.temporary == temporary) {
            self.put_in_place()?;
        }
        match unlinkat(&place.folder, temporary.as_str(), AtFlags::empty()) {
            Ok(()) => self.unsynced.note(&place),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(BeneathError::io("clear the folder of", path)(errno)),
        }
    }

    /// True while new content of this path waits beside it.
    pub fn is_waiting(&self, path: &str) -> bool {
        self.staged.iter().any(|staged| staged.place.path == path)
    }

    /// Syncs what waits and has it take its place. Others see it from then on; that it is so is not durable yet.
    ///
    /// # Errors
    /// When the disk refuses; files before the one that is named may be in place.
    pub fn put_in_place(&mut self) -> Result<(), BeneathError> {
        let are_few = self.staged.len() <= SYNCED_ONE_BY_ONE;
        let mut synced = Vec::new();
        for staged in &self.staged {
            let failed = BeneathError::io("sync", &staged.place.path);
            if are_few {
                fsync(&staged.file).map_err(failed)?;
            } else if !synced.contains(&staged.folder.0) {
                syncfs(&staged.file).map_err(failed)?;
                synced.push(staged.folder.0);
            }
        }
        for mut staged in self.staged.drain(..) {
            let place = &staged.place;
            renameat(&place.folder, staged.temporary.as_str(), &place.folder, place.name.as_str())
                .map_err(BeneathError::io("put in place", &place.path))?;
            staged.is_in_place = true;
            self.unsynced.note_known(staged.folder, &staged.place)?;
        }
        Ok(())
    }

    /// Makes all of it durable. The batch may be used further.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn settle(&mut self) -> Result<(), BeneathError> {
        self.put_in_place()?;
        self.unsynced.sync()
    }
}

impl Place {
    /// One name for each path: what a kill leaves behind is found again.
    fn temporary(&self) -> String {
        format!(".campanile-{:08x}.new", crc32fast::hash(self.name.as_bytes()))
    }

    fn identity(&self) -> Result<Identity, BeneathError> {
        let found = fstat(&self.folder).map_err(BeneathError::io("look at the folder of", &self.path))?;
        Ok((found.st_dev, found.st_ino))
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
}

impl Staged {
    fn fill(&mut self, bytes: &[u8], owned: Owned) -> Result<(), BeneathError> {
        let owned = Owned { mode: Some(owned.mode.unwrap_or(0o644)), ..owned };
        let failed = |errno: Errno| BeneathError::io("write", &self.place.path)(errno);
        let mut left = bytes;
        while !left.is_empty() {
            match rustix::io::write(&self.file, left) {
                Ok(count) => left = &left[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        own(&self.file, owned).map_err(BeneathError::io("set mode and owner of", &self.place.path))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_in_place {
            // It is worthless; that it cannot be removed changes nothing.
            unlinkat(&self.place.folder, self.temporary.as_str(), AtFlags::empty()).ok();
        }
    }
}

impl Unsynced {
    /// Notes the folder of a place.
    fn note(&mut self, place: &Place) -> Result<(), BeneathError> {
        self.note_known(place.identity()?, place)
    }

    fn note_known(&mut self, (device, inode): Identity, place: &Place) -> Result<(), BeneathError> {
        let folders = self.0.entry(device).or_default();
        // So many are synced as one.
        if folders.len() > SYNCED_ONE_BY_ONE || folders.contains_key(&inode) {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(&place.folder, ".", flags, Mode::empty())
            .map_err(BeneathError::io("sync the folder of", &place.path))?;
        folders.insert(inode, (folder, place.path.clone()));
        Ok(())
    }

    fn note_folder(&mut self, folder: OwnedFd, path: &str) -> Result<(), BeneathError> {
        let found = fstat(&folder).map_err(BeneathError::io("look at", path))?;
        let folders = self.0.entry(found.st_dev).or_default();
        if folders.len() <= SYNCED_ONE_BY_ONE {
            folders.insert(found.st_ino, (folder, path.to_owned()));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), BeneathError> {
        for folders in std::mem::take(&mut self.0).into_values() {
            let are_few = folders.len() <= SYNCED_ONE_BY_ONE;
            for (folder, path) in folders.values() {
                let failed = BeneathError::io("sync the folder of", path);
                if are_few {
                    fsync(folder).map_err(failed)?;
                } else {
                    syncfs(folder).map_err(failed)?;
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Owner first: changing it drops set-id bits.
fn own(file: impl AsFd, owned: Owned) -> Result<(), Errno> {
    let (uid, gid) = (owned.uid.map(Uid::from_raw), owned.gid.map(Gid::from_raw));
    if uid.is_some() || gid.is_some() {
        fchown(&file, uid, gid)?;
    }
    owned.mode.map_or(Ok(()), |mode| fchmod(&file, Mode::from_raw_mode(mode)))
}
