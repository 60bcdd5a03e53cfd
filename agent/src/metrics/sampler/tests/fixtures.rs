//! Machines of `tests/fixtures/proc` against values worked out by hand.

use super::super::*;
use crate::os::statvfs::Space;
use proptest::prelude::*;
use std::io;
use std::path::Path;

const SPACE: Space =
    Space { size_bytes: 1 << 40, free_bytes: 1 << 39, avail_bytes: 1 << 38, files: 100, files_free: 60 };

fn root(machine: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/proc").join(machine)
}

fn sampler_of(root: &Path) -> Sampler {
    let settings =
        SamplerSettings {
            proc_root: root.join("proc"),
            sys_root: root.join("sys"),
            run_root: root.join("run"),
            os_release: root.join("os-release"),
            statvfs: Arc::new(|point| {
                if point == "/" { Ok(SPACE) } else { Err(io::Error::other("not in this test")) }
            }),
            ..SamplerSettings::new(InstanceId::from_bytes([2; 8]))
        };
    Sampler::new(settings)
}

/// Rounds at one moment until everything asked aside has answered; so no deadline passes, however slow the threads.
fn settled(sampler: &mut Sampler) -> Sample {
    let mut tick = 0;
    loop {
        let sample = sampler.sample_at(Duration::ZERO, tick, Timestamp::default());
        tick += 1;
        let has_asked_all = tick > 10;
        let is_there = |series: &str| sample.values().any(|(found, _)| found.name == series);
        // Counting processes is always answered or refused.
        if has_asked_all && (is_there("node_processes_pids") || success(&sample, "processes") == Some(0.0)) {
            return sample;
        }
        std::thread::yield_now();
    }
}

fn settled_until(sampler: &mut Sampler, series: &str) -> Sample {
    loop {
        let sample = settled(sampler);
        if sample.values().any(|(found, _)| found.name == series) {
            return sample;
        }
    }
}

fn machine(name: &str) -> Sample {
    settled(&mut sampler_of(&root(name)))
}

fn labelled(sample: &Sample, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let matches = |series: &campanile_common::sample::Series| {
        series.name == name && labels.iter().all(|(label, value)| series.label(label) == Some(value))
    };
    sample.values().find(|(series, _)| matches(series)).map(|(_, value)| value)
}

fn value(sample: &Sample, name: &str) -> Option<f64> {
    labelled(sample, name, &[])
}

fn success(sample: &Sample, collector: &str) -> Option<f64> {
    labelled(sample, "campanile_agent_collector_success", &[("collector", collector)])
}

fn assert_values(sample: &Sample, expected: &[(&str, f64)]) {
    for (name, expected) in expected {
        assert_eq!(value(sample, name), Some(*expected), "{name}");
    }
}

#[test]
fn a_plain_host_gives_the_kernels_numbers_in_node_exporters_units() {
    let sample = machine("host");
    assert_values(
        &sample,
        &[
            ("node_load1", 0.52),
            ("node_load5", 1.05),
            ("node_load15", 12.3),
            ("node_processes_threads", 456.0),
            ("node_processes_pids", 3.0),
            ("node_boot_time_seconds", 1_700_000_000.0),
            ("node_context_switches_total", 1_234_567.0),
            ("node_intr_total", 987_654.0),
            ("node_forks_total", 4321.0),
            ("node_procs_running", 2.0),
            ("node_procs_blocked", 1.0),
            ("node_memory_MemTotal_bytes", 8_192_000_000.0),
            ("node_memory_MemAvailable_bytes", 5_120_000_000.0),
            ("node_memory_SwapFree_bytes", 1_945_600_000.0),
            ("node_memory_Dirty_bytes", 655_360.0),
            ("node_pressure_cpu_waiting_seconds_total", 1.5),
            ("node_pressure_memory_waiting_seconds_total", 0.25),
            ("node_pressure_memory_stalled_seconds_total", 0.125),
            ("node_pressure_io_waiting_seconds_total", 3.0),
            ("node_pressure_io_stalled_seconds_total", 2.0),
            ("campanile_agent_series_dropped", 0.0),
        ],
    );
    for (mode, seconds) in [("user", 20.0), ("nice", 0.2), ("system", 6.0), ("idle", 400.0), ("steal", 0.06)]
    {
        let labels = [("cpu", "1"), ("mode", mode)];
        assert_eq!(labelled(&sample, "node_cpu_seconds_total", &labels), Some(seconds), "{mode}");
    }
    let pages = f64::from(crate::os::stopwatch::page_bytes());
    assert_eq!(value(&sample, "process_resident_memory_bytes"), Some(750.0 * pages));
}

