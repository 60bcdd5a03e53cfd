//! How many processes there are, and what the agent itself uses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::sample::Scale;

use super::readings::{Family, Readings, Scalars};
use super::seldom::Seldom;
use super::text::{fields, number};
use super::{CollectError, Collector, Outcome, Round};
use crate::os::proc_fs::{KeptFile, Layout, count_numbers};
use crate::os::stopwatch::{page_bytes, process_cpu_time};

/// Listing thousands of processes takes a millisecond, so it is done seldom and aside.
const INTERVAL: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(5);

static COUNT: &[Family] = &[Family::gauge("node_processes_pids", Scale::ONE)];
static SELF: &[Family] = &[
    Family::counter("process_cpu_seconds_total", Scale::Over(1_000_000)),
    Family::gauge("process_resident_memory_bytes", Scale::Times(1024)),
];

/// Collector `processes`.
#[derive(Debug)]
pub struct ProcessCount {
    proc_root: PathBuf,
    count: Seldom<Result<u64, String>>,
    series: Scalars,
}

impl ProcessCount {
    /// Counts below this `/proc`.
    pub fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            count: Seldom::new("processes", INTERVAL, DEADLINE),
            series: Scalars::new(COUNT),
        }
    }
}

impl Collector for ProcessCount {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let answer = self.count.poll(round, || {
            let proc_root = self.proc_root.clone();
            move || count_numbers(&proc_root).map_err(|error| error.to_string())
        })?;
        match answer {
            None => Ok(Outcome::Absent),
            Some(Ok(count)) => {
                self.series.set(readings, 0, i64::try_from(*count).unwrap_or(i64::MAX));
                Ok(Outcome::Complete)
            }
            Some(Err(reason)) => {
                Err(CollectError::Failed { what: "listing processes", reason: reason.clone() })
            }
        }
    }

    fn forget(&mut self) {
        self.series.forget();
    }
}

/// Collector `agent`.
#[derive(Debug)]
pub struct AgentProcess {
    file: KeptFile,
    page_kibibytes: i64,
    series: Scalars,
}

impl AgentProcess {
    /// Reads below this `/proc`.
    pub fn new(proc_root: &Path) -> Self {
        Self {
            file: KeptFile::new(proc_root.join("self/statm"), Layout::Single),
            page_kibibytes: i64::from(page_bytes() / 1024),
            series: Scalars::new(SELF),
        }
    }
}

impl Collector for AgentProcess {
    fn name(&self) -> &'static str {
        "agent"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        self.series.set_some(readings, 0, i64::try_from(process_cpu_time().as_micros()).ok());
        let text = self.file.read(round.buffer)?.trim_ascii_end();
        let pages = fields(text).nth(1).and_then(number);
        let resident = pages.and_then(|pages| pages.checked_mul(self.page_kibibytes));
        self.series.set(readings, 1, resident.ok_or(CollectError::Malformed { what: "/proc/self/statm" })?);
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.series.forget();
    }
}
