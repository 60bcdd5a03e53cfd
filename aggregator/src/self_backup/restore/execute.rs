//! Reads a backup into a folder beside the state folder, and puts that in its place.
//!
//! A kill leaves the folder beside, which the next attempt removes, and never half a state folder.

#![expect(clippy::disallowed_methods, reason = "an edge: a state folder is files")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use campanile_common::id::NodeId;
use zeroize::Zeroizing;

use super::super::archive::{Archive, ArchiveError};
use super::super::key::Identities;
use super::super::manifest::Manifest;
use super::super::{RECEIPTS_DIR, RECEIPTS_FILE};
use super::{Receipts, RestoreError};

/// A backup that was read and compared, beside the place it is for. Dropped, it is removed.
#[derive(Debug)]
pub struct Staged {
    manifest: Manifest,
    folder: PathBuf,
    state_dir: PathBuf,
    store: StorePlace,
    is_placed: bool,
}

/// Where the store of the nodes' backups is.
#[derive(Debug, Clone)]
enum StorePlace {
    /// In the state folder, under this path.
    Within(PathBuf),
    /// In a folder of its own, which may have survived.
    Apart(PathBuf),
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::File { doing, path, source }
}

/// Reads the identities in a file.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn read_identities(path: &Path) -> Result<Identities, RestoreError> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed("read", path))?);
    Identities::parse(&text).map_err(|source| RestoreError::Key { path: path.to_owned(), source })
}

/// Reads all of a backup and compares it with its manifest; writes nothing.
///
/// # Errors
/// When it is damaged, of a later format, or made for others.
pub fn check(path: &Path, identities: &Identities) -> Result<Manifest, RestoreError> {
    let file = File::open(path).map_err(failed("read", path))?;
    let checked = (|| {
        let (manifest, mut archive) = Archive::open(file, identities)?;
        for entry in &manifest.files {
            archive.file(entry, &mut io::sink())?;
        }
        archive.finish()?;
        Ok(manifest)
    })();
    checked.map_err(|source| RestoreError::Archive { path: path.to_owned(), source })
}

/// Reads a backup into a folder beside `state_dir`, which must be absent or empty. `backup_dir` is the store of the nodes'
/// backups.
///
/// # Errors
/// When the backup cannot be used, there is a state already, or the disk refuses.
pub fn unpack(
    path: &Path,
    identities: &Identities,
    state_dir: &Path,
    backup_dir: &Path,
) -> Result<Staged, RestoreError> {
    let is_empty = match fs::read_dir(state_dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(failed("read", state_dir)(error)),
    };
    if !is_empty {
        return Err(RestoreError::NotEmpty { path: state_dir.to_owned() });
    }
    let store = match backup_dir.strip_prefix(state_dir) {
        Ok(within) => StorePlace::Within(within.to_owned()),
        Err(_) if backup_dir.is_dir() => StorePlace::Apart(backup_dir.to_owned()),
        Err(_) => return Err(RestoreError::NoStore { path: backup_dir.to_owned() }),
    };
    let folder = beside(state_dir);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &folder)(error));
        }
        _ => {}
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed("make folder", &folder))?;
    let file = File::open(path).map_err(failed("read", path))?;
    // From here on it is removed when anything fails.
    let (opened, state_dir) = (Archive::open(file, identities), state_dir.to_owned());
    let (manifest, archive) = match opened {
        Ok(opened) => opened,
        Err(source) => {
            drop(fs::remove_dir_all(&folder));
            return Err(RestoreError::Archive { path: path.to_owned(), source });
        }
    };
    let staged = Staged { manifest, folder, state_dir, store, is_placed: false };
    staged.fill(archive).map_err(|source| RestoreError::Archive { path: path.to_owned(), source })?;
    Ok(staged)
}

/// The folder in which a state folder is prepared.
fn beside(state_dir: &Path) -> PathBuf {
    let mut name = state_dir.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    state_dir.with_file_name(name)
}

