//! What a node measures: series (what is measured), a schema (which series, in which order) and samples (one
//! reading of each).
//!
//! Readings are integers in the unit the kernel counts in; [`Scale`] turns one into the unit that
//! node_exporter exposes. Integers make the difference to the round before small, and so the message.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::time::Timestamp;

/// Most series one schema may hold: a node with 256 processors has 2,048 of their times alone. A round of so many
/// readings, each of the longest encoding, still fits a frame.
pub const SERIES_MAX: usize = 4096;
/// Longest metric name, label name or label value, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// Longest schema: the bytes of all its names and labels together. Twice what the largest node needs.
pub const SCHEMA_BYTES_MAX: usize = 512 * 1024;
/// Last tick a run of an agent may reach: one a millisecond for 8,900 years. Sums of ticks stay far from overflow.
pub const TICK_MAX: u64 = 1 << 48;
/// Most labels on one series.
pub const SERIES_LABELS_MAX: usize = 8;

/// Whether a series only ever rises (until its source restarts) or moves both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeriesKind {
    /// Rises; a fall means that its source restarted.
    Counter,
    /// Moves both ways.
    Gauge,
}

/// How a reading becomes the exposed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scale {
    /// Exposed value = reading × this; 1024 for a reading in KiB exposed in bytes.
    Times(u32),
    /// Exposed value = reading ÷ this; 100 for a reading in hundredths of a second exposed in seconds.
    Over(u32),
}

impl Scale {
    /// The reading is the value.
    pub const ONE: Self = Self::Times(1);

    /// The exposed value of a reading.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
    pub fn apply(self, reading: i64) -> f64 {
        match self {
            Self::Times(factor) => reading as f64 * f64::from(factor),
            Self::Over(divisor) => reading as f64 / f64::from(divisor.max(1)),
        }
    }
}

/// One thing that is measured: a metric name with its labels, as node_exporter names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Series {
    /// Metric name, e.g. `node_cpu_seconds_total`.
    pub name: String,
    /// Label pairs in order of their names, without the node.
    pub labels: Vec<(String, String)>,
    /// Counter or gauge.
    pub kind: SeriesKind,
    /// Unit of the reading against the exposed unit.
    pub scale: Scale,
}

impl Series {
    /// Length of its name and labels together, which is what a schema is measured by.
    pub fn text_bytes(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.name.len() + labels
    }

    /// The value of one label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The series of one agent in the order in which its samples hold their readings.
pub type Schema = Arc<Vec<Series>>;

/// One round of readings.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Position in the run of this agent instance: the number of the sampling tick, so that a tick which was
    /// skipped shows as a missing number.
    pub position: Position,
    /// When the round began.
    pub time: Timestamp,
    /// Which series the readings belong to.
    pub schema: Schema,
    /// One reading per series of the schema, `None` where its collector gave none this round.
    pub readings: Vec<Option<i64>>,
}

impl Sample {
    /// Series with their exposed values, those without a reading left out.
    pub fn values(&self) -> impl Iterator<Item = (&Series, f64)> {
        self.schema
            .iter()
            .zip(&self.readings)
            .filter_map(|(series, reading)| reading.map(|reading| (series, series.scale.apply(reading))))
    }
}

/// Which tick of which agent run a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The run of the agent.
    pub instance: InstanceId,
    /// The tick within it, from 0.
    pub sequence: u64,
}

/// Why samples of some ticks will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GapReason {
    /// The spool was full, or its samples older than it keeps; the oldest went.
    Evicted,
    /// The spool could not be written, e.g. the disk is full.
    SpoolFailed,
    /// The sampler did not run: the machine was suspended or stalled.
    Stalled,
    /// A spool segment failed its checksum.
    Damaged,
}

/// Ticks of one run whose samples are lost, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The run of the agent.
    pub instance: InstanceId,
    /// First lost tick.
    pub first: u64,
    /// Last lost tick.
    pub last: u64,
    /// Why.
    pub reason: GapReason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_reading_prints_without_rounding_noise() {
        assert_eq!(Scale::Over(100).apply(12_345).to_string(), "123.45");
        assert_eq!(Scale::Times(1024).apply(3).to_string(), "3072");
    }
}
