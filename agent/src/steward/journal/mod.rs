//! The steward's order journal: what was accepted, started, finished and reported, each on disk before anybody hears
//! of it. It is why a command starts at most once.
//!
//! One file that only grows, rewritten as a whole when too much of it is past. Space for the outcomes of what runs is
//! taken in advance, so that a full disk stops new orders and never the record of a started one.
//! Invariants: nothing is started before its `started` record is synced. A damaged journal is refused by name, never
//! read as empty; the end of a write that a crash cut short is cut off.

#![expect(clippy::disallowed_methods, reason = "an edge: the journal is a file")]

mod index;
mod opening;
mod record;
mod rewrite;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use campanile_common::authority::RunId;
use campanile_common::id::{JournalId, OrderId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::{JournalPosition, Outcome, OutputChunk};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use index::Index;
pub(super) use index::KnownRun;
use record::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Found, Header};
pub(super) use record::{Record, StandingMemory};

use super::output::KeptOutput;

const FILE: &str = "journal";
/// Runs that are remembered at once: tens of megabytes of memory. More orders within their validity are denied.
const RUNS_MAX: usize = 65_536;
/// What an outcome takes beside its output.
const OUTCOME_BYTES: u64 = 16 * 1024;

/// How large the file may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct JournalLimits {
    /// From here on it is rewritten when half of it is past.
    pub(super) rewrite_bytes: u64,
    /// Never more: a rewriting forgets the oldest outputs for it, and orders are denied when that is not enough.
    pub(super) bytes_max: u64,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self { rewrite_bytes: 8 << 20, bytes_max: 64 << 20 }
    }
}

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// It cannot be opened or read.
    #[error("cannot read the order journal {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// It is not what was written.
    #[error(
        "the order journal {path} is damaged at byte {offset}; move it away to begin a new one: what became of \
         earlier orders is then unknown here"
    )]
    Damaged { path: PathBuf, offset: u64 },
    /// Of a newer program.
    #[error(
        "the order journal {path} has format {found}, newest known is {}; install the newer agent",
        record::FORMAT
    )]
    TooNew { path: PathBuf, found: u16 },
    /// It cannot be written.
    #[error("cannot write the order journal {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    /// A write failed in a way that leaves open what is on disk.
    #[error("the order journal {path} failed and takes nothing until the steward is restarted: {reason}")]
    Failed { path: PathBuf, reason: String },
    /// It has reached its limits.
    #[error("the order journal {path} is full: {what}")]
    Full { path: PathBuf, what: &'static str },
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    limits: JournalLimits,
    header: Header,
    /// Sequence of the newest record.
    sequence: u64,
    /// Where the next frame goes.
    length: u64,
    /// Length right after the last rewriting.
    rewritten: u64,
    index: Index,
    /// Space taken in advance for the end of each run.
    reserved: BTreeMap<RunId, u64>,
    failure: Option<String>,
}

impl Journal {
    /// Where it stands.
    pub(super) fn position(&self) -> JournalPosition {
        JournalPosition { journal: self.header.id, sequence: self.sequence }
    }

    /// Why it takes nothing, if so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Of orders valid before this that are unknown here, nobody knows what became.
    pub(super) fn blind_before(&self) -> Option<Timestamp> {
        self.header.blind_before
    }

    /// Orders that expire no later than this may have been forgotten.
    pub(super) fn forgotten(&self) -> Timestamp {
        self.index.forgotten
    }

    /// What is known of a run.
    pub(super) fn known(&self, run: RunId) -> Option<&KnownRun> {
        self.index.runs.get(&run)
    }

    /// What is known of a standing order's earlier runs.
    pub(super) fn standing(&self, order: OrderId) -> Option<&StandingMemory> {
        self.index.standing.get(&order)
    }

    /// Any known run of an order has this digest; none when the order is unknown.
    pub(super) fn digest_of(&self, order: OrderId) -> Option<campanile_common::id::Digest> {
        let first = RunId { order, occurrence: None };
        let known = self.index.runs.range(first..).next().filter(|(run, _)| run.order == order);
        known.map(|(_, known)| known.digest).or_else(|| self.standing(order).map(|memory| memory.digest))
    }

    /// Runs that were accepted and have not ended.
    pub(super) fn unfinished(&self) -> Vec<RunId> {
        self.index.unfinished()
    }

    /// True when an aggregator that heard of `heard` proves that this journal was set back, or is another.
    pub(super) fn is_behind(&self, heard: JournalPosition) -> bool {
        if heard.journal == self.header.id {
            heard.sequence > self.sequence
        } else {
            !self.header.former.contains(&heard.journal)
        }
    }

    /// Takes space for the end of a run with so much output; also looks whether another run may be remembered.
    pub(super) fn reserve(
        &mut self,
        run: RunId,
        output_bytes: u32,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.check()?;
        // Chunks of one byte each are the worst.
        let needed = u64::from(output_bytes) * 2 + OUTCOME_BYTES;
        let needed = needed.min(u64_of(FRAME_BYTES_MAX));
        let all = self.reserved.values().sum::<u64>() + needed + OUTCOME_BYTES;
        let is_crowded = self.length + all > self.limits.bytes_max || self.index.runs.len() >= RUNS_MAX;
        if is_crowded && self.length > self.rewritten {
            self.rewrite_in_place(now)?;
        }
        let full = |what| Err(JournalError::Full { path: self.path.clone(), what });
        if self.index.runs.len() >= RUNS_MAX {
            return full("too many orders are within their validity");
        }
        if self.length + all > self.limits.bytes_max {
            return full("too many outcomes wait to be reported");
        }
        self.preallocate(all).map_err(|source| JournalError::Write { path: self.path.clone(), source })?;
        self.reserved.insert(run, needed);
        Ok(())
    }

