//! Runs the collectors once a tick and puts their readings together.
//!
//! A collector that fails or panics costs its own readings of that round and nothing else; what the agent says of
//! itself has the first places in the schema, so that no number of disks can push it out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::id::InstanceId;
use campanile_common::sample::{Position, Sample, Scale, TEXT_BYTES_MAX};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::Facts;

use super::collector::cgroup::Cgroup;
use super::collector::clock::Clock;
use super::collector::cpu::{self, Cpu};
use super::collector::disk::Disk;
use super::collector::filesystem::{Ask, Filesystem};
use super::collector::link::Links;
use super::collector::load::Load;
use super::collector::memory::{self, Memory};
use super::collector::mount::EXCLUDE_DEFAULT;
use super::collector::network::Network;
use super::collector::pressure::Pressure;
use super::collector::process::{AgentProcess, ProcessCount};
use super::collector::readings::{Devices, Family, OWNER_SAMPLER, Readings, Scalars};
use super::collector::systemd::Systemd;
use super::collector::temperature::Temperature;
use super::collector::zfs::Zfs;
use super::collector::{CollectError, Collector, Outcome, Round};
use super::own::{Manner, Own};
use crate::os::proc_fs::{KeptFile, Layout, read_attribute};
use crate::os::statvfs::space;
use crate::os::stopwatch::{Stopwatch, architecture};

/// Most files of a small machine fit; larger ones enlarge it.
const BUFFER_BYTES: usize = 8 * 1024;

static COLLECTORS: &[Family] = &[
    Family::gauge("campanile_agent_collector_success", Scale::ONE),
    Family::gauge("campanile_agent_collector_duration_seconds", Scale::Over(1_000_000)),
];
static TOTALS: &[Family] = &[
    Family::gauge("campanile_agent_series", Scale::ONE),
    Family::gauge("campanile_agent_series_dropped", Scale::ONE),
    Family::gauge("campanile_agent_settings_valid", Scale::ONE),
];
/// There only while a session stands.
static TRANSPORT: &[Family] = &[Family::gauge("campanile_agent_link_transport", Scale::ONE)];
/// QUIC, TCP, TCP through a proxy.
const TRANSPORTS_MAX: usize = 3;
/// There only while settings are refused.
static SETTINGS_ERROR: &[Family] = &[Family::gauge("campanile_agent_settings_error", Scale::ONE)];
/// Different errors told of in one run: whoever mends a file by trying has so many tries before only the figure is
/// left that something is wrong.
const SETTINGS_ERRORS_MAX: usize = 64;

/// Where to look and what to leave out.
#[derive(Clone)]
pub struct SamplerSettings {
    /// Where `/proc` is.
    pub proc_root: PathBuf,
    /// Where `/sys` is.
    pub sys_root: PathBuf,
    /// Where `/run` is: shows whether systemd, chrony and systemd-timesyncd run.
    pub run_root: PathBuf,
    /// Where os-release is.
    pub os_release: PathBuf,
    /// The run of the agent that samples belong to.
    pub instance: InstanceId,
    /// Mount points to leave out, with all below them; `*` stands for any text.
    pub filesystem_exclude: Vec<String>,
    /// Interfaces to leave out; `*` stands for any text.
    pub network_exclude: Vec<String>,
    /// The program that lists units.
    pub systemctl: PathBuf,
    /// The program that asks chrony.
    pub chronyc: PathBuf,
    /// Asks a file system for its space.
    pub statvfs: Ask,
}

impl SamplerSettings {
    /// This machine, with the usual things left out.
    pub fn new(instance: InstanceId) -> Self {
        Self {
            proc_root: PathBuf::from("/proc"),
            sys_root: PathBuf::from("/sys"),
            run_root: PathBuf::from("/run"),
            os_release: PathBuf::from("/etc/os-release"),
            instance,
            filesystem_exclude: EXCLUDE_DEFAULT.map(str::to_owned).to_vec(),
            // The host's ends of container links come and go by the dozen; their traffic is the bridge's too.
            network_exclude: vec!["veth*".to_owned()],
            systemctl: PathBuf::from("systemctl"),
            chronyc: PathBuf::from("chronyc"),
            statvfs: Arc::new(space),
        }
    }
}

impl std::fmt::Debug for SamplerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SamplerSettings")
            .field("proc_root", &self.proc_root)
            .field("sys_root", &self.sys_root)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Takes samples.
