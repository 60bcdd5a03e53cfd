//! One file of the spool.
//!
//! ```text
//! "CAMPSPL\0"  format u16   then records:  length u32 | crc32 u32 | frames of wire::v1::sample
//! ```
//!
//! All integers little-endian. A record is one sample (its schema before it where that changed) or one gap. A record
//! that is cut short is the tail of a killed process and ends the segment; one that fails its checksum is damage.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use campanile_common::connection::LaneItem;
use campanile_common::sample::{Gap, Position, Sample};
use campanile_common::time::Timestamp;
use campanile_common::wire::frame::FrameDecoder;
use campanile_common::wire::v1::sample::{Block, SampleDecoder, SampleEncoder};

use super::{SpoolError, Stretch};

const MAGIC: &[u8; 8] = b"CAMPSPL\0";
const FORMAT: u16 = 1;
const HEADER_BYTES: u64 = 10;
/// Longest record: a schema of the most series, and a round.
const RECORD_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// A closed segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Length up to the last whole record.
    pub(super) bytes: u64,
    /// Everything before it was acknowledged.
    pub(super) offset: u64,
    pub(super) stretches: Vec<Stretch>,
    /// The gaps it holds.
    pub(super) gaps: Vec<Gap>,
    pub(super) last_time: Timestamp,
    pub(super) is_damaged: bool,
    /// Last tick of the batch under way.
    batch_end: Option<Position>,
    /// Last tick that was acknowledged, so that eviction counts only what is lost.
    acknowledged: Option<Position>,
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    encoder: SampleEncoder,
    pub(super) segment: Segment,
}

/// File name of a segment.
fn name(number: u64) -> String {
    format!("{number:016}.spool")
}

/// Number of the segment that a file name names.
pub(super) fn number_of(name: &OsStr) -> Option<u64> {
    name.to_str()?.strip_suffix(".spool")?.parse().ok()
}

impl Segment {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            bytes: HEADER_BYTES,
            offset: HEADER_BYTES,
            stretches: Vec::new(),
            gaps: Vec::new(),
            last_time: Timestamp::default(),
            is_damaged: false,
            batch_end: None,
            acknowledged: None,
        }
    }

    /// Reads a segment through, to know what it holds.
    pub(super) fn scan(folder: &Path, number: u64) -> Result<Self, SpoolError> {
        let path = folder.join(name(number));
        let error = |source| SpoolError::Open { path: path.clone(), source };
        let mut reader = BufReader::new(File::open(&path).map_err(error)?);
        let mut segment = Self::new(path.clone());
        let mut header = [0; 10];
        if reader.read_exact(&mut header).is_err() || &header[..8] != MAGIC {
            segment.is_damaged = true;
            return Ok(segment);
        }
        let found = u16::from_le_bytes([header[8], header[9]]);
        if found > FORMAT {
            return Err(SpoolError::TooNew { path, found, known: FORMAT });
        }
        let mut records = Records::new(reader);
        loop {
            match records.next().map_err(error)? {
                Record::Item(LaneItem::Sample(sample)) => {
                    segment.note(&sample);
                    segment.bytes = HEADER_BYTES + records.used;
                }
                Record::Item(LaneItem::Gap(gap)) => {
                    segment.gaps.push(gap);
                    segment.bytes = HEADER_BYTES + records.used;
                }
                Record::End => break,
                Record::Damaged => {
                    segment.is_damaged = true;
                    break;
                }
            }
        }
        Ok(segment)
    }

    /// Reads up to `count` items behind the acknowledged ones; returns the offset behind the last.
    ///
    /// The whole segment is decoded from its start, since samples are differences: at its size that is a millisecond.
    pub(super) fn read(&mut self, count: usize, items: &mut Vec<LaneItem>) -> io::Result<u64> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(HEADER_BYTES))?;
        let mut records = Records::new(BufReader::new(file));
        while items.len() < count {
            let begins = HEADER_BYTES + records.used;
            match records.next()? {
                Record::Item(item) if begins >= self.offset => items.push(item),
                Record::Item(_) => {}
                Record::End | Record::Damaged => return Ok(self.bytes),
            }
        }
        if let Some(LaneItem::Sample(sample)) = items.last() {
            self.batch_end = Some(sample.position);
        }
        Ok(HEADER_BYTES + records.used)
    }

    /// The aggregator has everything before `offset`.
    pub(super) fn acknowledge(&mut self, offset: u64) {
        self.offset = offset;
        self.acknowledged = self.batch_end.take().or(self.acknowledged);
    }

    /// Stretches not yet acknowledged. A batch that is under way counts as lost with the rest: the aggregator keeps
    /// what it already has.
    pub(super) fn unread_stretches(&self) -> Vec<Stretch> {
        let Some(acknowledged) = self.acknowledged else { return self.stretches.clone() };
        let holds = |stretch: &Stretch| {
            stretch.instance == acknowledged.instance
                && (stretch.first..=stretch.last).contains(&acknowledged.sequence)
        };
        let Some(index) = self.stretches.iter().position(holds) else { return self.stretches.clone() };
        let mut rest = self.stretches[index..].to_vec();
        rest[0].first = acknowledged.sequence + 1;
        rest.retain(|stretch| stretch.first <= stretch.last);
        rest
    }

    fn note(&mut self, sample: &Sample) {
        let position = sample.position;
        self.last_time = self.last_time.max(sample.time);
        match self.stretches.last_mut() {
            Some(last) if last.instance == position.instance && last.last + 1 == position.sequence => {
                last.last = position.sequence;
            }
            _ => self.stretches.push(Stretch {
                instance: position.instance,
                first: position.sequence,
                last: position.sequence,
            }),
        }
    }
}

