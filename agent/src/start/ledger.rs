//! The record of starts, a small file in the state folder. It decides how much the agent does and never whether it
//! starts: a file that is damaged is told of and begun anew, one that cannot be written is told of.

use std::io;
use std::path::{Path, PathBuf};

use super::Record;
use crate::os::file;

/// Of the file.
pub(super) const FORMAT: u32 = 1;
const FILE: &str = "starts.json";
/// A hundred runs with their reasons.
const BYTES_MAX: u64 = 64 * 1024;

/// A record that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Unreadable.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No record, or of another format.
    #[error("{path} is damaged, or of a newer version: starts are counted anew")]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// Not written.
    #[error("cannot write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where the record is.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
}

impl Ledger {
    /// In this state folder.
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE) }
    }

    /// The record; an empty one where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(&self) -> Result<Record, LedgerError> {
        let path = || self.path.clone();
        match file::read_secret(&self.path, BYTES_MAX) {
            Ok(None) => Ok(Record { format: FORMAT, ..Record::default() }),
            Ok(Some(json)) => match serde_json::from_slice::<Record>(&json) {
                Ok(record) if record.format == FORMAT => Ok(record),
                Ok(_) | Err(_) => Err(LedgerError::Damaged { path: path() }),
            },
            Err(source) => Err(LedgerError::Read { path: path(), source }),
        }
    }

    /// Keeps the record, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, record: &Record) -> Result<(), LedgerError> {
        let json = serde_json::to_vec(record).expect("a record has no odd keys");
        file::replace(&self.path, &json)
            .map_err(|source| LedgerError::Write { path: self.path.clone(), source })
    }
}
