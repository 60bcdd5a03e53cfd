//! From the readings of a node to what health is judged by: node_exporter's series in, [`Vitals`] out.
//!
//! Runs for every node every second, so it walks the readings once, compares names without building any text and
//! copies only the names of what it keeps. Rates need the sample before; without one, or when the series
//! changed in between, they are none for this round.

use campanile_common::api::ResourceUsage;
use campanile_common::health::{Filesystem, Interface, Vitals};
use campanile_common::sample::{Sample, Series};
use campanile_common::unit::Percent;

/// How far the kernel's idle and I/O wait times fall at times without a restart, in seconds; node_exporter
/// bridges the same.
const IDLE_FALL_SECONDS_MAX: f64 = 3.0;

/// What `current` says of the node, and of the time since `previous`.
pub fn vitals(previous: Option<&Sample>, current: &Sample) -> Vitals {
    let before = previous.filter(|previous| {
        previous.time != current.time
            && (std::sync::Arc::ptr_eq(&previous.schema, &current.schema)
                || previous.schema == current.schema)
    });
    let mut gathered = Gathered::default();
    for (index, (series, reading)) in current.schema.iter().zip(&current.readings).enumerate() {
        let Some(reading) = *reading else { continue };
        let last = before.and_then(|before| before.readings.get(index).copied().flatten());
        let reading = Reading { series, value: series.scale.apply(reading), reading, last };
        gathered.take(&reading);
    }
    let seconds = before.and_then(|before| {
        let passed = current.time.since(before.time);
        (!passed.is_zero()).then_some(passed.as_secs_f64())
    });
    gathered.into_vitals(current, seconds)
}

/// What the node uses, as the API shows it.
pub fn usage(vitals: &Vitals) -> ResourceUsage {
    let most = |values: &mut dyn Iterator<Item = f64>| values.max_by(f64::total_cmp);
    let interfaces = vitals.interfaces.iter();
    ResourceUsage {
        cpu_percent: vitals.cpu_percent,
        memory_percent: vitals.memory_percent,
        disk_percent: most(&mut vitals.filesystems.iter().filter_map(|filesystem| filesystem.used_percent)),
        network_bits_per_second: most(&mut interfaces.flat_map(|interface| {
            [interface.receive_bits_per_second, interface.transmit_bits_per_second].into_iter().flatten()
        })),
        load1: vitals.load1,
        processes: vitals.processes,
    }
}

/// One series' reading now and in the sample before.
struct Reading<'a> {
    series: &'a Series,
    value: f64,
    reading: i64,
    last: Option<i64>,
}

impl<'a> Reading<'a> {
    /// Rise since the sample before, in the exposed unit; negative after a restart of the source.
    fn rise(&self) -> Option<f64> {
        let rise = self.reading.checked_sub(self.last?)?;
        Some(self.series.scale.apply(rise))
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        self.series.label(name)
    }
}

/// The readings that matter, sorted by what they are of.
#[derive(Default)]
struct Gathered<'a> {
    processors: Processors,
    memory: Memory,
    filesystems: Vec<Mount<'a>>,
    interfaces: Vec<Link<'a>>,
    load1: Option<f64>,
    processes: Option<f64>,
    failed_units: Vec<&'a str>,
    failed_collectors: Vec<&'a str>,
    is_clock_synchronised: Option<bool>,
    clock_offset_seconds: Option<f64>,
}

