//! Holds samples while the aggregator is out of reach.
//!
//! A ring of segment files: when it is full, or its oldest samples are older than it keeps, the oldest segment goes
//! and its ticks become a counted gap. Knows nothing of QUIC: the link takes batches and says which were acknowledged.
//!
//! Invariant: a sample leaves by acknowledgement or by eviction, never by both. A spool that cannot be written loses
//! samples by tick, counted, and never stops the agent.

#![expect(clippy::disallowed_methods, reason = "an edge: the spool is a folder of files")]

mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::connection::LaneItem;
use campanile_common::id::InstanceId;
use campanile_common::sample::{Gap, GapReason, Position, Sample};
use campanile_common::time::Timestamp;
use campanile_common::unit::ByteCount;

use segment::{Segment, Writer};

/// A segment is closed at this size: small enough that evicting one loses minutes, not hours.
const SEGMENT_BYTES: u64 = 256 * 1024;
/// Gaps kept in memory until they can be written or sent; neighbours merge, so only a flapping disk makes many. Past
/// it the two oldest are joined, which counts the ticks between them as lost too.
const GAPS_MAX: usize = 256;

/// Limits of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Most bytes of all segments together.
    pub bytes: ByteCount,
    /// Samples older than this are evicted.
    pub age: Duration,
}

/// A spool that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder is not accessible.
    #[error("cannot open spool {path}")]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A segment was written by a newer program.
    #[error("spool segment {path} has format {found}, newest known is {known}; install the newer agent")]
    TooNew {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u16,
        /// Ours.
        known: u16,
    },
}

/// Samples of a stretch of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    instance: InstanceId,
    first: u64,
    last: u64,
}

/// The spool of one agent.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    limits: SpoolLimits,
    /// Closed segments, oldest first.
    segments: VecDeque<Segment>,
    writer: Option<Writer>,
    next_number: u64,
    /// Gaps not yet in a segment nor acknowledged.
    gaps: VecDeque<Gap>,
    /// Where the batch that is under way ends.
    in_flight: Option<InFlight>,
    evicted_ticks: u64,
    /// What the aggregator said it has of the run under way.
    known: Option<Position>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InFlight {
    /// By which the whole batch is acknowledged.
    end: Position,
    read: Reach,
}

/// How far a batch reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Up to this position in the oldest segment.
    Segment { offset: u64 },
    /// So many of the gaps in memory.
    Gaps { count: usize },
}

impl Spool {
    /// Keeps to other limits from the next write on.
    pub fn set_limits(&mut self, limits: SpoolLimits) {
        self.limits = limits;
    }

