//! The file `runs.json` beside the policies: what ran, and how it ended, also after a power cut.
//!
//! Several processes write it, each change under one lock. A file that cannot be used is set aside with a word: to run
//! once too often is better than to wait for a person.

#![expect(clippy::disallowed_methods, reason = "an edge: the record is a file")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::runs::Runs;
use crate::os::{file, folder};

const FILE: &str = "runs.json";
const LOCK_FILE: &str = "runs.lock";
const ASIDE: &str = "runs.json.damaged";
const FORMAT: u16 = 1;
/// Longest file: twenty runs of each of some thousand policies.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Whoever has the lock writes one small file. The steward has others to serve.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// The same of a program that serves nobody else: a disk that is busy takes its time to sync that file.
const LOCK_PATIENCE_LONG: Duration = Duration::from_secs(120);

/// The record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Unreadable.
    #[error("cannot read the record of backup runs {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what was written, or of a newer program.
    #[error(
        "the record of backup runs {path} cannot be used: {problem}; the steward sets it aside and begins anew"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Cannot be written.
    #[error("cannot write the record of backup runs {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The record of one node.
#[derive(Debug, Clone)]
pub struct Ledger {
    folder: PathBuf,
    patience: Duration,
}

impl Ledger {
    /// That in the folder of backups.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), patience: LOCK_PATIENCE }
    }

    /// For a program that can wait for others to write.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { patience: LOCK_PATIENCE_LONG, ..self }
    }

    /// What is recorded; nothing where there is no file.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub fn read(&self) -> Result<Runs, LedgerError> {
        let path = self.folder.join(FILE);
        let bytes = match file::read_secret(&path, BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Runs::default()),
            Err(source) => return Err(LedgerError::Read { path, source }),
        };
        parse(&bytes).map_err(|problem| LedgerError::Damaged { path, problem })
    }

    /// Changes what is recorded, durably, and returns it.
    ///
    /// # Errors
    /// When it cannot be read or written; the old one then stands.
    pub fn update(&self, change: impl FnOnce(&mut Runs)) -> Result<Runs, LedgerError> {
        let path = self.folder.join(FILE);
        let failed = |source| LedgerError::Write { path: path.clone(), source };
        folder::make_private(&self.folder).map_err(failed)?;
        let _held = self.lock().map_err(failed)?;
        let old = match self.read() {
            Err(LedgerError::Damaged { path, problem }) => {
                let aside = self.folder.join(ASIDE);
                std::fs::rename(&path, &aside).map_err(failed)?;
                let (path, aside) = (path.display(), aside.display());
                tracing::warn!(%path, %aside, problem, "the record of backup runs was set aside");
                Runs::default()
            }
            read => read?,
        };
        let mut runs = old.clone();
        change(&mut runs);
        runs.format = FORMAT;
        if runs != old {
            let mut text = serde_json::to_vec_pretty(&runs).expect("a record has no odd keys");
            text.push(b'\n');
            file::replace(&path, &text).map_err(failed)?;
        }
        Ok(runs)
    }

    fn lock(&self) -> io::Result<folder::Held> {
        let held = folder::lock_within(&self.folder.join(LOCK_FILE), self.patience)?;
        held.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "another process keeps it locked"))
    }
}

fn parse(bytes: &[u8]) -> Result<Runs, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u16,
    }
    let Format { format } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if format > FORMAT {
        return Err(format!("it has format {format}, newest known is {FORMAT}"));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use campanile_common::time::Timestamp;

    use super::super::runs::StartedBy;
    use super::*;
    use crate::os::stopwatch::pause;

    #[test]
    fn what_was_recorded_is_read_by_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(&folder.path().join("backup"));
        assert_eq!(ledger.read().unwrap(), Runs::default());
        let (name, now) = ("etc".parse().unwrap(), Timestamp::from_millis(1_800_000_000_000));
        let written = ledger.update(|runs| runs.begin(&name, StartedBy::Order, now)).unwrap();
        assert_eq!(ledger.read().unwrap(), written);
        assert!(written.policies[&name].is_open());
    }

    #[test]
    fn a_program_waits_for_whoever_writes_and_the_steward_not_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let steward = Ledger { patience: Duration::from_millis(20), ..Ledger::new(folder.path()) };
        let held = folder::try_lock(&folder.path().join(LOCK_FILE)).unwrap().unwrap();
        let refused = steward.update(|runs| runs.denied = "x".to_owned()).unwrap_err();
        assert!(matches!(refused, LedgerError::Write { .. }), "{refused}");
        let program = std::thread::spawn({
            let ledger = steward.clone().patient();
            move || ledger.update(|runs| runs.denied = "y".to_owned()).map(drop)
        });
        pause(Duration::from_millis(200));
        drop(held);
        program.join().unwrap().unwrap();
        assert_eq!(steward.read().unwrap().denied, "y");
    }

    #[test]
    fn a_record_that_cannot_be_used_is_set_aside_and_named() {
        for text in ["", "{\"format\":1,\"policies\":{\"etc\":", "{\"format\":9}", "{\"format\":1,\"x\":2}"] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(FILE), text).unwrap();
            let ledger = Ledger::new(folder.path());
            assert!(matches!(ledger.read(), Err(LedgerError::Damaged { .. })), "{text}");
            ledger.update(|runs| runs.denied = "x".to_owned()).unwrap();
            assert_eq!(ledger.read().unwrap().denied, "x");
            assert_eq!(std::fs::read_to_string(folder.path().join(ASIDE)).unwrap(), text);
        }
    }
}
