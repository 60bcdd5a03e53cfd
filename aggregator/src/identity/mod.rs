//! The aggregator's identity: the fleet it serves, and its CA.

#![expect(clippy::disallowed_methods, reason = "an edge: the fleet is a folder of files")]

mod ca;

use std::io;
use std::path::{Path, PathBuf};

use campanile_common::fleet::{FLEET_FILE, FleetFile};

pub use ca::{BACKDATE, Ca, CaError, CheckedRequest, key_digest};

/// Newest format of the fleet's file.
const FORMAT: u16 = 1;

#[derive(serde::Deserialize)]
struct Format {
    format: u16,
}

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
    #[error("{path} has format {found}, newest known is {FORMAT}; install the newer aggregator")]
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
    // The format first: what else a later one holds is not known here.
    match serde_json::from_slice::<Format>(&text) {
        Ok(Format { format }) if format > FORMAT => Err(FleetError::TooNew { path, found: format }),
        _ => serde_json::from_slice(&text).map_err(|source| FleetError::Damaged { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_of_a_later_format_is_told_from_a_damaged_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FLEET_FILE);
        std::fs::write(&path, r#"{"format":2,"somethingNew":true}"#).unwrap();
        assert!(matches!(load_fleet(folder.path()), Err(FleetError::TooNew { found: 2, .. })));
        for damaged in [r#"{"format":1,"somethingNew":true}"#, "{", ""] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(load_fleet(folder.path()), Err(FleetError::Damaged { .. })), "{damaged}");
        }
    }
}
