//! Opens the journal: reads it through, cuts off what a crash left of the last write, refuses what is damaged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use campanile_common::id::JournalId;
use campanile_common::time::Timestamp;

use super::index::Index;
use super::record::{self, Found, HEADER_BYTES, Header, HeaderError};
use super::{FILE, Journal, JournalError, JournalLimits, rewrite, u64_of};
use crate::os::file::sync_folder;

/// What was found on opening, for the audit chain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::steward) struct Opening {
    /// There was no file.
    pub(in crate::steward) is_new: bool,
    /// The end was cut off; how, for people.
    pub(in crate::steward) cut: Option<String>,
}

impl Journal {
    /// Opens the journal in `folder`, or makes the first one with `id`. Where there should have been one (`is_lost`),
    /// nothing is known of orders that were valid before `now`.
    pub(in crate::steward) fn open(
        folder: &Path,
        limits: JournalLimits,
        id: JournalId,
        now: Timestamp,
        is_lost: bool,
    ) -> Result<(Self, Opening), JournalError> {
        let path = folder.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                let blind_before = is_lost.then_some(now);
                let header = Header { id, sequence: 0, carried: 0, blind_before, former: Vec::new() };
                let journal = Self::create(path, limits, header)?;
                return Ok((journal, Opening { is_new: true, cut: None }));
            }
            Err(source) => return Err(JournalError::Read { path, source }),
        };
        let header = Header::from_bytes(&bytes).map_err(|error| match error {
            HeaderError::Damaged => JournalError::Damaged { path: path.clone(), offset: 0 },
            HeaderError::TooNew(found) => JournalError::TooNew { path: path.clone(), found },
        })?;
        let (index, count, length, end) = read_through(&path, &bytes)?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| JournalError::Write { path: path.clone(), source })?;
        let sequence = header.sequence + count.saturating_sub(u64::from(header.carried));
        let mut journal = Self::with(path, file, limits, header, (sequence, length, index));
        let cut = journal.cut_end(u64_of(bytes.len()), &end, id, now)?;
        Ok((journal, Opening { is_new: false, cut }))
    }

    fn create(path: PathBuf, limits: JournalLimits, header: Header) -> Result<Self, JournalError> {
        let file = rewrite::write(&path, &header, &[])
            .and_then(|file| sync_folder(&path).map(|()| file))
            .map_err(|source| JournalError::Write { path: path.clone(), source })?;
        let read = (header.sequence, u64_of(HEADER_BYTES), Index::default());
        Ok(Self::with(path, file, limits, header, read))
    }

    /// A journal with the newest sequence, the length and the index that were read.
    fn with(
        path: PathBuf,
        file: File,
        limits: JournalLimits,
        header: Header,
        (sequence, length, index): (u64, u64, Index),
    ) -> Self {
        Self {
            path,
            file,
            limits,
            header,
            sequence,
            length,
            rewritten: length,
            index,
            reserved: BTreeMap::new(),
            failure: None,
        }
    }

    /// Cuts off what a crash left of the last write.
    fn cut_end(
        &mut self,
        found: u64,
        end: &Found,
        id: JournalId,
        now: Timestamp,
    ) -> Result<Option<String>, JournalError> {
        if matches!(end, Found::End) {
            return Ok(None);
        }
        let lost = found - self.length;
        self.truncate().map_err(|source| JournalError::Write { path: self.path.clone(), source })?;
        if matches!(end, Found::Cut) {
            return Ok(Some(format!("the last {lost} bytes were cut off: their write had not ended")));
        }
        // Its write may have ended, and something may have been started on account of it.
        self.begin_anew(id, now)?;
        Ok(Some(format!(
            "the last {lost} bytes were damaged and cut off; what became of unknown orders from before is unknown"
        )))
    }
}

/// Index, number of records, length up to the last whole frame, and what is behind it.
fn read_through(path: &Path, bytes: &[u8]) -> Result<(Index, u64, u64, Found), JournalError> {
    let (mut index, mut count, mut place) = (Index::default(), 0, HEADER_BYTES);
    loop {
        match record::read_frame(&bytes[place..]) {
            Found::Frame(records, length) => {
                index.apply(&records, u64_of(place));
                count += u64_of(records.len());
                place += length;
            }
            Found::Damaged => {
                return Err(JournalError::Damaged { path: path.to_owned(), offset: u64_of(place) });
            }
            end @ (Found::End | Found::Cut | Found::DamagedLast) => {
                return Ok((index, count, u64_of(place), end));
            }
        }
    }
}
