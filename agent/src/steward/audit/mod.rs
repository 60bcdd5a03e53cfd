//! The steward's own audit chain: who asked for what, what was denied, started and finished. The aggregator can read
//! it and cannot change it.
//!
//! JSON lines in segments named by their first entry; each entry carries the hash of the one before, across segments.
//! The oldest segments go when there are too many, and an entry says so.
//! Invariant: nothing is started before its entry is synced. A chain that is damaged takes no entry, and no order
//! runs until an operator has moved it away.

#![expect(clippy::disallowed_methods, reason = "an edge: the chain is files")]

mod allowance;
mod segment;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use campanile_common::api::{AuditEntry, AuditOutcome};
use campanile_common::audit::{ChainError, Head, entry_hash};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::AuditPosition;

use super::journal::preallocate;
use crate::os::file::sync_folder;
use allowance::Allowance;

const FOLDER: &str = "audit";
/// Length at which a segment is closed: reading one takes milliseconds.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Segments that are kept: 256 MiB, half a million entries.
const SEGMENTS_MAX: usize = 64;
/// Space that is taken ahead, so that what was started can be said to have finished.
const AHEAD_BYTES: u64 = 128 * 1024;
/// Longest text of an entry, in bytes; what is longer is cut, with a mark.
const TEXT_BYTES_MAX: usize = 768;
/// Most bytes of one answer: it must fit a packet.
const ANSWER_BYTES_MAX: usize = 48 * 1024;

/// An audit chain that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditError {
    /// It cannot be read.
    #[error("cannot read the audit chain {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// It cannot be written.
    #[error("cannot write the audit chain {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    /// It is not what was written.
    #[error(
        "the audit chain {path} is damaged: {source}; keep it as evidence: move it away and restart the steward"
    )]
    Damaged { path: PathBuf, source: ChainError },
    /// It takes nothing since.
    #[error("the audit chain takes no entry: {reason}")]
    Failed { reason: String },
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Act {
    /// Who: operators' names, `aggregator` or `local`.
    pub(super) actor: String,
    /// What, as `noun.verb`.
    pub(super) action: &'static str,
    /// To what.
    pub(super) target: String,
    /// How it ended.
    pub(super) outcome: AuditOutcome,
    /// Anything else.
    pub(super) detail: String,
}

/// Where the answer before ended.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Its last entry.
    after: u64,
    /// The segment that the next one is in.
    first: u64,
    offset: u64,
}

/// The chain.
#[derive(Debug)]
pub(super) struct AuditLog {
    folder: PathBuf,
    /// First entries of the segments, oldest first; the last is being written.
    segments: Vec<u64>,
    file: Option<File>,
    length: u64,
    head: Head,
    /// The newest entry that is durable: nobody hears of a later one.
    synced: Head,
    cursor: Option<Cursor>,
    failure: Option<String>,
    allowance: Allowance,
}

impl AuditLog {
    /// Opens the chain in `folder`; a damaged one is there but takes nothing. Also what was cut off its end, if a
    /// crash left half an entry there.
    pub(super) fn open(folder: &Path, now: Timestamp) -> (Self, Option<String>) {
        let mut log = Self {
            folder: folder.join(FOLDER),
            segments: Vec::new(),
            file: None,
            length: 0,
            head: Head::START,
            synced: Head::START,
            cursor: None,
            failure: None,
            allowance: Allowance::new(now),
        };
        match log.read_newest() {
            Ok(cut) => (log, cut),
            Err(error) => {
                log.failure = Some(error.to_string());
                (log, None)
            }
        }
    }

