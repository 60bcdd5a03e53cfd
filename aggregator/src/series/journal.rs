//! The last hour of samples on disk, so that what was acknowledged survives a kill.
//!
//! Append-only segments of five minutes, each readable by itself:
//!
//! ```text
//! "CAMPJRN\0"  format u16   then records:  length u32 | crc32 u32 | node 8 bytes | frames of wire::v1::sample
//! ```
//!
//! All integers little-endian. A record that is cut short is the tail of a killed process; one that fails its checksum
//! is damage, and what is behind it in that segment is lost and named. The full series store takes its place.

#![expect(clippy::disallowed_methods, reason = "an edge: the journal is a folder of files")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::connection::LaneItem;
use campanile_common::id::NodeId;
use campanile_common::wire::frame::FrameDecoder;
use campanile_common::wire::v1::control::Lane;
use campanile_common::wire::v1::sample::{Block, SampleDecoder, SampleEncoder};

use super::{RETENTION, TakenItem};

const MAGIC: &[u8; 8] = b"CAMPJRN\0";
const FORMAT: u16 = 1;
const HEADER_BYTES: usize = 10;
const SEGMENT_AGE: Duration = Duration::from_secs(300);
/// A segment is closed at this size too: 500 agents at 1 Hz reach it within the five minutes.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// A journal that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder is not accessible.
    #[error("cannot open sample journal {path}")]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A segment was written by a newer program.
    #[error(
        "sample journal {path} has format {found}, newest known is {FORMAT}; install the newer aggregator"
    )]
    TooNew {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
}

/// The journal that is being written.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    next_number: u64,
    segment: Option<Segment>,
    /// Closed segments, oldest first, with the time of their end since the aggregator started.
    closed: Vec<(PathBuf, Duration)>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    opened: Duration,
    bytes: u64,
    encoders: HashMap<(NodeId, Lane), SampleEncoder>,
}

impl Journal {
    /// Opens the journal, giving every item of the retained time to `take`, oldest first. Returns the segments with
    /// damage.
    ///
    /// # Errors
    /// When the folder is not accessible or holds segments of a newer program.
    pub(super) fn open(
        folder: &Path,
        mut take: impl FnMut(NodeId, LaneItem),
    ) -> Result<(Self, Vec<PathBuf>), JournalError> {
        let error = |source| JournalError::Open { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(error)?;
        let mut numbers: Vec<u64> = std::fs::read_dir(folder)
            .map_err(error)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".journal")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let (mut closed, mut damaged) = (Vec::new(), Vec::new());
        for number in &numbers {
            let path = segment_path(folder, *number);
            if !replay(&path, &mut take)? {
                damaged.push(path.clone());
            }
            closed.push((path, Duration::ZERO));
        }
        let next_number = numbers.last().map_or(1, |last| last + 1);
        Ok((Self { folder: folder.to_owned(), next_number, segment: None, closed }, damaged))
    }

    /// Appends the items and syncs. On failure nothing of them counts as written. `up` is the time since the aggregator
    /// started: by a wall clock that is set an hour ahead, everything would be too old to keep.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn append(&mut self, items: &[TakenItem], up: Duration) -> io::Result<()> {
        let is_due = self.segment.as_ref().is_some_and(|segment| {
            up.saturating_sub(segment.opened) >= SEGMENT_AGE || segment.bytes >= SEGMENT_BYTES
        });
        if is_due {
            self.close_segment(up);
        }
        self.remove_old(up);
        if self.segment.is_none() {
            self.segment = Some(Segment::create(&self.folder, self.next_number, up)?);
            self.next_number += 1;
        }
        let segment = self.segment.as_mut().expect("just made");
        let appended = segment.append(items);
        if appended.is_err() {
            // What is behind a failed write is unknown, and the encoders are ahead of the file.
            drop(segment.file.set_len(segment.bytes));
            self.close_segment(up);
        }
        appended
    }

    fn close_segment(&mut self, up: Duration) {
        if let Some(segment) = self.segment.take() {
            self.closed.push((segment.path, up));
        }
    }

    fn remove_old(&mut self, up: Duration) {
        self.closed.retain(|(path, ended)| {
            let is_kept = up.saturating_sub(*ended) < RETENTION;
            if !is_kept {
                // One that cannot be removed is tried again after the next start.
                drop(std::fs::remove_file(path));
            }
            is_kept
        });
    }
}

