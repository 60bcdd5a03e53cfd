//! Collects the files into a private folder, then writes the archive beside its place and moves it there.
//!
//! The state store is copied first: what it tells of (parts of generations, versions of the authority) is on disk before
//! it is in the store, so the files that are copied afterwards hold all that the copy names.

#![expect(clippy::disallowed_methods, reason = "an edge: a backup is files")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use campanile_common::fleet::{AUTHORITY_DIR, CA_FILE, CA_KEY_FILE, FLEET_FILE, FleetFile};
use campanile_common::id::{FleetId, NodeId};
use campanile_common::time::Timestamp;

use super::super::manifest::{FileEntry, Manifest, is_plain};
use super::super::{
    PARTS_DIR, RECEIPTS_DIR, RECEIPTS_FILE, Recipient, SETTINGS_DIR, STATE_FILE, archive, name,
};
use super::{SaveError, Saved, Sources, Target};
use crate::os::disk::FileLock;
use crate::state::SqliteStore;

/// Files of the state folder that every backup holds.
const NEEDED: [&str; 3] = [FLEET_FILE, CA_FILE, CA_KEY_FILE];
/// Those that are made at the first start.
const MADE_LATER: [&str; 2] = ["audit.key", "reset.key"];
/// Where files are collected, within the state folder.
const STAGING: &str = "self-backup.new";
/// One backup is made at a time, whichever process makes it.
const LOCK: &str = "self-backup.lock";

/// Makes a backup as of now. Blocks; `proceed` is asked now and then, and ends it by an error.
///
/// # Errors
/// When something cannot be read or written. Nothing is left of what was begun, and older backups are untouched.
pub fn save(
    sources: &Sources,
    fleet: &FleetFile,
    recipients: &[Recipient],
    target: &Target,
    now: Timestamp,
    proceed: &dyn Fn() -> io::Result<()>,
) -> Result<Saved, SaveError> {
    let lock_path = sources.state_dir.join(LOCK);
    let _lock = FileLock::acquire(&lock_path).map_err(|error| SaveError::file("lock", &lock_path, error))?;
    let path = place(target, fleet.fleet_id, now)?;
    let staging = Staging::new(sources.state_dir.join(STAGING))?;
    let names = collect(sources, &staging)?;
    let files = names.into_iter().map(|name| entry(&staging, name)).collect::<Result<Vec<_>, _>>()?;
    let manifest = Manifest::new(fleet, now, files);
    let bytes = write(&manifest, recipients, &staging, &path, proceed)?;
    if let Target::Folder(folder, Some(keep)) = target
        && let Err(error) = prune(folder, fleet.fleet_id, *keep)
    {
        // The new one is there; the next attempt removes more.
        tracing::warn!(%error, "old self-backups were not removed");
    }
    Ok(Saved { path, bytes, at: now, files: manifest.files.len() })
}

fn place(target: &Target, fleet: FleetId, now: Timestamp) -> Result<PathBuf, SaveError> {
    match target {
        Target::Folder(folder, _) => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| SaveError::file("make folder", folder, error))?;
            Ok(folder.join(name::of(fleet, now)))
        }
        Target::File(path) if path.exists() => Err(SaveError::Exists { path: path.clone() }),
        Target::File(path) => Ok(path.clone()),
    }
}

/// A private folder that goes with this value.
struct Staging(PathBuf);

impl Staging {
    fn new(folder: PathBuf) -> Result<Self, SaveError> {
        let failed = |error| SaveError::file("make folder", &folder, error);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Takes a file over as `name`; false when there is none.
    fn take(&self, from: &Path, name: &str, how: How) -> Result<bool, SaveError> {
        let to = self.path(name);
        let folder = to.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder).map_err(|error| SaveError::file("make folder", folder, error))?;
        let taken = match how {
            How::Copy => fs::copy(from, &to).map(drop),
            How::Link => fs::hard_link(from, &to),
        };
        match taken {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(SaveError::file("copy", from, error)),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "what was collected for a backup is still there");
        }
    }
}

/// How a file is taken over.
#[derive(Clone, Copy)]
enum How {
    /// It may grow meanwhile.
    Copy,
    /// It never changes, and may be removed meanwhile.
    Link,
}

