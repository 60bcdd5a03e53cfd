//! Keeps the aggregator's audit checkpoints, so that a rewritten audit log shows.
//!
//! A file of lines, the newest last; at twice its limit the older half goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use campanile_common::wire::v1::control::Checkpoint;

/// Checkpoints kept: one a minute makes a day.
const CHECKPOINTS_MAX: u64 = 1440;
/// About the length of a line.
const LINE_BYTES: u64 = 256;

/// The file of checkpoints.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
}

impl Witness {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("checkpoints.jsonl") }
    }

    pub(super) fn keep(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let line = serde_json::json!({
            "sequence": checkpoint.sequence,
            "hash": checkpoint.hash,
            "time": checkpoint.time,
            "signature": data_encoding::BASE64.encode(&checkpoint.signature),
        });
        self.trim()?;
        let mut file: File = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    fn trim(&self) -> io::Result<()> {
        match std::fs::metadata(&self.path) {
            // Looked at by size first: the file is read once a day, not once a minute.
            Ok(found) if found.len() > 2 * CHECKPOINTS_MAX * LINE_BYTES => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let text = std::fs::read_to_string(&self.path)?;
        let bytes = usize::try_from(CHECKPOINTS_MAX * LINE_BYTES).unwrap_or(usize::MAX);
        let cut = text.len().saturating_sub(bytes);
        // From the next whole line on; the lines are ASCII.
        let kept = text.get(cut..).and_then(|rest| rest.split_once('\n')).map_or("", |(_, rest)| rest);
        crate::os::file::replace(&self.path, kept.as_bytes())
    }
}