impl Staged {
    /// What the backup says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder that will be the state folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn fill(&self, mut archive: Archive<File>) -> Result<(), ArchiveError> {
        for entry in &self.manifest.files {
            let path = self.folder.join(&entry.name);
            let wrap = |source| ArchiveError::Write { name: entry.name.clone(), source };
            let parent = path.parent().unwrap_or(&self.folder);
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(wrap)?;
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let mut out = BufWriter::new(file.map_err(wrap)?);
            archive.file(entry, &mut out)?;
            let file = out.into_inner().map_err(|error| wrap(error.into_error()))?;
            file.sync_all().map_err(wrap)?;
        }
        archive.finish()
    }

    /// Puts it in its place. The store's receipts come first, each by itself: done twice, the second finds them.
    ///
    /// # Errors
    /// When the disk refuses; the state folder is then as it was.
    pub fn place(mut self) -> Result<Receipts, RestoreError> {
        let receipts = match self.store.clone() {
            StorePlace::Apart(store) => self.place_receipts(&store)?,
            StorePlace::Within(place) => {
                self.move_receipts(&place)?;
                Receipts::default()
            }
        };
        self.take_over_owner()?;
        sync_folders(&self.folder).map_err(failed("sync", &self.folder))?;
        let place = |source| RestoreError::Place { path: self.state_dir.clone(), source };
        fs::rename(&self.folder, &self.state_dir).map_err(place)?;
        self.is_placed = true;
        let parent = self.state_dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed("sync", parent))?;
        Ok(receipts)
    }

    /// Moves the receipts to where the settings put the store within the state folder.
    fn move_receipts(&self, place: &Path) -> Result<(), RestoreError> {
        let (from, to) = (self.folder.join(RECEIPTS_DIR), self.folder.join(place));
        if from == to || !from.exists() {
            return Ok(());
        }
        let parent = to.parent().unwrap_or(&self.folder);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.and_then(|()| fs::rename(&from, &to)).map_err(failed("make folder", &to))
    }

    /// Moves the receipts into a store of its own where it has none, and removes the others: its own are newer.
    fn place_receipts(&self, store: &Path) -> Result<Receipts, RestoreError> {
        let (mut receipts, of_then) = (Receipts::default(), self.folder.join(RECEIPTS_DIR));
        let nodes = self.manifest.files.iter().filter_map(|file| {
            let node = file.name.strip_prefix(RECEIPTS_DIR)?.strip_prefix('/')?.split_once('/')?.0;
            node.parse::<NodeId>().ok()
        });
        for node in nodes {
            let folder = store.join(node.to_string());
            let path = folder.join(RECEIPTS_FILE);
            if path.exists() {
                receipts.kept.push(node);
                continue;
            }
            let from = of_then.join(node.to_string()).join(RECEIPTS_FILE);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.and_then(|()| copy_durably(&from, &path)).map_err(failed("write", &path))?;
            own_as(store, &[&folder, &path]).map_err(failed("give away", &path))?;
            receipts.placed.push(node);
        }
        match fs::remove_dir_all(&of_then) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &of_then)(error)),
            _ => Ok(receipts),
        }
    }

    /// An empty state folder that somebody made for the daemon's user says who that is.
    fn take_over_owner(&self) -> Result<(), RestoreError> {
        if !self.state_dir.exists() {
            return Ok(());
        }
        let mut paths = vec![self.folder.clone()];
        let mut next = 0;
        while let Some(path) = paths.get(next).cloned() {
            next += 1;
            if path.is_dir() {
                for entry in fs::read_dir(&path).map_err(failed("read", &path))? {
                    paths.push(entry.map_err(failed("read", &path))?.path());
                }
            }
        }
        let paths: Vec<&PathBuf> = paths.iter().collect();
        own_as(&self.state_dir, &paths).map_err(failed("give away", &self.folder))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_placed {
            // What is left is removed by the next attempt.
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// Gives files to the owner of `like`, where that is another user: only root comes here.
fn own_as(like: &Path, paths: &[impl AsRef<Path>]) -> io::Result<()> {
    let owner = fs::metadata(like)?;
    for path in paths {
        let found = fs::metadata(path)?;
        if (found.uid(), found.gid()) != (owner.uid(), owner.gid()) {
            chown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}

fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    let temporary = to.with_extension("restoring");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    io::copy(&mut File::open(from)?, &mut out)?;
    out.flush()?;
    out.sync_all()?;
    fs::rename(&temporary, to)?;
    File::open(to.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Syncs a folder and all folders in it; the files are synced as they are written.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