pub struct Sampler {
    settings: SamplerSettings,
    watch: Stopwatch,
    last_uptime: Duration,
    buffer: Vec<u8>,
    collectors: Vec<Watched>,
    readings: Readings,
    totals: Scalars,
    successes: Devices,
    /// Why the settings as written are refused; none while they are in force.
    settings_error: Option<String>,
    settings_errors: Devices,
    /// What carries the session.
    transport: Option<&'static str>,
    transports: Devices,
    own: Own,
}

/// A collector and how it did.
struct Watched {
    collector: Box<dyn Collector>,
    has_failed: bool,
}

impl Sampler {
    /// Opens nothing yet.
    pub fn new(settings: SamplerSettings) -> Self {
        let (proc, sys, run) = (&settings.proc_root, &settings.sys_root, &settings.run_root);
        let collectors: Vec<Box<dyn Collector>> = vec![
            Box::new(Cpu::new(proc)),
            Box::new(Memory::new(proc)),
            Box::new(Load::new(proc)),
            Box::new(Pressure::new(proc)),
            Box::new(Disk::new(proc)),
            Box::new(Network::new(proc, settings.network_exclude.clone())),
            Box::new(Zfs::new(proc)),
            Box::new(Cgroup::new(sys)),
            Box::new(AgentProcess::new(proc)),
            Box::new(Filesystem::new(
                proc,
                settings.filesystem_exclude.clone(),
                Arc::clone(&settings.statvfs),
            )),
            Box::new(ProcessCount::new(proc)),
            Box::new(Links::new(sys, settings.network_exclude.clone())),
            Box::new(Temperature::new(sys)),
            Box::new(Systemd::new(run, settings.systemctl.clone())),
            Box::new(Clock::new(run, settings.chronyc.clone())),
        ];
        Self::with_collectors(settings, collectors)
    }

    /// A sampler of these collectors alone.
    pub fn with_collectors(settings: SamplerSettings, collectors: Vec<Box<dyn Collector>>) -> Self {
        let collectors: Vec<Watched> =
            collectors.into_iter().map(|collector| Watched { collector, has_failed: false }).collect();
        Self {
            settings,
            watch: Stopwatch::start(),
            last_uptime: Duration::ZERO,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            successes: Devices::new(COLLECTORS, collectors.len()),
            collectors,
            readings: Readings::default(),
            totals: Scalars::new(TOTALS),
            settings_error: None,
            settings_errors: Devices::new(SETTINGS_ERROR, SETTINGS_ERRORS_MAX),
            transport: None,
            transports: Devices::new(TRANSPORT, TRANSPORTS_MAX),
            own: Own::new(Manner::default()),
        }
    }

    /// Samples tell from now on how the agent runs.
    pub fn set_manner(&mut self, manner: Manner) {
        self.own = Own::new(manner);
    }

    /// Leaves out these mount points, beside those that are always left out, from the next round on.
    pub fn exclude_mounts(&mut self, more: &[String]) {
        let all: Vec<String> =
            EXCLUDE_DEFAULT.map(str::to_owned).into_iter().chain(more.iter().cloned()).collect();
        for watched in &mut self.collectors {
            watched.collector.exclude_mounts(&all);
        }
        self.settings.filesystem_exclude = all;
    }

    /// Samples tell from now on why settings are refused, or that they are not.
    pub fn set_settings_error(&mut self, error: Option<String>) {
        self.settings_error = error.map(|mut error| {
            error.truncate(error.floor_char_boundary(TEXT_BYTES_MAX));
            error
        });
    }

    /// Samples tell from now on what carries the session, or that there is none.
    pub fn set_transport(&mut self, transport: Option<&'static str>) {
        self.transport = transport;
    }

    /// One round. `sequence` is the tick number. Never blocks on a hanging file system.
    pub fn sample(&mut self, sequence: u64, now: Timestamp) -> Sample {
        self.sample_at(self.watch.elapsed(), sequence, now)
    }