impl<'a> Gathered<'a> {
    fn take(&mut self, reading: &Reading<'a>) {
        let value = reading.value;
        match reading.series.name.as_str() {
            "node_cpu_seconds_total" => self.processors.take(reading),
            "node_memory_MemTotal_bytes" => self.memory.total = Some(value),
            "node_memory_MemAvailable_bytes" => self.memory.available = Some(value),
            "node_memory_MemFree_bytes" => self.memory.free = Some(value),
            "node_memory_Buffers_bytes" | "node_memory_Cached_bytes" | "node_memory_SReclaimable_bytes" => {
                self.memory.cached += value;
            }
            "node_zfs_arc_size" => self.memory.arc_size = Some(value),
            "node_zfs_arc_c_min" => self.memory.arc_min = Some(value),
            "campanile_cgroup_memory_limit_bytes" => self.memory.cgroup_limit = Some(value),
            "campanile_cgroup_memory_usage_bytes" => self.memory.cgroup_usage = Some(value),
            "node_filesystem_size_bytes" => self.mount(reading, |mount| mount.size = Some(value)),
            "node_filesystem_avail_bytes" => self.mount(reading, |mount| mount.available = Some(value)),
            "node_filesystem_free_bytes" => self.mount(reading, |mount| mount.free = Some(value)),
            "node_filesystem_files" => self.mount(reading, |mount| mount.files = Some(value)),
            "node_filesystem_files_free" => self.mount(reading, |mount| mount.files_free = Some(value)),
            "node_filesystem_readonly" => self.mount(reading, |mount| mount.is_read_only = value > 0.0),
            "node_network_receive_bytes_total" => {
                self.link(reading, |link| link.received = reading.rise());
            }
            "node_network_transmit_bytes_total" => {
                self.link(reading, |link| link.transmitted = reading.rise());
            }
            "node_network_speed_bytes" => self.link(reading, |link| link.speed = Some(value)),
            "node_load1" => self.load1 = Some(value),
            "node_processes_pids" => self.processes = Some(value),
            "node_systemd_unit_state" if value > 0.0 && reading.label("state") == Some("failed") => {
                self.failed_units.extend(reading.label("name"));
            }
            "node_timex_sync_status" => self.is_clock_synchronised = Some(value > 0.0),
            "node_timex_offset_seconds" => self.clock_offset_seconds = Some(value),
            "campanile_agent_collector_success" if value <= 0.0 => {
                self.failed_collectors.extend(reading.label("collector"));
            }
            _ => {}
        }
    }

    fn mount(&mut self, reading: &Reading<'a>, set: impl FnOnce(&mut Mount<'a>)) {
        let Some(mountpoint) = reading.label("mountpoint") else { return };
        // Series of one mount point stand together, so the last one is nearly always the right one.
        let known = self.filesystems.iter().rposition(|mount| mount.mountpoint == mountpoint);
        let index = known.unwrap_or_else(|| {
            self.filesystems.push(Mount { mountpoint, ..Mount::default() });
            self.filesystems.len() - 1
        });
        set(&mut self.filesystems[index]);
    }

    fn link(&mut self, reading: &Reading<'a>, set: impl FnOnce(&mut Link<'a>)) {
        let Some(device) = reading.label("device") else { return };
        // Traffic within the node: to itself, and to its containers before it reaches a bridge.
        if device == "lo" || device.starts_with("veth") {
            return;
        }
        let known = self.interfaces.iter().rposition(|link| link.device == device);
        let index = known.unwrap_or_else(|| {
            self.interfaces.push(Link { device, ..Link::default() });
            self.interfaces.len() - 1
        });
        set(&mut self.interfaces[index]);
    }

    fn into_vitals(self, current: &Sample, seconds: Option<f64>) -> Vitals {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Vitals {
            time: current.time,
            cpu_percent: self.processors.busy_percent(),
            memory_percent: self.memory.used_percent(),
            filesystems: self.filesystems.iter().filter_map(Mount::filesystem).collect(),
            interfaces: self.interfaces.iter().map(|link| link.interface(seconds)).collect(),
            load1: self.load1,
            processes: self.processes,
            failed_units: owned(self.failed_units),
            failed_collectors: owned(self.failed_collectors),
            is_clock_synchronised: self.is_clock_synchronised,
            clock_offset_seconds: self.clock_offset_seconds,
            ..Vitals::default()
        }
    }
}

/// Seconds that all processors spent since the sample before.
#[derive(Default)]
struct Processors {
    busy: f64,
    idle: f64,
    was_reset: bool,
}

