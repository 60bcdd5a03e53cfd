//! What an apply needs to be undone: the folder `undo`, with a journal and the old bytes of every path that changes.
//!
//! It is complete and on disk before the first change, and gone after the last. Whoever finds a journal finds an apply
//! that did not come to its end: without the record `Committed` everything is put back. The old bytes, and the new ones
//! in the folder `stage`, may hold secrets: both are the steward's alone (0700, 0600) and last as long as the apply.

#![expect(clippy::disallowed_methods, reason = "an edge: what is kept is files")]

mod journal;
mod restore;
mod snapshot;

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use campanile_common::id::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, getpid};

pub(crate) use journal::{Item, Journal, Record};
pub(crate) use restore::{Restored, restore};
pub(crate) use snapshot::{Was, observe};

use super::confirm;
use crate::os::file;

const JOURNAL_FILE: &str = "journal";
const DATA_FILE: &str = "data";
const LOCK_FILE: &str = "apply.lock";
const STAGE_FOLDER: &str = "stage";

/// What is kept to undo an apply cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UndoError {
    /// Cannot be written.
    #[error("cannot keep what an undo needs in {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    /// Cannot be read.
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// Not what was written.
    #[error(
        "{path} is damaged at line {line}: an apply that was interrupted cannot be undone by itself; compare the node \
         with its configuration by hand, then move the folder away"
    )]
    Damaged { path: PathBuf, line: usize },
    /// Another process applies, checks or reverts.
    #[error(
        "the configuration of this node is being changed by another process ({pid}); try again when it has ended"
    )]
    Busy { pid: String },
}

/// Held by whoever changes the node or puts it back: two never do at once.
#[derive(Debug)]
pub(crate) struct ApplyLock {
    _file: File,
}

impl ApplyLock {
    /// Takes it, unless another process has it.
    pub(crate) fn take(config_folder: &Path) -> Result<Self, UndoError> {
        let path = config_folder.join(LOCK_FILE);
        let failed = |source| UndoError::Write { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(config_folder).map_err(failed)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(failed)?;
            return Err(UndoError::Busy { pid: pid.trim().to_owned() });
        }
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", getpid().as_raw_pid()));
        // On a full disk the lock still holds; only nobody can tell whose it is.
        drop(written);
        Ok(Self { _file: file })
    }

    /// The process that has it.
    pub(crate) fn holder(config_folder: &Path) -> Option<Pid> {
        match Self::take(config_folder) {
            Err(UndoError::Busy { pid }) => pid.parse().ok().and_then(Pid::from_raw),
            _ => None,
        }
    }
}

/// True when an apply was interrupted, or is under way.
pub(crate) fn is_pending(config_folder: &Path) -> bool {
    confirm::undo_folder(config_folder).join(JOURNAL_FILE).exists()
}

/// The folder `undo` of an apply.
#[derive(Debug)]
pub(crate) struct Undo {
    folder: PathBuf,
    journal: Journal,
    data: File,
    items: Vec<Item>,
}

/// What an apply is about, for whoever finds its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Number and digest of the generation.
    pub(crate) named: (u64, Digest),
    /// Names the attempt.
    pub(crate) nonce: u64,
    /// It puts drifted resources right, and moves the node to no other generation.
    pub(crate) is_enforcement: bool,
}

