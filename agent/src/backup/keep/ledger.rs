//! Remembers when each policy's keep rules were followed, in a small file each.

use std::io;
use std::path::{Path, PathBuf};

use campanile_common::backup::PolicyName;

use super::decide::Record;
use crate::os::{file, folder};

/// In the folder of backups.
const FOLDER: &str = "kept";
/// A record has some 60 bytes.
const BYTES_MAX: u64 = 4096;

/// The record of one policy.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
}

impl Ledger {
    /// Below the folder of backups.
    pub(super) fn open(folder: &Path, policy: &PolicyName) -> io::Result<Self> {
        let folder = folder.join(FOLDER);
        folder::make_private(&folder)?;
        Ok(Self { path: folder.join(policy.file_name()) })
    }

    /// None when there is none. One that is damaged counts as none: then the rules are followed once more than they need.
    pub(super) fn read(&self) -> io::Result<Option<Record>> {
        let bytes = file::read_secret(&self.path, BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Durable when it returns.
    pub(super) fn write(&self, record: Record) -> io::Result<()> {
        let bytes = serde_json::to_vec(&record).expect("a time and a claim are written");
        file::replace(&self.path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::time::Timestamp;

    #[test]
    fn a_record_is_read_as_written_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), &"etc".parse().unwrap()).unwrap();
        assert_eq!(ledger.read().unwrap(), None);
        let record = Record { begun: Timestamp::from_millis(1_777_000_000_000), is_done: true };
        ledger.write(record).unwrap();
        assert_eq!(ledger.read().unwrap(), Some(record));
        file::replace(&ledger.path, b"{").unwrap();
        assert_eq!(ledger.read().unwrap(), None);
    }
}