    /// [`Self::sample`], so long after the sampler was made; tests choose how long.
    pub fn sample_at(&mut self, uptime: Duration, sequence: u64, now: Timestamp) -> Sample {
        if self.readings.begin() {
            self.forget();
        }
        self.readings.enter(OWNER_SAMPLER);
        self.claim_places();
        // One errand a second, so that they rarely overlap; slower ticks must catch up.
        let since_last = uptime.saturating_sub(self.last_uptime).as_secs();
        let mut starts = u32::try_from(since_last.clamp(1, 60)).expect("is at most 60");
        self.last_uptime = uptime;
        for index in 0..self.collectors.len() {
            starts = self.run(index, uptime, starts);
        }
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let (series, dropped) = (count(self.readings.series()), count(self.readings.dropped()));
        self.totals.set(&mut self.readings, 0, series);
        self.totals.set(&mut self.readings, 1, dropped);
        self.totals.set(&mut self.readings, 2, self.settings_error.is_none().into());
        let (schema, readings) = self.readings.take();
        let position = Position { instance: self.settings.instance, sequence };
        Sample { position, time: now, schema, readings }
    }

    /// What this machine is. What cannot be read is left empty.
    pub fn facts(&self) -> Facts {
        let kernel = |name: &str| {
            read_attribute(&self.settings.proc_root.join("sys/kernel").join(name)).unwrap_or_default()
        };
        let mut buffer = Vec::new();
        let mut read = |name: &str| {
            let mut file = KeptFile::new(self.settings.proc_root.join(name), Layout::Single);
            file.read(&mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
        };
        let (cpus, booted) = cpu::facts(&read("stat"));
        let booted = booted.and_then(|seconds| u64::try_from(seconds).ok()?.checked_mul(1000));
        Facts {
            hostname: kernel("hostname"),
            os: pretty_name(&read_attribute(&self.settings.os_release).unwrap_or_default()),
            kernel: kernel("osrelease"),
            architecture: architecture(),
            cpus,
            memory_bytes: memory::total_bytes(&read("meminfo")).unwrap_or(0),
            booted: Timestamp::from_millis(booted.unwrap_or(0)),
        }
    }

    fn forget(&mut self) {
        self.totals.forget();
        self.settings_errors.forget();
        self.transports.forget();
        self.own.forget();
        self.successes.forget();
        for watched in &mut self.collectors {
            watched.collector.forget();
        }
    }

    /// Gives the sampler's own series their places before any collector takes one.
    fn claim_places(&mut self) {
        self.totals.set(&mut self.readings, 0, 0);
        self.totals.set(&mut self.readings, 1, 0);
        self.totals.set(&mut self.readings, 2, 0);
        if let Some(error) = &self.settings_error
            && let Some(slot) =
                self.settings_errors.slot(&mut self.readings, error, |error| vec![("error", error)])
        {
            self.readings.set(slot, 0, 1);
        }
        if let Some(name) = self.transport
            && let Some(slot) =
                self.transports.slot(&mut self.readings, name, |name| vec![("transport", name)])
        {
            self.readings.set(slot, 0, 1);
        }
        self.own.set(&mut self.readings);
        self.successes.rewind();
        for watched in &self.collectors {
            let name = watched.collector.name();
            let _place = self.successes.slot(&mut self.readings, name, |name| vec![("collector", name)]);
        }
        self.successes.rewind();
    }

    /// Runs one collector; gives the number of threads that may still be started.
    fn run(&mut self, index: usize, uptime: Duration, starts: u32) -> u32 {
        let watched = &mut self.collectors[index];
        let readings = &mut self.readings;
        readings.enter(index);
        let watch = Stopwatch::start();
        let mut round = Round { uptime, starts, buffer: &mut self.buffer };
        let done = catch_unwind(AssertUnwindSafe(|| watched.collector.collect(&mut round, readings)));
        let starts = round.starts;
        let name = watched.collector.name();
        let done = done.unwrap_or_else(|_| {
            Err(CollectError::Failed { what: name, reason: "it panicked; please report this".to_owned() })
        });
        let outcome = match done {
            Ok(outcome) => {
                if std::mem::take(&mut watched.has_failed) {
                    tracing::info!(collector = name, "a collector works again");
                }
                Some(outcome)
            }
            Err(error) => {
                readings.discard(index);
                if !std::mem::replace(&mut watched.has_failed, true) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(collector = name, error, "a collector fails; its values are missing");
                }
                None
            }
        };
        if outcome != Some(Outcome::Absent)
            && let Some(slot) = self.successes.slot(readings, name, |name| vec![("collector", name)])
        {
            readings.set(slot, 0, (outcome == Some(Outcome::Complete)).into());
            readings.set(slot, 1, i64::try_from(watch.elapsed().as_micros()).unwrap_or(i64::MAX));
        }
        starts
    }
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The value of `PRETTY_NAME` in os-release, which is shell text.
fn pretty_name(os_release: &str) -> String {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    value.trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out the files that are read")]
mod tests;