impl Undo {
    /// Keeps `items` with the old bytes that they refer to. Afterwards the node may be changed.
    pub(crate) fn begin(
        config_folder: &Path,
        attempt: &Attempt,
        items: Vec<Item>,
        bytes: &[Vec<u8>],
    ) -> Result<Self, UndoError> {
        let folder = confirm::undo_folder(config_folder);
        let failed = |source| UndoError::Write { path: folder.clone(), source };
        remove_folder(&folder).map_err(failed)?;
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let data = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join(DATA_FILE))
            .map_err(failed)?;
        let mut offset = 0;
        for part in bytes {
            data.write_all_at(part, offset).map_err(failed)?;
            offset += u64::try_from(part.len()).unwrap_or(u64::MAX);
        }
        data.sync_all().map_err(failed)?;
        let journal = Journal::begin(&folder.join(JOURNAL_FILE), attempt, &items)?;
        file::sync_folder(&folder).map_err(failed)?;
        Ok(Self { folder, journal, data, items })
    }

    /// What an interrupted apply left, where one did.
    pub(crate) fn found(config_folder: &Path) -> Result<Option<(Self, Attempt, Vec<Record>)>, UndoError> {
        let folder = confirm::undo_folder(config_folder);
        let path = folder.join(JOURNAL_FILE);
        let Some((journal, attempt, items, records)) = Journal::open(&path)? else { return Ok(None) };
        let data_path = folder.join(DATA_FILE);
        let data =
            File::open(&data_path).map_err(|source| UndoError::Read { path: data_path.clone(), source })?;
        Ok(Some((Self { folder, journal, data, items }, attempt, records)))
    }

    /// Where the files of a confirmation are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Says what comes next. Synced for what only this record can tell later.
    pub(crate) fn record(&mut self, record: &Record) -> Result<(), UndoError> {
        self.journal.append(record)
    }

    /// The old bytes of a file.
    pub(crate) fn old_bytes(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.data.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// A confirmation that comes from here on comes too late. Takes no room on the disk.
    pub(crate) fn refuse_confirmation(&self) -> Result<(), UndoError> {
        confirm::refuse(&self.folder).map_err(|source| UndoError::Write { path: self.folder.clone(), source })
    }

    /// Nothing is left to undo: forgets all of it.
    pub(crate) fn end(self) -> Result<(), UndoError> {
        let failed = |source| UndoError::Write { path: self.folder.clone(), source };
        // First the journal: without it the rest means nothing.
        std::fs::remove_file(self.folder.join(JOURNAL_FILE)).map_err(failed)?;
        file::sync_folder(&self.folder.join(JOURNAL_FILE)).map_err(failed)?;
        remove_folder(&self.folder).map_err(failed)
    }
}

/// Clears away what an apply left that was interrupted before its journal began or after it had ended.
pub(crate) fn forget(config_folder: &Path) -> Result<(), UndoError> {
    let folder = confirm::undo_folder(config_folder);
    remove_folder(&folder).map_err(|source| UndoError::Write { path: folder, source })?;
    clear_stage(config_folder)
}

/// An empty folder for new content that is looked at before it is put in place.
pub(crate) fn fresh_stage(config_folder: &Path) -> Result<PathBuf, UndoError> {
    let folder = config_folder.join(STAGE_FOLDER);
    let failed = |source| UndoError::Write { path: folder.clone(), source };
    remove_folder(&folder).map_err(failed)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
    Ok(folder)
}

/// Puts `bytes` under `name` in a folder of its own on the stage.
pub(crate) fn stage(stage: &Path, number: usize, name: &str, bytes: &[u8]) -> Result<PathBuf, UndoError> {
    let folder = stage.join(number.to_string());
    let path = folder.join(name);
    let written = DirBuilder::new().mode(0o700).create(&folder).and_then(|()| {
        File::options().write(true).create_new(true).mode(0o600).open(&path)?.write_all(bytes)
    });
    written.map_err(|source| UndoError::Write { path: path.clone(), source })?;
    Ok(path)
}

/// Removes the stage.
pub(crate) fn clear_stage(config_folder: &Path) -> Result<(), UndoError> {
    let folder = config_folder.join(STAGE_FOLDER);
    remove_folder(&folder).map_err(|source| UndoError::Write { path: folder, source })
}

/// Removes a folder as a whole. It loses its name first: the steward and the guardian write into it by its path, and
/// what they write now must not be met by what empties it.
fn remove_folder(folder: &Path) -> io::Result<()> {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let gone = folder.with_extension("gone");
    for step in
        [std::fs::remove_dir_all(&gone), std::fs::rename(folder, &gone), std::fs::remove_dir_all(&gone)]
    {
        match step {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_folder_into_which_others_write_is_removed_all_the_same() {
        let home = tempfile::tempdir().unwrap();
        let folder = confirm::undo_folder(home.path());
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // Fails while there is no folder.
                    drop(std::fs::write(folder.join("confirmed.new"), "7"));
                }
            });
            for _ in 0..500 {
                std::fs::create_dir(&folder).unwrap();
                std::fs::write(folder.join("old"), "bytes").unwrap();
                remove_folder(&folder).unwrap();
                assert!(!folder.exists());
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