    fn read_newest(&mut self) -> Result<Option<String>, AuditError> {
        self.segments = segment::list(&self.folder)?;
        let Some(newest) = self.segments.last().copied() else { return Ok(None) };
        let path = segment::path(&self.folder, newest);
        let read = segment::read(&path)?;
        if read.entries.is_empty() && self.segments.len() > 1 {
            // A crash came between making it and its first entry.
            std::fs::remove_file(&path).map_err(|source| AuditError::Write { path, source })?;
            return self.read_newest();
        }
        let damaged = |source| AuditError::Damaged { path: path.clone(), source };
        self.head = segment::verify(&read.entries, newest).map_err(damaged)?;
        self.synced = self.head;
        let write = |source| AuditError::Write { path: path.clone(), source };
        let file = File::options().read(true).write(true).open(&path).map_err(write)?;
        self.length = read.length;
        let mut cut = None;
        if read.cut > 0 {
            file.set_len(read.length).and_then(|()| file.sync_data()).map_err(write)?;
            cut = Some(format!("the last {} bytes were cut off: their write had not ended", read.cut));
        }
        self.file = Some(file);
        Ok(cut)
    }

    /// True when nothing was ever written.
    pub(super) fn is_empty(&self) -> bool {
        self.head == Head::START && self.failure.is_none()
    }

    /// Why it takes nothing, if so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The newest durable entry, if there is one.
    pub(super) fn position(&self) -> Option<AuditPosition> {
        let Head { sequence, hash } = self.synced;
        (sequence > 0 && self.failure.is_none()).then_some(AuditPosition { sequence, hash })
    }

    /// True when an entry is not durable yet.
    pub(super) fn is_dirty(&self) -> bool {
        self.synced != self.head && self.failure.is_none()
    }

    /// Takes space for the entries of what is about to start.
    pub(super) fn reserve(&mut self) -> Result<(), AuditError> {
        self.check()?;
        self.open_segment()?;
        let file = self.file.as_ref().expect("a segment was opened");
        preallocate(file, self.length, AHEAD_BYTES).map_err(|source| self.write_error(source))
    }

    /// Writes entries and syncs them.
    pub(super) fn append(&mut self, now: Timestamp, acts: Vec<Act>) -> Result<AuditPosition, AuditError> {
        self.write(now, acts)?;
        self.sync()?;
        Ok(AuditPosition { sequence: self.head.sequence, hash: self.head.hash })
    }

    fn write(&mut self, now: Timestamp, acts: Vec<Act>) -> Result<(), AuditError> {
        self.check()?;
        self.open_segment()?;
        let mut head = self.head;
        let mut text = Vec::new();
        for act in acts {
            let entry = sealed(act, head, now);
            head = Head { sequence: entry.sequence, hash: entry.hash };
            serde_json::to_writer(&mut text, &entry).expect("an entry is plain text and numbers");
            text.push(b'\n');
        }
        let file = self.file.as_ref().expect("a segment was opened");
        if let Err(source) = file.write_all_at(&text, self.length) {
            if let Err(error) = file.set_len(self.length) {
                self.failure = Some(error.to_string());
            }
            return Err(self.write_error(source));
        }
        self.length += u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.head = head;
        Ok(())
    }

    /// Writes an entry of something refused, or of a small change. It is durable with the next sync: who is refused
    /// again and again must not keep the disk busy, and past a rate the refusals are only counted, so that it does not
    /// fill either.
    pub(super) fn note(&mut self, now: Timestamp, act: Act) {
        let mut acts = Vec::new();
        match self.allowance.take(now) {
            None => return,
            Some(0) => {}
            Some(suppressed) => acts.push(suppressed_act(suppressed)),
        }
        acts.push(act);
        if let Err(error) = self.write(now, acts) {
            tracing::error!(%error, "a refusal is not in the audit chain");
        }
    }

    /// Makes everything so far durable.
    pub(super) fn sync(&mut self) -> Result<(), AuditError> {
        let Some(file) = self.file.as_ref().filter(|_| self.is_dirty()) else { return Ok(()) };
        if let Err(source) = file.sync_data() {
            self.failure = Some(source.to_string());
            return Err(self.write_error(source));
        }
        self.synced = self.head;
        Ok(())
    }

