//! Samples as agents send them.

use std::sync::Arc;

use campanile_common::id::InstanceId;
use campanile_common::sample::{Position, Scale, Series, SeriesKind};
use campanile_common::time::Timestamp;
use proptest::prelude::*;

use super::*;

const GIB: i64 = 1 << 30;
const MIB: i64 = 1 << 20;

fn vitals(previous: Option<&Sample>, current: &Sample) -> Vitals {
    VitalsReader::default().read(previous, current)
}

/// A reading named as Prometheus prints it: `name{label="value"}`.
fn series(text: &str, scale: Scale) -> Series {
    let (name, labels) = text.split_once('{').unwrap_or((text, "}"));
    let pairs = labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap();
        (key.to_owned(), value.trim_matches('"').to_owned())
    };
    Series { name: name.to_owned(), labels: pairs.map(pair).collect(), kind: SeriesKind::Gauge, scale }
}

fn sample(time_ms: u64, readings: &[(&str, Option<i64>)]) -> Sample {
    let scale = |name: &str| if name.starts_with("node_cpu") { Scale::Over(100) } else { Scale::ONE };
    Sample {
        position: Position { instance: InstanceId::from_bytes([1; 8]), sequence: time_ms / 1000 },
        time: Timestamp::from_millis(time_ms),
        schema: Arc::new(readings.iter().map(|(name, _)| series(name, scale(name))).collect()),
        readings: readings.iter().map(|(_, reading)| *reading).collect(),
    }
}

fn full(readings: &[(&str, i64)]) -> Sample {
    timed(1000, readings)
}

fn timed(time_ms: u64, readings: &[(&str, i64)]) -> Sample {
    sample(time_ms, &readings.iter().map(|(name, reading)| (*name, Some(*reading))).collect::<Vec<_>>())
}

fn memory(readings: &[(&str, i64)]) -> f64 {
    vitals(None, &full(readings)).memory_percent.unwrap()
}

fn is_near(actual: f64, expected: f64) -> bool {
    (actual - expected).abs() < 0.01
}

