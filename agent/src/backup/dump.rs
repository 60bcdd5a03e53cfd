//! `backup dump`: one file of a snapshot on standard output, encrypted to whoever asked for it.
//!
//! What an order prints goes through the aggregator and is kept there for a while, so that only ciphertext may be in it.
//! The file stands alone on standard output, in the form of age; lines of JSON go to standard error. Memory: the file
//! twice, which is why it has a limit, and one that is longer is refused before any of it is read.

use std::io::Write as _;
use std::path::PathBuf;

use campanile_backup::dump;
use campanile_backup::list;
use campanile_common::api::{BackupFigures, BackupLine, BackupResult, BackupVerb};
use campanile_common::authority::sha256;
use campanile_common::unit::ByteCount;
use zeroize::Zeroizing;

use super::error::BackupError;
use super::key::{KeyError, Recipient, seal};
use super::place::{Done, Of, Program};
use super::restore::chosen;

/// Room that the envelope and the lines take beside the file.
const REST_BYTES: u64 = 8 * 1024;

/// Which file, and for whom.
#[derive(Debug, Clone)]
pub struct Dumped {
    /// `latest`, a time, or the begin of a snapshot's name.
    pub snapshot: String,
    /// The file in it.
    pub path: PathBuf,
    /// For whom it is encrypted.
    pub recipient: String,
    /// Most bytes that may be printed.
    pub most: u64,
}

impl Program {
    pub(super) fn dump(&self, of: &Of, dumped: &Dumped) -> Result<Done, BackupError> {
        let (target, job) = self.target(of)?;
        self.started(BackupVerb::Dump, job.as_ref().map(|job| &job.name), &target);
        let recipient: Recipient = dumped.recipient.parse().map_err(KeyError::from)?;
        let repository = self.open(&target)?;
        let (id, snapshot) = chosen(&repository, job.as_ref(), &dumped.snapshot)?;
        let index = repository.load_index()?;
        let path = &dumped.path;
        let node = list::lookup(&repository, &index, snapshot.tree, path)?;
        let Some(node) = node else { return Err(dump::DumpError::NotAFile.into()) };
        let most = dumped.most.saturating_sub(REST_BYTES);
        let too_large = |bytes| BackupError::TooLarge {
            path: path.clone(),
            bytes: ByteCount(bytes),
            most: ByteCount(most),
        };
        if node.size > most {
            return Err(too_large(node.size));
        }
        let mut plain = Zeroizing::new(Vec::with_capacity(usize::try_from(node.size).unwrap_or(0)));
        // One byte more tells a file that is longer than its entry says.
        let bytes = dump::dump(&repository, &index, &node, Some(0..most.saturating_add(1)), &mut *plain)?;
        if bytes > most {
            return Err(too_large(bytes));
        }
        let sealed = seal(&[recipient], &plain).map_err(KeyError::from)?;
        let mut out = std::io::stdout().lock();
        let printed = out.write_all(&sealed).and_then(|()| out.flush());
        printed.map_err(|source| BackupError::Io { doing: "print the file", source })?;
        self.output.line(&BackupLine::Content { bytes, sha256: sha256(&[&plain]) });
        let figures = BackupFigures { files: 1, bytes, ..BackupFigures::default() };
        let repository = repository.config().id.to_string();
        Ok(Done { result: BackupResult::Ok, repository, snapshot: Some(id.to_string()), figures })
    }
}