impl Writer {
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = folder.join(name(number));
        let mut file = File::options().write(true).create_new(true).open(&path)?;
        let mut header = MAGIC.to_vec();
        header.extend(FORMAT.to_le_bytes());
        if let Err(error) = file.write_all(&header) {
            drop(std::fs::remove_file(&path));
            return Err(error);
        }
        Ok(Self { file, encoder: SampleEncoder::default(), segment: Segment::new(path) })
    }

    pub(super) fn append(&mut self, sample: &Sample) -> io::Result<()> {
        let mut frames = Vec::new();
        self.encoder.encode(sample, &mut frames).map_err(io::Error::other)?;
        self.write_record(&frames)?;
        self.segment.note(sample);
        Ok(())
    }

    pub(super) fn append_gap(&mut self, gap: Gap) -> io::Result<()> {
        let frames = Block::Gap(gap).to_bytes().map_err(io::Error::other)?;
        self.write_record(&frames)?;
        self.segment.gaps.push(gap);
        Ok(())
    }

    fn write_record(&mut self, frames: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frames.len()).map_err(io::Error::other)?;
        let mut record = Vec::with_capacity(frames.len() + 8);
        record.extend(length.to_le_bytes());
        record.extend(crc32fast::hash(frames).to_le_bytes());
        record.extend(frames);
        self.file.write_all(&record)?;
        self.segment.bytes += record.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn close(self) -> Segment {
        self.segment
    }
}

enum Record {
    Item(LaneItem),
    End,
    Damaged,
}

struct Records {
    reader: BufReader<File>,
    decoder: SampleDecoder,
    /// Bytes of whole records read so far.
    used: u64,
}

impl Records {
    fn new(reader: BufReader<File>) -> Self {
        Self { reader, decoder: SampleDecoder::default(), used: 0 }
    }

    fn next(&mut self) -> io::Result<Record> {
        let mut head = [0; 8];
        match self.reader.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Record::End),
            Err(error) => return Err(error),
        }
        let [a, b, c, d, crc @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length > RECORD_BYTES_MAX {
            return Ok(Record::Damaged);
        }
        let mut frames = vec![0; length as usize];
        match self.reader.read_exact(&mut frames) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Record::End),
            Err(error) => return Err(error),
        }
        if crc32fast::hash(&frames) != u32::from_le_bytes(crc) {
            return Ok(Record::Damaged);
        }
        self.used += u64::from(length) + 8;
        Ok(self.decode(&frames).map_or(Record::Damaged, Record::Item))
    }

    fn decode(&mut self, bytes: &[u8]) -> Option<LaneItem> {
        let mut frames = FrameDecoder::default();
        frames.push(bytes);
        let mut item = None;
        while let Some(frame) = frames.next().ok()? {
            match Block::from_frame(&frame).ok()? {
                Block::Schema(schema) => self.decoder.schema(schema).ok()?,
                Block::Round(round) => item = Some(LaneItem::Sample(self.decoder.round(&round).ok()?)),
                Block::Gap(gap) => item = Some(LaneItem::Gap(gap)),
                Block::Open(_) => return None,
            }
        }
        item
    }
}