/// Fills the folder; gives the names in the order of the archive.
fn collect(sources: &Sources, staging: &Staging) -> Result<Vec<String>, SaveError> {
    let state = &sources.state_dir;
    SqliteStore::snapshot(&state.join(STATE_FILE), &staging.path(STATE_FILE))?;
    let mut names = Vec::new();
    for name in NEEDED.into_iter().chain(MADE_LATER) {
        if staging.take(&state.join(name), name, How::Copy)? {
            names.push(name.to_owned());
        } else if NEEDED.contains(&name) {
            let source = io::ErrorKind::NotFound.into();
            return Err(SaveError::File { doing: "read", path: state.join(name), source });
        }
    }
    names.push(STATE_FILE.to_owned());
    for name in files_of(&state.join(AUTHORITY_DIR))? {
        let name = format!("{AUTHORITY_DIR}/{name}");
        if is_plain(&name) && staging.take(&state.join(&name), &name, How::Copy)? {
            names.push(name);
        }
    }
    for folder in files_of(&state.join(PARTS_DIR))?.into_iter().filter(|name| name.len() == 2) {
        for part in files_of(&state.join(PARTS_DIR).join(&folder))? {
            let name = format!("{PARTS_DIR}/{folder}/{part}");
            if is_plain(&name) && staging.take(&state.join(&name), &name, How::Link)? {
                names.push(name);
            }
        }
    }
    for node in files_of(&sources.backup_dir)?.into_iter().filter(|name| name.parse::<NodeId>().is_ok()) {
        let name = format!("{RECEIPTS_DIR}/{node}/{RECEIPTS_FILE}");
        if staging.take(&sources.backup_dir.join(&node).join(RECEIPTS_FILE), &name, How::Copy)? {
            names.push(name);
        }
    }
    for path in &sources.settings {
        let Some(name) = settings_name(path) else { continue };
        if staging.take(path, &name, How::Copy)? {
            names.push(name);
        }
    }
    Ok(names)
}

/// `settings/aggregator.toml`, `settings/aggregator.d/10-site.toml`; none for a name that the archive does not take.
fn settings_name(path: &Path) -> Option<String> {
    let last = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let folder = path.parent().filter(|folder| folder.extension().is_some_and(|extension| extension == "d"));
    let name = match folder {
        Some(folder) => format!("{SETTINGS_DIR}/{}/{}", last(folder)?, last(path)?),
        None => format!("{SETTINGS_DIR}/{}", last(path)?),
    };
    is_plain(&name).then_some(name)
}

/// Names in a folder, sorted; none where there is no folder.
fn files_of(folder: &Path) -> Result<Vec<String>, SaveError> {
    let failed = |error| SaveError::file("read", folder, error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

fn entry(staging: &Staging, name: String) -> Result<FileEntry, SaveError> {
    let path = staging.path(&name);
    let hashed = File::open(&path)
        .and_then(|mut file| archive::copy(&mut file, &mut io::sink(), &|| Ok(())))
        .map_err(|error| SaveError::file("read", &path, error))?;
    Ok(FileEntry { name, bytes: hashed.0, sha256: hashed.1 })
}

/// Writes the archive beside its place, syncs it and moves it there; gives its length.
fn write(
    manifest: &Manifest,
    recipients: &[Recipient],
    staging: &Staging,
    path: &Path,
    proceed: &dyn Fn() -> io::Result<()>,
) -> Result<u64, SaveError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let own_name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{own_name}.new"));
    let written = (|| {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let open = |name: &str| File::open(staging.path(name));
        let out = archive::write(recipients, manifest, BufWriter::new(file), open, proceed)?;
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.flush()?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()?;
        Ok(bytes)
    })();
    written.map_err(|error| {
        // It may not exist; what matters is told below.
        drop(fs::remove_file(&temporary));
        SaveError::file("write", path, error)
    })
}

/// The newest backup in a folder: when it was made, and its length.
pub(in crate::self_backup) fn latest(
    folder: &Path,
    fleet: FleetId,
) -> Result<Option<(Timestamp, u64)>, SaveError> {
    let names = files_of(folder)?;
    let newest = names.iter().filter_map(|name| Some((name::time_of(fleet, name)?, name))).max();
    let Some((at, name)) = newest else { return Ok(None) };
    let path = folder.join(name);
    let length = fs::metadata(&path).map_err(|error| SaveError::file("read", &path, error))?.len();
    Ok(Some((at, length)))
}

/// Removes the oldest backups of this fleet in a folder beyond `keep`, and what attempts that were cut left there.
fn prune(folder: &Path, fleet: FleetId, keep: usize) -> Result<(), SaveError> {
    let names = files_of(folder)?;
    let cut = names.iter().filter(|name| {
        let begun = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new"));
        begun.is_some_and(|begun| name::time_of(fleet, begun).is_some())
    });
    for name in cut.map(String::as_str).chain(name::surplus(fleet, &names, keep)) {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(|error| SaveError::file("remove", &path, error))?;
    }
    Ok(())
}