/// Hundredths of seconds of one processor.
fn cpu(time_ms: u64, [user, idle, iowait, steal]: [i64; 4]) -> Sample {
    timed(
        time_ms,
        &[
            (r#"node_cpu_seconds_total{cpu="0",mode="user"}"#, user),
            (r#"node_cpu_seconds_total{cpu="0",mode="idle"}"#, idle),
            (r#"node_cpu_seconds_total{cpu="0",mode="iowait"}"#, iowait),
            (r#"node_cpu_seconds_total{cpu="0",mode="steal"}"#, steal),
        ],
    )
}

#[test]
fn processors_are_busy_when_neither_idle_nor_waiting() {
    let before = cpu(1000, [1000, 5000, 100, 0]);
    let percent = |after: [i64; 4]| vitals(Some(&before), &cpu(2000, after)).cpu_percent;
    assert_eq!(percent([1025, 5050, 125, 0]), Some(25.0));
    assert_eq!(percent([1000, 5100, 100, 0]), Some(0.0));
    assert_eq!(percent([1050, 5000, 100, 50]), Some(100.0), "stolen time is not idle");
    assert_eq!(percent([1050, 5050, 99, 0]), Some(50.0), "I/O wait may fall a little");
    assert_eq!(percent([1000, 5000, 100, 0]), None, "no time passed");
    assert_eq!(percent([10, 5100, 100, 0]), None, "the machine restarted");
    assert_eq!(percent([1050, 20, 100, 0]), None, "the machine restarted");
}

#[test]
fn rates_need_another_time_and_the_same_series() {
    let before = cpu(1000, [1000, 5000, 100, 0]);
    let after = [1050, 5050, 100, 0];
    assert_eq!(vitals(None, &cpu(2000, after)).cpu_percent, None);
    assert_eq!(vitals(Some(&before), &cpu(1000, after)).cpu_percent, None);
    assert_eq!(vitals(Some(&full(&[("node_load1", 1)])), &cpu(2000, after)).cpu_percent, None);
    assert_eq!(vitals(Some(&before), &cpu(2000, after)).cpu_percent, Some(50.0));
}

#[test]
fn a_processor_that_just_came_does_not_count_its_whole_life() {
    let names = [
        r#"node_cpu_seconds_total{cpu="0",mode="user"}"#,
        r#"node_cpu_seconds_total{cpu="0",mode="idle"}"#,
        r#"node_cpu_seconds_total{cpu="1",mode="user"}"#,
        r#"node_cpu_seconds_total{cpu="1",mode="idle"}"#,
    ];
    let at = |time, readings: [Option<i64>; 4]| {
        sample(time, &std::array::from_fn::<_, 4, _>(|i| (names[i], readings[i])))
    };
    let before = at(1000, [Some(100), Some(100), None, None]);
    let after = at(2000, [Some(110), Some(190), Some(90_000), Some(10)]);
    assert_eq!(vitals(Some(&before), &after).cpu_percent, Some(10.0));
}

#[test]
fn memory_is_what_is_not_available() {
    let total = ("node_memory_MemTotal_bytes", 16 * GIB);
    assert_eq!(memory(&[total, ("node_memory_MemAvailable_bytes", 12 * GIB)]), 25.0);
    let old_kernel = [
        total,
        ("node_memory_MemFree_bytes", GIB),
        ("node_memory_Buffers_bytes", GIB),
        ("node_memory_Cached_bytes", 2 * GIB),
    ];
    assert_eq!(memory(&old_kernel), 75.0);
    assert_eq!(vitals(None, &full(&[total])).memory_percent, None);
}

#[test]
fn a_zfs_cache_counts_as_available_down_to_its_minimum() {
    // 64 GiB, of which 32 are cache that may shrink to 2, and 20 are used by programs.
    let node = [
        ("node_memory_MemTotal_bytes", 64 * GIB),
        ("node_memory_MemFree_bytes", 10 * GIB),
        ("node_memory_MemAvailable_bytes", 12 * GIB),
        ("node_zfs_arc_size", 32 * GIB),
        ("node_zfs_arc_c_min", 2 * GIB),
    ];
    assert!(is_near(memory(&node), 100.0 * 22.0 / 64.0));
    let shrunk = [node[0], node[1], node[2], ("node_zfs_arc_size", GIB), node[4]];
    assert!(is_near(memory(&shrunk), 100.0 * 52.0 / 64.0), "below its minimum it gives nothing");
}

#[test]
fn a_container_is_judged_by_its_own_limit_and_not_by_the_host() {
    // Plain container: /proc/meminfo is the host's.
    let docker = [
        ("node_memory_MemTotal_bytes", 64 * GIB),
        ("node_memory_MemAvailable_bytes", 60 * GIB),
        ("campanile_cgroup_memory_limit_bytes", 2 * GIB),
        ("campanile_cgroup_memory_usage_bytes", 1843 * MIB),
    ];
    assert!(is_near(memory(&docker), 89.99));
    // LXC: lxcfs shows the container's own memory, but ZFS statistics are the host's.
    let lxc = [
        ("node_memory_MemTotal_bytes", 4 * GIB),
        ("node_memory_MemFree_bytes", GIB / 2),
        ("node_memory_MemAvailable_bytes", GIB),
        ("node_zfs_arc_size", 3 * GIB),
        ("node_zfs_arc_c_min", GIB),
        ("campanile_cgroup_memory_limit_bytes", 4 * GIB),
        ("campanile_cgroup_memory_usage_bytes", 3 * GIB),
    ];
    assert_eq!(memory(&lxc), 75.0);
    let without_cgroup = [lxc[0], lxc[1], lxc[2], ("node_zfs_arc_size", 30 * GIB), lxc[4]];
    assert_eq!(memory(&without_cgroup), 75.0, "a cache larger than what is in use is another's");
    // No limit: cgroup v1 says the largest number of pages.
    let unlimited = [docker[0], docker[1], ("campanile_cgroup_memory_limit_bytes", i64::MAX), docker[3]];
    assert_eq!(memory(&unlimited), 6.25);
}

#[test]
fn disks_count_as_df_does() {
    // 100 GiB, of which 5 are reserved for root.
    let root = full(&[
        (r#"node_filesystem_size_bytes{mountpoint="/"}"#, 100 * GIB),
        (r#"node_filesystem_free_bytes{mountpoint="/"}"#, 24 * GIB),
        (r#"node_filesystem_avail_bytes{mountpoint="/"}"#, 19 * GIB),
        (r#"node_filesystem_files{mountpoint="/"}"#, 1000),
        (r#"node_filesystem_files_free{mountpoint="/"}"#, 50),
        (r#"node_filesystem_readonly{mountpoint="/"}"#, 0),
        (r#"node_filesystem_size_bytes{mountpoint="/snap"}"#, GIB),
        (r#"node_filesystem_free_bytes{mountpoint="/snap"}"#, 0),
        (r#"node_filesystem_avail_bytes{mountpoint="/snap"}"#, 0),
        (r#"node_filesystem_readonly{mountpoint="/snap"}"#, 1),
        (r#"node_filesystem_size_bytes{mountpoint="/btrfs"}"#, 10 * GIB),
        (r#"node_filesystem_free_bytes{mountpoint="/btrfs"}"#, 9 * GIB),
        (r#"node_filesystem_avail_bytes{mountpoint="/btrfs"}"#, 9 * GIB),
        (r#"node_filesystem_files{mountpoint="/btrfs"}"#, 0),
        (r#"node_filesystem_files_free{mountpoint="/btrfs"}"#, 0),
    ]);
    let filesystem = |mountpoint: &str, used, inodes_percent| Filesystem {
        mountpoint: mountpoint.to_owned(),
        used_percent: Some(used),
        inodes_percent,
    };
    let expected = [filesystem("/", 80.0, Some(95.0)), filesystem("/btrfs", 10.0, None)];
    let vitals = vitals(None, &root);
    assert_eq!(vitals.filesystems, expected, "a read-only image is full by design");
    assert_eq!(usage(&vitals).disk_percent, Some(80.0));
}

#[test]
fn traffic_is_per_interface_and_direction() {
    let at = |time, [lo, received, sent, veth]: [i64; 4]| {
        timed(
            time,
            &[
                (r#"node_network_receive_bytes_total{device="lo"}"#, lo),
                (r#"node_network_receive_bytes_total{device="eth0"}"#, received),
                (r#"node_network_transmit_bytes_total{device="eth0"}"#, sent),
                (r#"node_network_speed_bytes{device="eth0"}"#, 125_000_000),
                (r#"node_network_speed_bytes{device="wg0"}"#, -1),
                (r#"node_network_receive_bytes_total{device="veth12"}"#, veth),
            ],
        )
    };
    let before = at(1000, [0, 100, 5_000, 0]);
    let after = vitals(Some(&before), &at(3000, [1 << 40, 1100, 9_000, 1 << 40]));
    let devices: Vec<_> = after.interfaces.iter().map(|interface| interface.device.as_str()).collect();
    assert_eq!(devices, ["eth0", "wg0"]);
    let eth0 = &after.interfaces[0];
    assert_eq!(eth0.receive_bits_per_second, Some(4_000.0));
    assert_eq!(eth0.transmit_bits_per_second, Some(16_000.0));
    assert_eq!(eth0.speed_bits_per_second, Some(1e9));
    assert_eq!(after.interfaces[1], Interface { device: "wg0".to_owned(), ..Interface::default() });
    assert_eq!(usage(&after).network_bits_per_second, Some(16_000.0));
    let reset = vitals(Some(&before), &at(2000, [0, 0, 9_000, 0]));
    assert_eq!(reset.interfaces[0].receive_bits_per_second, None, "the interface was made anew");
    let back_in_time = vitals(Some(&before), &at(500, [0, 1100, 9_000, 0]));
    assert_eq!(back_in_time.interfaces[0].receive_bits_per_second, None);
}

#[test]
fn what_failed_is_named() {
    let vitals = vitals(
        None,
        &full(&[
            (r#"node_systemd_unit_state{name="a.service",state="failed"}"#, 1),
            (r#"node_systemd_unit_state{name="b.service",state="failed"}"#, 0),
            (r#"node_systemd_unit_state{name="c.service",state="active"}"#, 1),
            (r#"campanile_agent_collector_success{collector="cpu"}"#, 1),
            (r#"campanile_agent_collector_success{collector="filesystem"}"#, 0),
            ("node_timex_sync_status", 0),
            ("node_timex_offset_seconds", -2),
            ("node_load1", 3),
            ("node_processes_pids", 212),
        ]),
    );
    assert_eq!(vitals.failed_units, ["a.service"]);
    assert_eq!(vitals.failed_collectors, ["filesystem"]);
    assert_eq!((vitals.is_clock_synchronised, vitals.clock_offset_seconds), (Some(false), Some(-2.0)));
    let usage = usage(&vitals);
    assert_eq!((usage.load1, usage.processes), (Some(3.0), Some(212.0)));
    assert_eq!((usage.cpu_percent, usage.memory_percent, usage.disk_percent), (None, None, None));
}

#[test]
fn a_node_that_says_nothing_breaks_no_threshold() {
    let empty = full(&[]);
    let expected = Vitals { time: empty.time, ..Vitals::default() };
    assert_eq!(vitals(Some(&empty), &empty), expected);
}

#[test]
fn a_reader_notices_when_the_series_change() {
    let mut reader = VitalsReader::default();
    let first = full(&[("node_load1", 1), ("node_processes_pids", 10)]);
    let second = timed(2000, &[("node_processes_pids", 20), ("node_load1", 2)]);
    assert_eq!(reader.read(None, &first).load1, Some(1.0));
    assert_eq!(reader.read(Some(&first), &second).load1, Some(2.0));
    assert_eq!(reader.read(Some(&second), &first).load1, Some(1.0));
    let short = Sample { readings: vec![Some(3)], ..first };
    assert_eq!(reader.read(None, &short).load1, Some(3.0), "fewer readings than series are as none");
}

const NAMES: [&str; 16] = [
    r#"node_cpu_seconds_total{cpu="0",mode="user"}"#,
    r#"node_cpu_seconds_total{cpu="0",mode="idle"}"#,
    "node_memory_MemTotal_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemFree_bytes",
    "node_zfs_arc_size",
    "node_zfs_arc_c_min",
    "campanile_cgroup_memory_limit_bytes",
    "campanile_cgroup_memory_usage_bytes",
    r#"node_filesystem_size_bytes{mountpoint="/"}"#,
    r#"node_filesystem_free_bytes{mountpoint="/"}"#,
    r#"node_filesystem_avail_bytes{mountpoint="/"}"#,
    r#"node_filesystem_files{mountpoint="/"}"#,
    r#"node_filesystem_files_free{mountpoint="/"}"#,
    r#"node_network_receive_bytes_total{device="eth0"}"#,
    r#"node_network_speed_bytes{device="eth0"}"#,
];

proptest! {
    /// An agent may send any number: shares stay shares and nothing is endless.
    #[test]
    fn any_readings_give_figures_in_range(
        before in proptest::array::uniform16(any::<Option<i64>>()),
        after in proptest::array::uniform16(any::<Option<i64>>()),
        times in (any::<u32>(), any::<u32>()),
    ) {
        let at = |time: u32, readings: [Option<i64>; 16]| {
            sample(u64::from(time), &std::array::from_fn::<_, 16, _>(|index| (NAMES[index], readings[index])))
        };
        let vitals = vitals(Some(&at(times.0, before)), &at(times.1, after));
        let shares = [vitals.cpu_percent, vitals.memory_percent].into_iter().chain(
            vitals.filesystems.iter().flat_map(|one| [one.used_percent, one.inodes_percent]),
        );
        for share in shares.flatten() {
            prop_assert!((0.0..=100.0).contains(&share), "{share}");
        }
        for interface in &vitals.interfaces {
            prop_assert!(interface.receive_bits_per_second.is_none_or(|bits| bits >= 0.0 && bits.is_finite()));
            prop_assert!(interface.speed_bits_per_second.is_none_or(|bits| bits > 0.0));
        }
    }
}
