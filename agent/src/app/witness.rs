//! Keeps the aggregator's audit checkpoints, so that a rewritten audit log shows.
//!
//! A file of lines, the newest last; at twice its limit the older half goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::Checkpoint;

/// Checkpoints kept: one a minute makes a day.
const CHECKPOINTS_MAX: u64 = 1440;
/// About the length of a line.
const LINE_BYTES: u64 = 256;

/// The file of checkpoints.
#[derive(Debug, Clone)]
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

    /// At most `limit` of the checkpoints kept, evenly spread, the newest among them, oldest first. Lines that cannot be
    /// read are left out: a power cut may have torn the last.
    pub(super) fn read(&self, limit: usize) -> io::Result<Vec<Checkpoint>> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let wanted = spread(lines.len(), limit);
        Ok(wanted.into_iter().filter_map(|index| parse(lines[index])).collect())
    }

    /// When the newest came, by this node's clock.
    pub(super) fn written(&self) -> io::Result<Timestamp> {
        let modified = std::fs::metadata(&self.path)?.modified()?;
        let since_epoch = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)))
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

/// `limit` of `count` places, the last among them, evenly spread.
fn spread(count: usize, limit: usize) -> Vec<usize> {
    let taken = count.min(limit);
    (1..=taken).map(|place| place * count / taken - 1).collect()
}

fn parse(line: &str) -> Option<Checkpoint> {
    #[derive(serde::Deserialize)]
    struct Line {
        sequence: u64,
        hash: Digest,
        time: Timestamp,
        signature: String,
    }
    let line: Line = serde_json::from_str(line).ok()?;
    let signature = data_encoding::BASE64.decode(line.signature.as_bytes()).ok()?;
    Some(Checkpoint { sequence: line.sequence, hash: line.hash, time: line.time, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(sequence: u64) -> Checkpoint {
        let time = Timestamp::from_millis(sequence * 60_000);
        Checkpoint { sequence, hash: Digest::from_bytes([7; 32]), time, signature: vec![1, 2, 3] }
    }

    #[test]
    fn checkpoints_are_read_evenly_with_the_newest_last() {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::new(folder.path());
        assert_eq!(witness.read(5).unwrap(), Vec::new());
        for sequence in 1..=10 {
            witness.keep(&checkpoint(sequence)).unwrap();
        }
        assert_eq!(witness.read(3).unwrap(), [3, 6, 10].map(checkpoint));
        assert_eq!(witness.read(100).unwrap().len(), 10);
        assert_eq!(witness.read(0).unwrap(), Vec::new());
    }

    #[test]
    fn a_torn_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::new(folder.path());
        witness.keep(&checkpoint(1)).unwrap();
        let path = folder.path().join("checkpoints.jsonl");
        let text = std::fs::read_to_string(&path).unwrap() + "{\"sequence\": 2, \"ha";
        std::fs::write(&path, text).unwrap();
        assert_eq!(witness.read(8).unwrap(), [checkpoint(1)]);
    }
}
