//! Files of the audit chain.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use campanile_common::api::AuditEntry;
use campanile_common::audit::{ChainError, ChainVerifier, Head};

use super::AuditError;
use crate::os::file::sync_folder;

const SUFFIX: &str = "jsonl";
/// Read at once: many answers.
const PIECE_BYTES: usize = 256 * 1024;

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Read {
    /// Its entries; none in place of a line that cannot be read.
    pub(super) entries: Vec<Option<AuditEntry>>,
    /// Up to the last whole line.
    pub(super) length: u64,
    /// Bytes behind it.
    pub(super) cut: u64,
}

/// Where the segment that begins with an entry is.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:016}.{SUFFIX}"))
}

/// First entries of all segments, ascending.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>, AuditError> {
    let error = |source| AuditError::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(error)?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.strip_suffix('.')?.parse().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes the segment that begins with an entry. One of that name can only be empty, left by a crash.
pub(super) fn create(folder: &Path, first: u64) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = path(folder, first);
    let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    sync_folder(&path)?;
    Ok(file)
}

/// Whole lines of a segment from `offset` on, as many as fit a piece; empty at the end.
pub(super) fn lines_from(path: &Path, offset: u64) -> Result<Vec<u8>, AuditError> {
    let error = |source| AuditError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(error)?;
    let mut bytes = vec![0; PIECE_BYTES];
    let mut length = 0;
    while length < bytes.len() {
        let count = u64::try_from(length).unwrap_or(u64::MAX);
        match file.read_at(&mut bytes[length..], offset + count).map_err(error)? {
            0 => break,
            count => length += count,
        }
    }
    let whole = bytes[..length].iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    bytes.truncate(whole);
    Ok(bytes)
}

/// Reads a segment. An unfinished last line, or zeros at the end, is what a crash leaves.
pub(super) fn read(path: &Path) -> Result<Read, AuditError> {
    let bytes = std::fs::read(path).map_err(|source| AuditError::Read { path: path.to_owned(), source })?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let text = &bytes[..whole];
    let lines = text.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    let entries = lines.map(|line| serde_json::from_slice(line).ok()).collect();
    let count = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    Ok(Read { entries, length: count(whole), cut: count(bytes.len() - whole) })
}

/// Verifies that a segment is an unbroken part of a chain; its last entry, or what its first follows.
pub(super) fn verify(entries: &[Option<AuditEntry>], first: u64) -> Result<Head, ChainError> {
    let Some(Some(begin)) = entries.first() else {
        return match entries.first() {
            // Only the very first may be empty: what the entry before was is not known.
            None if first == 1 => Ok(Head::START),
            _ => Err(ChainError::Unreadable { sequence: first }),
        };
    };
    let start = Head { sequence: first.saturating_sub(1), hash: begin.previous };
    let mut verifier = ChainVerifier::new(start, &[]);
    for entry in entries {
        let unreadable = ChainError::Unreadable { sequence: verifier.last().sequence + 1 };
        verifier.push(entry.as_ref().ok_or(unreadable)?)?;
    }
    Ok(verifier.last())
}

/// The sequence that a line begins with.
pub(super) fn sequence_of(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("{\"sequence\":")?;
    rest.split(',').next()?.parse().ok()
}