    /// Opens the spool in `folder`, reading what an earlier run left. A damaged segment is kept up to the damage; what
    /// was behind it cannot be counted by tick and is lost; the paths of such segments are returned to be logged.
    ///
    /// # Errors
    /// When the folder is not accessible or holds segments of a newer program.
    pub fn open(folder: &Path, limits: SpoolLimits) -> Result<(Self, Vec<PathBuf>), SpoolError> {
        let error = |source| SpoolError::Open { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(error)?;
        let mut numbers: Vec<u64> = std::fs::read_dir(folder)
            .map_err(error)?
            .filter_map(|entry| segment::number_of(&entry.ok()?.file_name()))
            .collect();
        numbers.sort_unstable();
        let mut segments = VecDeque::new();
        let mut damaged = Vec::new();
        for number in &numbers {
            let segment = Segment::scan(folder, *number)?;
            if segment.is_damaged {
                damaged.push(segment.path.clone());
            }
            if segment.stretches.is_empty() && segment.gaps.is_empty() {
                drop(std::fs::remove_file(&segment.path));
            } else {
                segments.push_back(segment);
            }
        }
        let spool = Self {
            folder: folder.to_owned(),
            limits,
            segments,
            writer: None,
            next_number: numbers.last().map_or(1, |last| last + 1),
            gaps: VecDeque::new(),
            in_flight: None,
            evicted_ticks: 0,
            known: None,
        };
        Ok((spool, damaged))
    }

    /// Appends one sample; when it cannot be written its tick becomes a gap and the error is returned to be logged.
    ///
    /// # Errors
    /// When the disk refuses; the loss is counted.
    pub fn append(&mut self, sample: &Sample) -> io::Result<()> {
        self.evict(sample.time);
        let appended = self.write(|writer| writer.append(sample));
        if appended.is_err() {
            let tick = sample.position;
            self.note_gap(Gap {
                instance: tick.instance,
                first: tick.sequence,
                last: tick.sequence,
                reason: GapReason::SpoolFailed,
            });
        }
        appended
    }

    /// Ticks that were never sampled or are lost: declared to the aggregator in their turn.
    pub fn note_gap(&mut self, gap: Gap) {
        // A gap under way to the aggregator keeps its bounds.
        let is_in_flight =
            self.in_flight.is_some_and(|flight| flight.read == Reach::Gaps { count: self.gaps.len() });
        if let Some(last) = self.gaps.back_mut() {
            let continues = last.instance == gap.instance && last.reason == gap.reason;
            if continues && last.last.checked_add(1) == Some(gap.first) && !is_in_flight {
                last.last = gap.last;
                return;
            }
        }
        self.gaps.push_back(gap);
        if self.gaps.len() > GAPS_MAX && self.in_flight.is_none() {
            self.join_oldest_gaps();
        }
    }

    /// The oldest items, at most `count`, none while a batch is under way or when there is nothing. The last item's
    /// position is what the aggregator will acknowledge.
    ///
    /// # Errors
    /// When the oldest segment cannot be read.
    pub fn next_batch(&mut self, count: usize) -> io::Result<Vec<LaneItem>> {
        if self.in_flight.is_some() {
            return Ok(Vec::new());
        }
        loop {
            let (mut items, read) = self.read_batch(count)?;
            let Some(read) = read else { return Ok(items) };
            let known = self.known;
            items.retain(|item| !known.is_some_and(|known| is_up_to(item.end(), known)));
            if let Some(last) = items.last() {
                self.in_flight = Some(InFlight { end: last.end(), read });
                return Ok(items);
            }
            // All of it is there already, or nothing in the segment can be read.
            self.pass(read);
        }
    }

    /// The oldest items and how far they reach; no reach when there is nothing left.
    fn read_batch(&mut self, count: usize) -> io::Result<(Vec<LaneItem>, Option<Reach>)> {
        if self.segments.is_empty() {
            self.close_writer();
        }
        let mut items = Vec::new();
        if let Some(oldest) = self.segments.front_mut() {
            let offset = oldest.read(count, &mut items)?;
            return Ok((items, Some(Reach::Segment { offset })));
        }
        items.extend(self.gaps.iter().copied().map(LaneItem::Gap));
        let reach = (!items.is_empty()).then_some(Reach::Gaps { count: items.len() });
        Ok((items, reach))
    }

    /// The aggregator has everything up to here: it need not be sent again.
    pub fn note_known(&mut self, known: Option<Position>) {
        self.known = known;
    }

    /// Late items up to this one are on the aggregator's disk. A batch goes as a whole: one that arrived in parts is
    /// acknowledged in parts, and stays until its last item is.
    pub fn release(&mut self, acknowledged: Position) {
        if let Some(flight) = self.in_flight.take_if(|flight| flight.end == acknowledged) {
            self.pass(flight.read);
        }
    }

    /// Everything up to here is at the aggregator.
    fn pass(&mut self, read: Reach) {
        match read {
            Reach::Gaps { count } => drop(self.gaps.drain(..count.min(self.gaps.len()))),
            Reach::Segment { offset } => {
                if let Some(oldest) = self.segments.front_mut() {
                    oldest.acknowledge(offset);
                    if oldest.offset >= oldest.bytes {
                        self.drop_oldest();
                    }
                }
            }
        }
    }

    /// The session ended: the batch under way will be sent again.
    pub fn forget_batch(&mut self) {
        self.in_flight = None;
    }

    /// True when there is nothing to back-fill.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.writer.is_none() && self.gaps.is_empty()
    }