impl Segment {
    fn create(folder: &Path, number: u64, up: Duration) -> io::Result<Self> {
        let path = segment_path(folder, number);
        // One that an earlier failure left behind holds nothing that was acknowledged.
        let mut file = File::options().write(true).create(true).truncate(true).open(&path)?;
        let mut header = MAGIC.to_vec();
        header.extend(FORMAT.to_le_bytes());
        file.write_all(&header)?;
        File::open(folder)?.sync_all()?;
        Ok(Self { file, path, opened: up, bytes: HEADER_BYTES as u64, encoders: HashMap::new() })
    }

    fn append(&mut self, items: &[TakenItem]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(items.len() * 256);
        let mut frames = Vec::new();
        for taken in items {
            frames.clear();
            match &taken.item {
                LaneItem::Sample(sample) => {
                    let encoder = self.encoders.entry((taken.node, taken.lane)).or_default();
                    encoder.encode(sample, &mut frames).map_err(io::Error::other)?;
                }
                LaneItem::Gap(gap) => frames.extend(Block::Gap(*gap).to_bytes().map_err(io::Error::other)?),
            }
            let length = u32::try_from(frames.len() + 9).map_err(io::Error::other)?;
            let lane = [u8::from(taken.lane == Lane::Backfill)];
            let mut hasher = crc32fast::Hasher::new();
            for part in [&taken.node.as_bytes()[..], &lane, &frames] {
                hasher.update(part);
            }
            bytes.extend(length.to_le_bytes());
            bytes.extend(hasher.finalize().to_le_bytes());
            bytes.extend(taken.node.as_bytes());
            bytes.extend(lane);
            bytes.extend(&frames);
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016}.journal"))
}

/// Reads one segment; false when it is damaged.
fn replay(path: &Path, take: &mut impl FnMut(NodeId, LaneItem)) -> Result<bool, JournalError> {
    let error = |source| JournalError::Open { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(error)?;
    let Some((header, mut rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        // Killed before the header was whole: nothing in it was acknowledged.
        return Ok(true);
    };
    if &header[..8] != MAGIC {
        return Ok(false);
    }
    let found = u16::from_le_bytes([header[8], header[9]]);
    if found > FORMAT {
        return Err(JournalError::TooNew { path: path.to_owned(), found });
    }
    let mut decoders: HashMap<(NodeId, u8), SampleDecoder> = HashMap::new();
    while let Some((&[a, b, c, d, crc @ ..], body)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some((record, after)) = body.split_at_checked(length) else { return Ok(true) };
        if crc32fast::hash(record) != u32::from_le_bytes(crc) {
            return Ok(false);
        }
        let Some((node, [lane, frames @ ..])) = record.split_first_chunk::<8>() else { return Ok(false) };
        let node = NodeId::from_bytes(*node);
        let decoder = decoders.entry((node, *lane)).or_default();
        let Some(item) = decode(decoder, frames) else { return Ok(false) };
        take(node, item);
        rest = after;
    }
    Ok(true)
}

fn decode(decoder: &mut SampleDecoder, bytes: &[u8]) -> Option<LaneItem> {
    let mut frames = FrameDecoder::default();
    frames.push(bytes);
    let mut item = None;
    while let Some(frame) = frames.next().ok()? {
        match Block::from_frame(&frame).ok()? {
            Block::Schema(schema) => decoder.schema(schema).ok()?,
            Block::Round(round) => item = Some(LaneItem::Sample(decoder.round(&round).ok()?)),
            Block::Gap(gap) => item = Some(LaneItem::Gap(gap)),
            Block::Open(_) => return None,
        }
    }
    item
}