#[test]
fn disks_are_in_bytes_and_seconds_without_partitions_and_loops() {
    let sample = machine("host");
    for (name, expected) in [
        ("node_disk_reads_completed_total", 1000.0),
        ("node_disk_read_bytes_total", 40_960_000.0),
        ("node_disk_read_time_seconds_total", 1.5),
        ("node_disk_writes_completed_total", 2000.0),
        ("node_disk_written_bytes_total", 81_920_000.0),
        ("node_disk_write_time_seconds_total", 2.5),
        ("node_disk_io_now", 1.0),
        ("node_disk_io_time_seconds_total", 3.0),
        ("node_disk_io_time_weighted_seconds_total", 4.0),
    ] {
        assert_eq!(labelled(&sample, name, &[("device", "sda")]), Some(expected), "{name}");
    }
    let disks = sample.values().filter(|(series, _)| series.name == "node_disk_io_now");
    let mut disks: Vec<&str> = disks.filter_map(|(series, _)| series.label("device")).collect();
    disks.sort_unstable();
    assert_eq!(disks, ["nvme0n1", "sda"]);
}

#[test]
fn interfaces_give_traffic_errors_state_and_speed_without_container_links() {
    let sample = settled_until(&mut sampler_of(&root("host")), "node_network_up");
    for (name, expected) in [
        ("node_network_receive_bytes_total", 5e6),
        ("node_network_receive_packets_total", 4000.0),
        ("node_network_receive_errs_total", 3.0),
        ("node_network_receive_drop_total", 2.0),
        ("node_network_transmit_bytes_total", 6e6),
        ("node_network_transmit_packets_total", 5000.0),
        ("node_network_transmit_errs_total", 1.0),
        ("node_network_transmit_drop_total", 4.0),
        ("node_network_up", 1.0),
        ("node_network_speed_bytes", 125e6),
    ] {
        assert_eq!(labelled(&sample, name, &[("device", "eth0")]), Some(expected), "{name}");
    }
    assert_eq!(labelled(&sample, "node_network_speed_bytes", &[("device", "lo")]), None);
    assert!(
        !sample.schema.iter().any(|series| series.label("device").is_some_and(|d| d.starts_with("veth")))
    );
}

#[test]
fn temperatures_are_named_after_stable_devices() {
    let sample = settled_until(&mut sampler_of(&root("host")), "node_hwmon_temp_celsius");
    let chip =
        |chip, sensor| labelled(&sample, "node_hwmon_temp_celsius", &[("chip", chip), ("sensor", sensor)]);
    assert_eq!(chip("platform_coretemp_0", "temp1"), Some(45.5));
    assert_eq!(chip("platform_coretemp_0", "temp2"), Some(-1.25));
    assert_eq!(chip("acpitz", "temp1"), Some(30.0));
    let zone = [("zone", "0"), ("type", "x86_pkg_temp")];
    assert_eq!(labelled(&sample, "node_thermal_zone_temp", &zone), Some(47.0));
}

#[test]
fn file_systems_are_named_by_mount_point_and_one_that_fails_is_marked() {
    let sample = settled_until(&mut sampler_of(&root("host")), "node_filesystem_size_bytes");
    let at = |name, point| labelled(&sample, name, &[("mountpoint", point)]);
    assert_eq!(at("node_filesystem_size_bytes", "/"), Some(1_099_511_627_776.0));
    assert_eq!(at("node_filesystem_readonly", "/srv/my disk"), Some(1.0));
    assert_eq!(at("node_filesystem_device_error", "/srv/my disk"), Some(1.0));
    assert_eq!(at("node_filesystem_device_error", "/"), Some(0.0));
    assert_eq!(at("node_filesystem_readonly", "/mnt/bound"), None);
}