    /// Gaps that only memory holds.
    pub fn gaps_in_memory(&self) -> impl Iterator<Item = Gap> {
        self.gaps.iter().copied()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> ByteCount {
        let closed: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        ByteCount(closed + self.writer.as_ref().map_or(0, |writer| writer.segment.bytes))
    }

    /// Ticks evicted since the agent started.
    pub const fn evicted_ticks(&self) -> u64 {
        self.evicted_ticks
    }

    /// Writes out gaps that are only in memory; called when the agent stops.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        self.in_flight = None;
        while let Some(gap) = self.gaps.front().copied() {
            self.write(|writer| writer.append_gap(gap))?;
            self.gaps.pop_front();
        }
        self.writer.as_ref().map_or(Ok(()), Writer::sync)
    }

    fn write(&mut self, append: impl FnOnce(&mut Writer) -> io::Result<()>) -> io::Result<()> {
        if self.writer.as_ref().is_some_and(|writer| writer.segment.bytes >= SEGMENT_BYTES) {
            self.close_writer();
        }
        if self.writer.is_none() {
            self.writer = Some(Writer::create(&self.folder, self.next_number)?);
            self.next_number += 1;
        }
        let writer = self.writer.as_mut().expect("just made");
        let appended = append(writer);
        if appended.is_err() {
            // What is behind a failed write is unknown: the next sample begins a new segment.
            self.close_writer();
        }
        appended
    }

    fn close_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            let segment = writer.close();
            if segment.stretches.is_empty() && segment.gaps.is_empty() {
                drop(std::fs::remove_file(&segment.path));
            } else {
                self.segments.push_back(segment);
            }
        }
    }

    fn evict(&mut self, now: Timestamp) {
        let oldest_kept = now - self.limits.age;
        while self.bytes().0 + SEGMENT_BYTES > self.limits.bytes.0
            || self.segments.front().is_some_and(|segment| segment.last_time < oldest_kept)
        {
            let Some(segment) = self.segments.front() else { break };
            let stretches = segment.unread_stretches();
            // One that was acknowledged already is declared again, which changes nothing.
            for gap in segment.gaps.clone() {
                self.note_gap(gap);
            }
            for stretch in stretches {
                self.evicted_ticks += stretch.last - stretch.first + 1;
                self.note_gap(Gap {
                    instance: stretch.instance,
                    first: stretch.first,
                    last: stretch.last,
                    reason: GapReason::Evicted,
                });
            }
            if self.in_flight.is_some_and(|flight| matches!(flight.read, Reach::Segment { .. })) {
                // It will be acknowledged or not; it is declared lost either way, and the aggregator keeps what it has.
                self.in_flight = None;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(segment) = self.segments.pop_front() {
            // A segment that stays on disk is sent again after a restart, and dropped there as a duplicate.
            drop(std::fs::remove_file(&segment.path));
        }
    }

    /// Makes one of the two oldest gaps of one run. Ticks between them that are at the aggregator stay received there: a
    /// tick that is here counts as here, whatever was declared.
    fn join_oldest_gaps(&mut self) {
        let pair = (1..self.gaps.len()).find(|at| self.gaps[*at - 1].instance == self.gaps[*at].instance);
        let joined = pair.and_then(|at| Some((self.gaps.remove(at)?, self.gaps.get_mut(at - 1)?)));
        match joined {
            Some((later, earlier)) => earlier.last = earlier.last.max(later.last),
            None => {
                let lost = self.gaps.pop_front();
                tracing::error!(?lost, "too many gaps of different runs: the oldest is forgotten");
            }
        }
    }
}

/// True when it is of that run and not after that tick.
fn is_up_to(end: Position, known: Position) -> bool {
    end.instance == known.instance && end.sequence <= known.sequence
}
