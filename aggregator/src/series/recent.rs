//! One hour of every node's samples in memory, as the compact differences that came over the wire.
//!
//! A sample is about two bytes per series this way, so that a fleet's hour is tens of megabytes; a query decodes the
//! chunks it needs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use campanile_common::api::SeriesPoints;
use campanile_common::connection::LaneItem;
use campanile_common::sample::{Sample, Series};
use campanile_common::time::Timestamp;
use campanile_common::wire::frame::FrameDecoder;
use campanile_common::wire::v1::control::Lane;
use campanile_common::wire::v1::sample::{Block, SampleDecoder, SampleEncoder};

use super::RETENTION;
use super::intake::Intake;

/// Samples of one chunk: each begins with its schema, so longer ones are smaller and slower to search.
const CHUNK_SAMPLES: usize = 300;
/// A chunk is closed at this size too: schemas that change with every sample make it large.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of one node's hour; past it the oldest chunk goes. 1,000 series at 1 Hz need about as much.
const NODE_BYTES_MAX: usize = 16 * 1024 * 1024;

type LabelPairs = Vec<(String, String)>;
/// Seconds since the epoch, and value.
type Points = Vec<(f64, f64)>;

/// What is kept of one node.
#[derive(Debug, Default)]
pub(super) struct NodeSeries {
    pub(super) intake: Intake,
    /// The newest live sample and the one before it.
    pub(super) latest: Option<Arc<Sample>>,
    pub(super) previous: Option<Arc<Sample>>,
    chunks: VecDeque<Chunk>,
    open_live: Chunk,
    open_late: Chunk,
}

#[derive(Debug, Default)]
struct Chunk {
    first: Timestamp,
    last: Timestamp,
    count: usize,
    encoder: SampleEncoder,
    frames: Vec<u8>,
}

impl NodeSeries {
    /// Takes in an item; false when it was here already.
    pub(super) fn take(&mut self, lane: Lane, item: &LaneItem, now: Timestamp) -> bool {
        match item {
            LaneItem::Gap(gap) => self.intake.gap(gap, now) > 0,
            LaneItem::Sample(sample) => {
                if !self.intake.sample(sample.position, sample.time) {
                    return false;
                }
                self.keep(lane, sample);
                true
            }
        }
    }

    /// Shows a live sample as the current one.
    pub(super) fn show(&mut self, sample: &Sample) {
        let is_newer = self.latest.as_ref().is_none_or(|latest| {
            latest.position.instance != sample.position.instance
                || latest.position.sequence < sample.position.sequence
        });
        if is_newer {
            self.previous = self.latest.replace(Arc::new(sample.clone()));
        }
    }

    fn keep(&mut self, lane: Lane, sample: &Sample) {
        let open = if lane == Lane::Backfill { &mut self.open_late } else { &mut self.open_live };
        if open.count == CHUNK_SAMPLES || open.frames.len() >= CHUNK_BYTES_MAX {
            let mut full = std::mem::take(open);
            full.frames.shrink_to_fit();
            full.encoder = SampleEncoder::default();
            self.chunks.push_back(full);
        }
        let open = if lane == Lane::Backfill { &mut self.open_late } else { &mut self.open_live };
        if open.encoder.encode(sample, &mut open.frames).is_ok() {
            open.first = if open.count == 0 { sample.time } else { open.first.min(sample.time) };
            open.last = open.last.max(sample.time);
            open.count += 1;
        }
        let oldest = sample.time - RETENTION;
        self.chunks.retain(|chunk| chunk.last >= oldest);
        let mut bytes: usize = self.chunks.iter().map(|chunk| chunk.frames.len()).sum();
        while bytes > NODE_BYTES_MAX {
            let Some(chunk) = self.chunks.pop_front() else { break };
            bytes -= chunk.frames.len();
        }
    }

    /// Points of every series of this name whose labels include `labels`, within the times, in order of time.
    pub(super) fn points(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesPoints> {
        let mut found: BTreeMap<LabelPairs, Points> = BTreeMap::new();
        let is_wanted = |series: &Series| {
            series.name == name && labels.iter().all(|(key, value)| series.label(key) == Some(value.as_str()))
        };
        let chunks = self.chunks.iter().chain([&self.open_late, &self.open_live]);
        for chunk in chunks.filter(|chunk| chunk.count > 0 && chunk.first <= to && chunk.last >= from) {
            for sample in decode(&chunk.frames) {
                if sample.time < from || sample.time > to {
                    continue;
                }
                for (series, value) in sample.values().filter(|(series, _)| is_wanted(series)) {
                    let points = match found.get_mut(&series.labels) {
                        Some(points) => points,
                        None => found.entry(series.labels.clone()).or_default(),
                    };
                    points.push((seconds(sample.time), value));
                }
            }
        }
        found
            .into_iter()
            .map(|(labels, mut points)| {
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                SeriesPoints { name: name.to_owned(), labels: labels.into_iter().collect(), points }
            })
            .collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit 53 bits for 200,000 years")]
fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1000.0
}

/// The samples of a chunk; it was encoded here, so what does not decode is left out rather than reported.
fn decode(bytes: &[u8]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut decoder = SampleDecoder::default();
    let mut frames = FrameDecoder::default();
    frames.push(bytes);
    while let Ok(Some(frame)) = frames.next() {
        match Block::from_frame(&frame) {
            Ok(Block::Schema(schema)) => drop(decoder.schema(schema)),
            Ok(Block::Round(round)) => samples.extend(decoder.round(&round)),
            _ => {}
        }
    }
    samples
}