#[test]
fn the_cache_of_zfs_is_exposed_beside_what_the_kernel_calls_available() {
    let sample = machine("zfs");
    assert_values(&sample, &[("node_zfs_arc_size", 2.75e9), ("node_zfs_arc_c_min", 2.5e8)]);
    assert_eq!(success(&machine("host"), "zfs"), None, "a machine without ZFS fails nothing");
}

#[test]
fn a_container_under_lxcfs_has_its_own_share_and_no_limit_beside() {
    let sample = machine("lxc");
    assert_values(
        &sample,
        &[
            ("node_memory_MemTotal_bytes", 2_147_483_648.0),
            ("node_memory_MemAvailable_bytes", 1_843_200_000.0),
        ],
    );
    assert_eq!(value(&sample, "campanile_cgroup_memory_limit_bytes"), None);
    assert_eq!(success(&sample, "diskstats"), None);
    assert!(!sample.schema.iter().any(|series| series.label("mountpoint") == Some("/proc/meminfo")));
}

#[test]
fn a_limited_control_group_gives_limit_and_working_set_in_both_versions() {
    for (name, limit, usage) in [("cgroup_v1", 1_073_741_824.0, 5e8), ("cgroup_v2", 536_870_912.0, 2.9e8)] {
        let sample = machine(name);
        let expected =
            [("campanile_cgroup_memory_limit_bytes", limit), ("campanile_cgroup_memory_usage_bytes", usage)];
        assert_values(&sample, &expected);
    }
    let unlimited = machine("unlimited_v1");
    assert_eq!(value(&unlimited, "campanile_cgroup_memory_limit_bytes"), None);
    assert_eq!(success(&unlimited, "cgroup"), None);
}

#[test]
fn a_kernel_without_pressure_files_fails_nothing() {
    let sample = machine("no_psi");
    assert_eq!(success(&sample, "pressure"), None);
    assert_eq!(value(&sample, "node_pressure_cpu_waiting_seconds_total"), None);
    assert_eq!(value(&sample, "node_memory_MemAvailable_bytes"), None);
    assert_eq!((success(&sample, "meminfo"), value(&sample, "node_load1")), (Some(1.0), Some(0.52)));
}

#[test]
fn malformed_files_fail_their_collectors_and_give_no_values() {
    let sample = machine("garbage");
    for name in ["cpu", "meminfo", "loadavg", "pressure", "diskstats", "netdev", "zfs", "cgroup", "agent"] {
        assert_eq!(success(&sample, name), Some(0.0), "{name}");
    }
    let is_own = |name: &str| name.starts_with("campanile_agent_");
    let others: Vec<&str> = sample
        .values()
        .map(|(series, _)| series.name.as_str())
        .filter(|name| !is_own(name) && *name != "node_processes_pids" && *name != "node_network_up")
        .collect();
    assert_eq!(others, [""; 0]);
}

#[test]
fn a_machine_on_which_nothing_can_be_read_still_gives_samples() {
    let sample = machine("empty");
    for name in ["cpu", "meminfo", "loadavg", "netdev", "agent", "filesystem"] {
        assert_eq!(success(&sample, name), Some(0.0), "{name}");
    }
    for name in ["pressure", "diskstats", "zfs", "cgroup"] {
        assert_eq!(success(&sample, name), None, "{name}");
    }
}

#[test]
fn facts_are_read_and_left_empty_where_there_are_none() {
    let facts = sampler_of(&root("host")).facts();
    assert_eq!((facts.hostname.as_str(), facts.kernel.as_str(), facts.cpus), ("host", "6.12.0-test", 2));
    assert_eq!(facts.memory_bytes, 8_192_000_000);
    assert_eq!(facts.booted, Timestamp::from_millis(1_700_000_000_000));
    let facts = sampler_of(&root("empty")).facts();
    assert_eq!((facts.hostname.as_str(), facts.os.as_str(), facts.cpus, facts.memory_bytes), ("", "", 0, 0));
}

