//! Samples on a stream, live or from the spool, and in the spool's files.
//!
//! A stream begins with [`Block::Open`]; [`Block::Schema`], in as many parts as it takes, names the series and the
//! position and time that the next sample counts from; each [`Block::Round`] then holds one difference per series to the round before.
//! Unchanged readings cost one byte. The stream is reliable and ordered, so differences are safe; whoever opens
//! a new one starts with a new schema.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::control::Lane;
use super::{MessageError, check_version, to_frame};
use crate::id::InstanceId;
use crate::sample::{
    Gap, Position, SCHEMA_BYTES_MAX, SERIES_LABELS_MAX, SERIES_MAX, Sample, Schema, Series, TEXT_BYTES_MAX,
    TICK_MAX,
};
use crate::time::Timestamp;
use crate::wire::codec::{self, CodecError};
use crate::wire::frame::Frame;

const STREAM: &str = "sample";
/// A part of a schema is closed when its texts reach this; one more series of the longest texts still fits.
const SCHEMA_PART_BYTES: usize = 32 * 1024;

/// A frame of a sample stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// First frame: which lane this is.
    Open(Lane),
    /// What the following rounds hold.
    Schema(SchemaBlock),
    /// One sample.
    Round(RoundBlock),
    /// Samples that will never come.
    Gap(Gap),
}

/// Series, and where the next round counts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaBlock {
    /// The run of the agent.
    pub instance: InstanceId,
    /// The next round's sequence counts from here.
    pub sequence: u64,
    /// The next round's time counts from here.
    pub time: Timestamp,
    /// One series per reading.
    pub series: Vec<Series>,
    /// True when the next block carries on with more series.
    pub has_more: bool,
}

/// One sample as differences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundBlock {
    /// Added to the sequence before.
    pub sequence_step: u64,
    /// Added to the time before, in milliseconds; negative when the clock was set back.
    pub time_step_ms: i64,
    /// Indices of series without a reading this round, rising.
    pub absent: Vec<u16>,
    /// One per series, wrapping difference to the last reading; 0 for absent ones.
    pub differences: Vec<i64>,
}

impl Block {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Open(lane) => to_frame(64, codec::encode("Open", lane)),
            Self::Schema(schema) => to_frame(65, codec::encode("Schema", schema)),
            Self::Round(round) => to_frame(66, codec::encode("Round", round)),
            Self::Gap(gap) => to_frame(67, codec::encode("Gap", gap)),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no block, or breaks a limit.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        check_version(frame)?;
        let body = &frame.body;
        let block = match frame.kind {
            64 => codec::decode("Open", body).map(Self::Open),
            65 => codec::decode("Schema", body).map(Self::Schema),
            66 => codec::decode("Round", body).map(Self::Round),
            67 => codec::decode("Gap", body).map(Self::Gap),
            kind => return Err(MessageError::Kind { kind, stream: STREAM }),
        };
        block.map_err(|source| MessageError::Body { stream: STREAM, source })
    }
}

/// Turns samples into blocks, for one stream or spool segment.
#[derive(Debug, Default)]
pub struct SampleEncoder {
    schema: Option<Schema>,
    position: Option<Position>,
    time: Timestamp,
    readings: Vec<i64>,
}

impl SampleEncoder {
    /// Appends the frames for `sample` to `out`: a schema where it changed, then the round.
    ///
    /// # Errors
    /// When the schema is too large for a frame; `out` is then unchanged.
    pub fn encode(&mut self, sample: &Sample, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let same_schema = self
            .schema
            .as_ref()
            .is_some_and(|schema| Arc::ptr_eq(schema, &sample.schema) || schema == &sample.schema);
        let continues = self.position.is_some_and(|last| {
            last.instance == sample.position.instance && last.sequence <= sample.position.sequence
        });
        let (mut base_sequence, mut base_time) = (sample.position.sequence, sample.time);
        if same_schema && continues {
            base_sequence = self.position.map_or(base_sequence, |last| last.sequence);
            base_time = self.time;
        } else {
            encode_schema(sample, out)?;
            self.readings = vec![0; sample.schema.len()];
        }
        let mut absent = Vec::new();
        let mut differences = Vec::with_capacity(sample.readings.len());
        for (index, (reading, last)) in sample.readings.iter().zip(&mut self.readings).enumerate() {
            match reading {
                Some(reading) => {
                    differences.push(reading.wrapping_sub(*last));
                    *last = *reading;
                }
                None => {
                    absent.push(u16::try_from(index).expect("schemas are shorter than 2^16"));
                    differences.push(0);
                }
            }
        }
        let round = RoundBlock {
            sequence_step: sample.position.sequence - base_sequence,
            time_step_ms: sample.time.as_millis().wrapping_sub(base_time.as_millis()).cast_signed(),
            absent,
            differences,
        };
        out.extend(Block::Round(round).to_bytes()?);
        self.schema = Some(Arc::clone(&sample.schema));
        self.position = Some(sample.position);
        self.time = sample.time;
        Ok(())
    }
}

