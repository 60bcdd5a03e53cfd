//! `/proc/pressure`: how long work waited for processors, memory and disks (PSI). Kernels without it have none.

use std::path::Path;

use campanile_common::sample::Scale;

use super::readings::{Family, Readings, Scalars};
use super::text::{fields, lines, number};
use super::{CollectError, Collector, Outcome, Round, absent_if_missing};
use crate::os::proc_fs::{KeptFile, Layout};

/// The kernel counts microseconds.
const MICROS: Scale = Scale::Over(1_000_000);

static FAMILIES: &[Family] = &[
    Family::counter("node_pressure_cpu_waiting_seconds_total", MICROS),
    Family::counter("node_pressure_memory_waiting_seconds_total", MICROS),
    Family::counter("node_pressure_memory_stalled_seconds_total", MICROS),
    Family::counter("node_pressure_io_waiting_seconds_total", MICROS),
    Family::counter("node_pressure_io_stalled_seconds_total", MICROS),
];

/// File, what it is called in errors, where `some` goes and where `full` goes. `full` of cpu means nothing for a
/// whole machine.
type Source = (&'static str, &'static str, usize, Option<usize>);
const SOURCES: [Source; 3] = [
    ("cpu", "/proc/pressure/cpu", 0, None),
    ("memory", "/proc/pressure/memory", 1, Some(2)),
    ("io", "/proc/pressure/io", 3, Some(4)),
];

/// Collector `pressure`.
#[derive(Debug)]
pub struct Pressure {
    files: [KeptFile; SOURCES.len()],
    series: Scalars,
}

impl Pressure {
    /// Reads below this `/proc`.
    pub fn new(proc_root: &Path) -> Self {
        let file = |(name, ..): Source| KeptFile::new(proc_root.join("pressure").join(name), Layout::Single);
        Self { files: SOURCES.map(file), series: Scalars::new(FAMILIES) }
    }
}

impl Collector for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        for (file, (_, what, some, full)) in self.files.iter_mut().zip(SOURCES) {
            let text = match file.read(round.buffer) {
                Ok(text) => text,
                Err(error) => return absent_if_missing(error),
            };
            let (found_some, found_full) = totals(text);
            self.series.set(readings, some, found_some.ok_or(CollectError::Malformed { what })?);
            if let Some(full) = full {
                self.series.set_some(readings, full, found_full);
            }
        }
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.series.forget();
    }
}

/// The totals of the `some` and the `full` line.
fn totals(text: &[u8]) -> (Option<i64>, Option<i64>) {
    let mut found = (None, None);
    for line in lines(text) {
        let mut fields = fields(line);
        let kind = fields.next();
        let total = fields.find_map(|field| field.strip_prefix(b"total=")).and_then(number);
        match kind {
            Some(b"some") => found.0 = total,
            Some(b"full") => found.1 = total,
            _ => {}
        }
    }
    found
}