#[test]
fn a_processor_time_that_falls_a_little_stands_and_one_that_falls_far_is_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("proc")).unwrap();
    let mut sampler = sampler_of(folder.path());
    let mut idle = |ticks: u32| {
        let text = format!("cpu0 1 1 1 {ticks} 1 1 1 1\n");
        std::fs::write(folder.path().join("proc/stat"), text).unwrap();
        let sample = sampler.sample_at(Duration::ZERO, 0, Timestamp::default());
        labelled(&sample, "node_cpu_seconds_total", &[("mode", "idle")])
    };
    assert_eq!(idle(50_000), Some(500.0));
    assert_eq!(idle(49_990), Some(500.0));
    assert_eq!(idle(50_010), Some(500.1));
    assert_eq!(idle(100), Some(1.0));
}

#[test]
fn processors_past_the_limit_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("proc")).unwrap();
    let text: String = (0..300).map(|cpu| format!("cpu{cpu} 1 1 1 1 1 1 1 1\n")).collect();
    std::fs::write(folder.path().join("proc/stat"), text).unwrap();
    let sample = sampler_of(folder.path()).sample_at(Duration::ZERO, 0, Timestamp::default());
    assert_eq!(value(&sample, "campanile_agent_series_dropped"), Some(f64::from((300 - 256) * 8)));
}

#[test]
fn units_are_listed_where_systemd_runs() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("run/systemd/system")).unwrap();
    std::fs::create_dir_all(folder.path().join("proc")).unwrap();
    let systemctl = folder.path().join("systemctl");
    let script = "#!/bin/sh\n[ \"$1\" = is-system-running ] && { echo degraded; exit 1; }\n\
        echo 'a.service loaded active running A'\necho 'b.service loaded failed failed B'\n";
    std::fs::write(&systemctl, script).unwrap();
    std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut settings = sampler_of(folder.path()).settings;
    settings.systemctl = systemctl;
    let sample = settled_until(&mut Sampler::new(settings), "node_systemd_units");
    assert_eq!(labelled(&sample, "node_systemd_units", &[("state", "active")]), Some(1.0));
    let failed = [("name", "b.service"), ("state", "failed")];
    assert_eq!(labelled(&sample, "node_systemd_unit_state", &failed), Some(1.0));
    assert_eq!(value(&sample, "node_systemd_system_running"), Some(0.0));
}

/// Every file that a round reads at once.
const FILES: [&str; 11] = [
    "proc/stat",
    "proc/meminfo",
    "proc/loadavg",
    "proc/diskstats",
    "proc/net/dev",
    "proc/pressure/cpu",
    "proc/pressure/memory",
    "proc/pressure/io",
    "proc/self/mountinfo",
    "proc/self/statm",
    "proc/spl/kstat/zfs/arcstats",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Files as the kernel writes them with some bytes changed and the end cut off: whatever is given then, no
    /// collector panics, and the schema stays within its rules.
    #[test]
    fn damaged_files_never_make_a_collector_panic(
        changes in proptest::collection::vec((0..FILES.len(), any::<prop::sample::Index>(), any::<u8>()), 0..40),
        cut in (0..FILES.len(), any::<prop::sample::Index>()),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut contents: Vec<Vec<u8>> = FILES
            .iter()
            .map(|file| std::fs::read(root("zfs").join(file)).unwrap())
            .collect();
        for (file, at, byte) in changes {
            let at = at.index(contents[file].len());
            contents[file][at] = byte;
        }
        let length = cut.1.index(contents[cut.0].len());
        contents[cut.0].truncate(length);
        for (file, content) in FILES.iter().zip(&contents) {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let mut sampler = sampler_of(folder.path());
        for watched in &mut sampler.collectors {
            let mut round = Round { uptime: Duration::ZERO, starts: 0, buffer: &mut sampler.buffer };
            // Not through the sampler, which would catch the panic.
            let _outcome = watched.collector.collect(&mut round, &mut sampler.readings);
        }
        let (schema, readings) = sampler.readings.take();
        prop_assert_eq!(schema.len(), readings.len());
        let mut keys: Vec<_> = schema.iter().map(|series| (&series.name, &series.labels)).collect();
        keys.sort();
        let count = keys.len();
        keys.dedup();
        prop_assert_eq!(keys.len(), count);
    }
}