fn encode_schema(sample: &Sample, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut parts: Vec<Vec<Series>> = vec![Vec::new()];
    let mut bytes = 0;
    for series in sample.schema.iter() {
        let labels: usize = series.labels.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
        bytes += series.name.len() + labels + 12;
        if bytes > SCHEMA_PART_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        parts.last_mut().expect("begins with one").push(series.clone());
    }
    let last = parts.len() - 1;
    let mut encoded = Vec::new();
    for (index, series) in parts.into_iter().enumerate() {
        let block = SchemaBlock {
            instance: sample.position.instance,
            sequence: sample.position.sequence,
            time: sample.time,
            series,
            has_more: index < last,
        };
        encoded.extend(Block::Schema(block).to_bytes()?);
    }
    out.append(&mut encoded);
    Ok(())
}

/// Turns blocks back into samples. Mirrors [`SampleEncoder`].
#[derive(Debug, Default)]
pub struct SampleDecoder {
    schema: Option<Schema>,
    /// Series of a schema whose last part has not come yet.
    parts: Vec<Series>,
    /// Bytes of their texts.
    parts_bytes: usize,
    position: Option<Position>,
    time: Timestamp,
    readings: Vec<i64>,
}

impl SampleDecoder {
    /// Takes in a schema.
    ///
    /// # Errors
    /// When it breaks a limit.
    pub fn schema(&mut self, block: SchemaBlock) -> Result<(), MessageError> {
        let invalid = |rule| Err(MessageError::Invalid { stream: STREAM, rule });
        if self.parts.len() + block.series.len() > SERIES_MAX {
            return invalid("more series than a schema may hold");
        }
        for series in &block.series {
            let texts = series.labels.iter().flat_map(|(name, value)| [name, value]).chain([&series.name]);
            if series.labels.len() > SERIES_LABELS_MAX {
                return invalid("a series with too many labels");
            }
            if texts.into_iter().any(|text| text.len() > TEXT_BYTES_MAX) {
                return invalid("a name or label longer than allowed");
            }
            self.parts_bytes += series.text_bytes();
            if self.parts_bytes > SCHEMA_BYTES_MAX {
                return invalid("a schema longer than allowed");
            }
            if !is_metric_name(&series.name) || !series.labels.iter().all(|(name, _)| is_label_name(name)) {
                return invalid("a name with characters Prometheus does not allow");
            }
        }
        self.parts.extend(block.series);
        if block.has_more {
            self.position = None;
            return Ok(());
        }
        let series = std::mem::take(&mut self.parts);
        self.parts_bytes = 0;
        self.readings = vec![0; series.len()];
        self.position = Some(Position { instance: block.instance, sequence: block.sequence });
        self.time = block.time;
        // An unchanged schema keeps its allocation, so that its readers can compare by pointer.
        if self.schema.as_deref() != Some(&series) {
            self.schema = Some(Arc::new(series));
        }
        Ok(())
    }

    /// Takes in a round and gives the sample it stands for.
    ///
    /// # Errors
    /// When no schema came before, or the round does not fit it.
    pub fn round(&mut self, block: &RoundBlock) -> Result<Sample, MessageError> {
        let invalid = |rule| MessageError::Invalid { stream: STREAM, rule };
        let (Some(schema), Some(position)) = (&self.schema, &mut self.position) else {
            return Err(invalid("a round before any schema"));
        };
        if block.differences.len() != schema.len() {
            return Err(invalid("a round of another length than its schema"));
        }
        let sequence = position.sequence.checked_add(block.sequence_step);
        let sequence = sequence.filter(|sequence| *sequence <= TICK_MAX);
        position.sequence = sequence.ok_or_else(|| invalid("a sequence past the last tick"))?;
        self.time = Timestamp::from_millis(self.time.as_millis().wrapping_add_signed(block.time_step_ms));
        for (last, difference) in self.readings.iter_mut().zip(&block.differences) {
            *last = last.wrapping_add(*difference);
        }
        let mut readings: Vec<Option<i64>> = self.readings.iter().copied().map(Some).collect();
        for index in &block.absent {
            let reading = readings.get_mut(usize::from(*index));
            *reading.ok_or_else(|| invalid("an absent series outside the schema"))? = None;
        }
        Ok(Sample { position: *position, time: self.time, schema: Arc::clone(schema), readings })
    }
}

fn is_metric_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.chars().next().is_some_and(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn is_label_name(text: &str) -> bool {
    is_metric_name(text) && !text.contains(':')
}

#[cfg(test)]
mod tests;