    /// Gives back what [`Self::reserve`] took.
    pub(super) fn release(&mut self, run: RunId) {
        self.reserved.remove(&run);
    }

    /// Writes one frame and syncs it. Afterwards the records are durable, or none of them is there.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<JournalPosition, JournalError> {
        self.check()?;
        let full = || JournalError::Full { path: self.path.clone(), what: "a record is too long" };
        let frame = record::to_frame(records).ok_or_else(full)?;
        let written = self.file.write_all_at(&frame, self.length);
        if let Err(source) = written {
            // What is behind the end is cut off now, or on the next start.
            if let Err(error) = self.truncate() {
                self.failure = Some(error.to_string());
            }
            return Err(JournalError::Write { path: self.path.clone(), source });
        }
        if let Err(source) = self.file.sync_data() {
            // The kernel may have dropped the pages: a later sync would claim what is not so.
            self.failure = Some(source.to_string());
            return Err(JournalError::Write { path: self.path.clone(), source });
        }
        self.index.apply(records, self.length);
        self.length += u64_of(frame.len());
        self.sequence += u64_of(records.len());
        Ok(self.position())
    }

    /// Where the journal will stand after an append of so many records.
    pub(super) fn position_after(&self, records: usize) -> JournalPosition {
        JournalPosition { journal: self.header.id, sequence: self.sequence + u64_of(records) }
    }

    /// The output that was kept of a run that has ended.
    pub(super) fn output(&self, run: RunId) -> Result<KeptOutput, JournalError> {
        let place = self.known(run).and_then(|known| known.finished.as_ref()).and_then(|f| f.output);
        let mut output = KeptOutput::new(u32::MAX);
        let Some(place) = place else { return Ok(output) };
        for record in self.frame_at(place)? {
            if let Record::Output(chunk) = record {
                output.push(chunk.stream, &chunk.bytes);
            }
        }
        Ok(output)
    }

    fn frame_at(&self, place: u64) -> Result<Vec<Record>, JournalError> {
        let error = |source| JournalError::Read { path: self.path.clone(), source };
        let mut header = [0; FRAME_HEADER_BYTES];
        self.file.read_exact_at(&mut header, place).map_err(error)?;
        let length = u32::from_le_bytes(header[..4].try_into().expect("four bytes were cut"));
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(FRAME_BYTES_MAX);
        let mut bytes = header.to_vec();
        bytes.resize(FRAME_HEADER_BYTES + length, 0);
        self.file
            .read_exact_at(&mut bytes[FRAME_HEADER_BYTES..], place + u64_of(FRAME_HEADER_BYTES))
            .map_err(error)?;
        match record::read_frame(&bytes) {
            Found::Frame(records, _) => Ok(records),
            _ => Err(JournalError::Damaged { path: self.path.clone(), offset: place }),
        }
    }

    /// Was set back: takes a new id, and from now on nothing is known of orders that were valid before `now`.
    pub(super) fn begin_anew(&mut self, id: JournalId, now: Timestamp) -> Result<(), JournalError> {
        let mut header = self.header.clone();
        header.former.insert(0, header.id);
        header.former.truncate(record::FORMER_MAX);
        header.id = id;
        header.sequence = 0;
        header.blind_before = Some(now);
        self.rewrite(header, now)
    }

    /// The same, remembering `heard` as one of this node's journals.
    pub(super) fn begin_anew_after(
        &mut self,
        heard: JournalId,
        id: JournalId,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        if heard != self.header.id {
            self.header.former.insert(0, heard);
        }
        self.begin_anew(id, now)
    }

    /// Rewrites the file if too much of it is past.
    pub(super) fn tend(&mut self, now: Timestamp) -> Result<(), JournalError> {
        if self.length < self.limits.rewrite_bytes || self.length < self.rewritten * 2 {
            return Ok(());
        }
        self.rewrite_in_place(now)
    }

    fn rewrite_in_place(&mut self, now: Timestamp) -> Result<(), JournalError> {
        let mut header = self.header.clone();
        header.sequence = self.sequence;
        self.rewrite(header, now)
    }

    fn check(&self) -> Result<(), JournalError> {
        match &self.failure {
            Some(reason) => Err(JournalError::Failed { path: self.path.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Takes space behind the end without lengthening the file.
    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        preallocate(&self.file, self.length, bytes)
    }

    fn truncate(&self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_data()
    }
}

/// Takes space behind `length` without lengthening the file.
pub(super) fn preallocate(file: &File, length: u64, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, length, bytes) {
        // A file system that cannot promise space: writing tells.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The records that keep one outcome and its output.
pub(super) fn ending(outcome: Outcome, output: impl Iterator<Item = OutputChunk>) -> Vec<Record> {
    output.map(Record::Output).chain([Record::Finished(outcome)]).collect()
}

fn u64_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