    /// Up to `limit` entries after a sequence, each in JSON, oldest first. Reading on where the last answer ended costs
    /// no more than what is read.
    pub(super) fn entries(&mut self, after: u64, limit: u16) -> Result<Vec<String>, AuditError> {
        let mut place = self.place_after(after);
        let (mut found, mut bytes, mut last) = (Vec::new(), 0, after);
        while let Some(first) = self.segments.get(place.0).copied() {
            let text = segment::lines_from(&segment::path(&self.folder, first), place.1)?;
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                let sequence = segment::sequence_of(line).unwrap_or(0);
                if sequence > after {
                    bytes += line.len();
                    if found.len() == usize::from(limit) || bytes > ANSWER_BYTES_MAX {
                        self.cursor = Some(Cursor { after: last, first, offset: place.1 });
                        return Ok(found);
                    }
                    found.push(String::from_utf8_lossy(line).trim_end().to_owned());
                    last = sequence;
                }
                place.1 += u64::try_from(line.len()).unwrap_or(u64::MAX);
            }
            if text.is_empty() {
                self.cursor = Some(Cursor { after: last, first, offset: place.1 });
                place = (place.0 + 1, 0);
            }
        }
        Ok(found)
    }

    /// Which segment, and where in it, to begin reading: at the entry behind `after` or before it.
    fn place_after(&self, after: u64) -> (usize, u64) {
        let index =
            self.segments.partition_point(|first| *first <= after.saturating_add(1)).saturating_sub(1);
        match self.cursor {
            Some(cursor) if cursor.after == after => {
                let index = self.segments.iter().position(|first| *first == cursor.first);
                index.map_or((0, 0), |index| (index, cursor.offset))
            }
            _ => (index, 0),
        }
    }

    fn check(&self) -> Result<(), AuditError> {
        match &self.failure {
            Some(reason) => Err(AuditError::Failed { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn write_error(&self, source: io::Error) -> AuditError {
        AuditError::Write { path: self.folder.clone(), source }
    }

    /// Makes sure that there is a segment with room. On a full disk the one there is grows on.
    fn open_segment(&mut self) -> Result<(), AuditError> {
        if self.file.is_some() && self.length < SEGMENT_BYTES {
            return Ok(());
        }
        match self.begin_segment() {
            Err(error) if self.file.is_none() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the audit chain's segment grows on");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn begin_segment(&mut self) -> Result<(), AuditError> {
        let first = self.head.sequence + 1;
        let file = segment::create(&self.folder, first).map_err(|source| self.write_error(source))?;
        if let Some(old) = &self.file {
            old.sync_data().map_err(|source| self.write_error(source))?;
        }
        self.file = Some(file);
        self.length = 0;
        self.segments.push(first);
        while self.segments.len() > SEGMENTS_MAX {
            let oldest = self.segments.remove(0);
            let path = segment::path(&self.folder, oldest);
            let removed = std::fs::remove_file(&path).and_then(|()| sync_folder(&path));
            removed.map_err(|source| self.write_error(source))?;
            tracing::info!(path = %path.display(), "oldest segment of the audit chain removed");
        }
        Ok(())
    }
}

fn suppressed_act(count: u64) -> Act {
    Act {
        actor: "local".to_owned(),
        action: "audit.suppress",
        target: "audit".to_owned(),
        outcome: AuditOutcome::Denied,
        detail: format!("{count} further refusals were counted and not written one by one"),
    }
}

fn sealed(act: Act, head: Head, now: Timestamp) -> AuditEntry {
    let mut entry = AuditEntry {
        sequence: head.sequence + 1,
        previous: head.hash,
        time: now,
        actor: shortened(act.actor),
        action: act.action.to_owned(),
        target: shortened(act.target),
        outcome: act.outcome,
        detail: shortened(act.detail),
        hash: head.hash,
    };
    entry.hash = entry_hash(&entry);
    entry
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
