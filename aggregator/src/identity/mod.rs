//! The aggregator's identity: the fleet it serves, and its CA.

#![expect(clippy::disallowed_methods, reason = "an edge: the fleet is a folder of files")]

mod ca;

use std::io;
use std::path::{Path, PathBuf};

use campanile_common::fleet::{FLEET_FILE, FleetFile};

pub use ca::{BACKDATE, Ca, CaError, CheckedRequest, key_digest};

/// A fleet folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is no fleet yet.
    #[error("{path} does not exist: there is no fleet here yet; found one with `campanile-aggregator init`")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Unreadable.
    #[error("cannot read {path}")]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what `fleet init` writes.
    #[error("{path} is damaged; restore it from a self-backup")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Of a newer program.
    #[error("{path} has format {found}, newest known is 1; install the newer aggregator")]
    TooNew {
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
}

/// Reads which fleet this aggregator serves.
///
/// # Errors
/// When the file is missing, unreadable, damaged or of a newer program.
pub fn load_fleet(state_dir: &Path) -> Result<FleetFile, FleetError> {
    let path = state_dir.join(FLEET_FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Err(FleetError::Missing { path }),
        Err(source) => return Err(FleetError::Read { path, source }),
    };
    match serde_json::from_slice::<FleetFile>(&text) {
        Ok(file) if file.format > 1 => Err(FleetError::TooNew { path, found: file.format }),
        Ok(file) => Ok(file),
        Err(source) => Err(FleetError::Damaged { path, source }),
    }
}
