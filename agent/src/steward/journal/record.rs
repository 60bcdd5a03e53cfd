//! What the journal holds, and how it is laid out.
//!
//! ```text
//! header   "CAMPJNL\0"  format u16 | journal id 8 | sequence u64 | carried u32 | blind u64 | former ids 4 x 8 | crc u32
//! frames   length u32 | length's complement u32 | crc u32 | records, each: length u32 | record
//! ```
//!
//! All integers little-endian. One frame is one write and one sync: it is there as a whole, or it never was. The
//! length is there twice, so that a frame that was cut short is told from one whose length was damaged.

use campanile_common::authority::RunId;
use campanile_common::id::{Digest, JournalId, OrderId};
use campanile_common::time::Timestamp;
use campanile_common::wire::codec;
use campanile_common::wire::v1::order::{Outcome, OutputChunk};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"CAMPJNL\0";
/// Format of the file.
pub(super) const FORMAT: u16 = 1;
/// Length of the header.
pub(super) const HEADER_BYTES: usize = 74;
/// Length of a frame's own header.
pub(super) const FRAME_HEADER_BYTES: usize = 12;
/// Longest frame: the most output there may be in chunks of any size, and what goes with it.
pub(super) const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Former ids that are remembered.
pub(super) const FORMER_MAX: usize = 4;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::steward) enum Record {
    /// A run was accepted.
    Received {
        /// Which.
        run: RunId,
        /// Digest of the order's bytes.
        digest: Digest,
        /// When the order expires: a record is kept longer than that.
        expires: Timestamp,
    },
    /// It is about to be started.
    Started {
        /// Which.
        run: RunId,
        /// When.
        time: Timestamp,
    },
    /// Output of the run whose [`Record::Finished`] follows in the same frame.
    Output(OutputChunk),
    /// It ended.
    Finished(Outcome),
    /// The aggregator has its outcome; the output may go.
    Reported(RunId),
    /// Orders that expire no later than this were forgotten with their runs: their expiry denies them, and this does
    /// where the clock was set back.
    Forgotten(Timestamp),
    /// What is left of a standing order's earlier runs.
    Standing {
        /// Which order.
        order: OrderId,
        /// Its memory.
        memory: StandingMemory,
    },
}

/// What must be known of a standing order's earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::steward) struct StandingMemory {
    /// Digest of the order's bytes.
    pub(in crate::steward) digest: Digest,
    /// When the order expires.
    pub(in crate::steward) expires: Timestamp,
    /// Due time of the newest run.
    pub(in crate::steward) last_due: Timestamp,
    /// Runs so far.
    pub(in crate::steward) runs: u32,
}

/// What stands before the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: JournalId,
    /// Sequence of the last record before those that follow the carried ones.
    pub(super) sequence: u64,
    /// Records at the front that were carried over from the file before, and count for nothing.
    pub(super) carried: u32,
    /// Of orders valid before this that are unknown here, nobody knows what became.
    pub(super) blind_before: Option<Timestamp>,
    /// Ids that this journal had before it was found to be set back.
    pub(super) former: Vec<JournalId>,
}

/// Bytes that are no header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged,
    TooNew(u16),
}

impl Header {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.carried.to_le_bytes());
        bytes.extend_from_slice(&self.blind_before.map_or(0, Timestamp::as_millis).to_le_bytes());
        for index in 0..FORMER_MAX {
            bytes.extend_from_slice(self.former.get(index).map_or(&[0; 8], |id| id.as_bytes()));
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some(bytes) = bytes.get(..HEADER_BYTES) else { return Err(HeaderError::Damaged) };
        let (content, crc) = bytes.split_at(HEADER_BYTES - 4);
        if &content[..8] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        let format = u16::from_le_bytes([content[8], content[9]]);
        if format > FORMAT {
            return Err(HeaderError::TooNew(format));
        }
        if crc32fast::hash(content).to_le_bytes() != crc {
            return Err(HeaderError::Damaged);
        }
        let id = |at: usize| content[at..at + 8].try_into().expect("eight bytes were cut");
        let blind = u64::from_le_bytes(id(30));
        Ok(Self {
            id: JournalId::from_bytes(id(10)),
            sequence: u64::from_le_bytes(id(18)),
            carried: u32::from_le_bytes(content[26..30].try_into().expect("four bytes were cut")),
            blind_before: (blind > 0).then(|| Timestamp::from_millis(blind)),
            former: (0..FORMER_MAX)
                .map(|index| id(38 + 8 * index))
                .filter(|bytes| *bytes != [0; 8])
                .map(JournalId::from_bytes)
                .collect(),
        })
    }
}

/// The frame that holds these records; none when they are too long for one.
pub(super) fn to_frame(records: &[Record]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    for record in records {
        let body = codec::encode("Record", record).ok()?;
        bytes.extend_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&body);
    }
    let body = bytes.len() - FRAME_HEADER_BYTES;
    if body > FRAME_BYTES_MAX {
        return None;
    }
    let length = u32::try_from(body).ok()?;
    let crc = crc32fast::hash(&bytes[FRAME_HEADER_BYTES..]);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&(!length).to_le_bytes());
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    Some(bytes)
}

/// What stands at a place of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A frame's records, and its length with its header.
    Frame(Vec<Record>, usize),
    /// The end.
    End,
    /// The beginning of a frame whose write never ended: nothing was said or done on account of it.
    Cut,
    /// A whole frame, the last, whose content is not what was written. Whether its write had ended is not known.
    DamagedLast,
    /// Anything else.
    Damaged,
}

/// Reads the frame at the beginning of `rest`, which goes on to the end of the file.
pub(super) fn read_frame(rest: &[u8]) -> Found {
    if rest.is_empty() {
        return Found::End;
    }
    // A power cut may leave the file longer than what was written to it.
    if rest.iter().take(FRAME_HEADER_BYTES).all(|byte| *byte == 0) {
        return if rest.iter().all(|byte| *byte == 0) { Found::Cut } else { Found::Damaged };
    }
    let Some((header, rest)) = rest.split_at_checked(FRAME_HEADER_BYTES) else { return Found::Cut };
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes were cut"));
    let (length, complement, crc) = (word(0), word(4), word(8));
    let Ok(bytes) = usize::try_from(length) else { return Found::Damaged };
    if complement != !length || bytes > FRAME_BYTES_MAX {
        return Found::Damaged;
    }
    let Some(body) = rest.get(..bytes) else { return Found::Cut };
    let records = if crc32fast::hash(body) == crc { records(body) } else { None };
    match records {
        Some(records) => Found::Frame(records, FRAME_HEADER_BYTES + bytes),
        None if rest[bytes..].iter().all(|byte| *byte == 0) => Found::DamagedLast,
        None => Found::Damaged,
    }
}

fn records(mut body: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().expect("four bytes were cut"));
        let (record, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        records.push(codec::decode("Record", record).ok()?);
        body = rest;
    }
    Some(records)
}
