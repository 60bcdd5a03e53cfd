//! `/proc/loadavg`: load, and the number of threads that stands beside it.

use std::path::Path;

use campanile_common::sample::Scale;

use super::readings::{Family, Readings, Scalars};
use super::text::{fields, fixed, number};
use super::{CollectError, Collector, Outcome, Round};
use crate::os::proc_fs::{KeptFile, Layout};

static FAMILIES: &[Family] = &[
    Family::gauge("node_load1", Scale::Over(100)),
    Family::gauge("node_load5", Scale::Over(100)),
    Family::gauge("node_load15", Scale::Over(100)),
    Family::gauge("node_processes_threads", Scale::ONE),
];

/// Collector `loadavg`.
#[derive(Debug)]
pub struct Load {
    file: KeptFile,
    series: Scalars,
}

impl Load {
    /// Reads below this `/proc`.
    pub fn new(proc_root: &Path) -> Self {
        Self {
            file: KeptFile::new(proc_root.join("loadavg"), Layout::Single),
            series: Scalars::new(FAMILIES),
        }
    }
}

impl Collector for Load {
    fn name(&self) -> &'static str {
        "loadavg"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let text = self.file.read(round.buffer)?.trim_ascii_end();
        let mut fields = fields(text);
        for index in 0..3 {
            let load = fields.next().and_then(|field| fixed(field, 2));
            self.series.set(readings, index, load.ok_or(CollectError::Malformed { what: "/proc/loadavg" })?);
        }
        let threads = fields.next().and_then(|field| number(field.split(|byte| *byte == b'/').nth(1)?));
        self.series.set_some(readings, 3, threads);
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.series.forget();
    }
}