impl Processors {
    fn take(&mut self, reading: &Reading<'_>) {
        // A processor without a reading before has just come.
        let Some(rise) = reading.rise() else { return };
        match reading.label("mode") {
            Some("idle" | "iowait") if rise >= -IDLE_FALL_SECONDS_MAX => self.idle += rise.max(0.0),
            Some(_) if rise >= 0.0 => self.busy += rise,
            Some(_) => self.was_reset = true,
            None => {}
        }
    }

    fn busy_percent(&self) -> Option<f64> {
        if self.was_reset { None } else { Percent::of(self.busy, self.busy + self.idle).map(Percent::get) }
    }
}

/// Memory in bytes.
#[derive(Default)]
struct Memory {
    total: Option<f64>,
    available: Option<f64>,
    free: Option<f64>,
    /// Buffers, page cache and reclaimable slabs.
    cached: f64,
    arc_size: Option<f64>,
    arc_min: Option<f64>,
    cgroup_limit: Option<f64>,
    cgroup_usage: Option<f64>,
}

impl Memory {
    /// Memory that cannot be had, of what the node may use. A control group's limit below the machine's memory is
    /// what counts in a container.
    fn used_percent(&self) -> Option<f64> {
        if let (Some(limit), Some(usage)) = (self.cgroup_limit, self.cgroup_usage)
            && self.total.is_none_or(|total| limit < total)
        {
            return Percent::of(usage, limit).map(Percent::get);
        }
        let total = self.total?;
        // Kernels before 3.14 do not say what is available.
        let available = self.available.or_else(|| Some(self.free? + self.cached))?;
        let available = (available + self.reclaimable_arc(total)).min(total);
        Percent::of(total - available, total).map(Percent::get)
    }

    /// ZFS gives its cache back down to a minimum; the kernel counts all of it as used. A container sees the
    /// host's cache but not its memory: there it is none of the node's, and tells itself by a limit or by being
    /// larger than what is in use.
    fn reclaimable_arc(&self, total: f64) -> f64 {
        let size = self.arc_size.unwrap_or(0.0);
        let in_use = total - self.free.unwrap_or(0.0);
        if self.cgroup_limit.is_some_and(|limit| limit <= total) || size > in_use {
            return 0.0;
        }
        (size - self.arc_min.unwrap_or(0.0)).max(0.0)
    }
}

#[derive(Default)]
struct Mount<'a> {
    mountpoint: &'a str,
    size: Option<f64>,
    available: Option<f64>,
    free: Option<f64>,
    files: Option<f64>,
    files_free: Option<f64>,
    is_read_only: bool,
}

impl Mount<'_> {
    /// None for one that cannot be written: images are full by design.
    fn filesystem(&self) -> Option<Filesystem> {
        let used_percent = || {
            let used = self.size? - self.free?;
            Percent::of(used, used + self.available?.max(0.0)).map(Percent::get)
        };
        let inodes_percent = || Percent::of(self.files? - self.files_free?, self.files?).map(Percent::get);
        (!self.is_read_only).then(|| Filesystem {
            mountpoint: self.mountpoint.to_owned(),
            used_percent: used_percent(),
            inodes_percent: inodes_percent(),
        })
    }
}

#[derive(Default)]
struct Link<'a> {
    device: &'a str,
    received: Option<f64>,
    transmitted: Option<f64>,
    speed: Option<f64>,
}

impl Link<'_> {
    fn interface(&self, seconds: Option<f64>) -> Interface {
        const BITS_PER_BYTE: f64 = 8.0;
        let rate = |rise: Option<f64>| {
            rise.filter(|rise| *rise >= 0.0)
                .zip(seconds)
                .map(|(rise, seconds)| rise * BITS_PER_BYTE / seconds)
        };
        Interface {
            device: self.device.to_owned(),
            receive_bits_per_second: rate(self.received),
            transmit_bits_per_second: rate(self.transmitted),
            // Virtual links say -1 or 0.
            speed_bits_per_second: self.speed.filter(|speed| *speed > 0.0).map(|speed| speed * BITS_PER_BYTE),
        }
    }
}

#[cfg(test)]
mod tests;
