//! Invented vitals at invented times.

use proptest::prelude::*;

use super::*;
use crate::health::{BackupTrouble, Filesystem, Interface};

const HOUR_MS: u64 = 3_600_000;

/// A judge and a clock that moves a second per observation unless told otherwise.
struct Bench {
    judge: Judge,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self { judge: Judge::new(Arc::new(Thresholds::default())), now: 1_800_000_000_000 }
    }

    fn with(settings: &str) -> Self {
        let thresholds: Thresholds = serde_json::from_str(settings).unwrap();
        Self { judge: Judge::new(Arc::new(thresholds)), ..Self::new() }
    }

    fn see(&mut self, liveness: Liveness, vitals: &Vitals) -> Verdict {
        self.now += 1000;
        self.judge.observe(Timestamp::from_millis(self.now), liveness, Some(vitals))
    }

    fn online(&mut self, vitals: &Vitals) -> Verdict {
        self.see(Liveness::Online, vitals)
    }

    /// The verdict after so many seconds of the same.
    fn hold(&mut self, seconds: u64, vitals: &Vitals) -> Verdict {
        (0..seconds).map(|_| self.online(vitals)).last().unwrap()
    }

    fn silence(&mut self, liveness: Liveness) -> Verdict {
        self.now += 1000;
        self.judge.observe(Timestamp::from_millis(self.now), liveness, None)
    }
}

fn cpu(percent: f64) -> Vitals {
    Vitals { cpu_percent: Some(percent), ..Vitals::default() }
}

fn disks(used: &[(&str, f64)]) -> Vitals {
    let filesystem = |(mountpoint, percent): &(&str, f64)| Filesystem {
        mountpoint: (*mountpoint).to_owned(),
        used_percent: Some(*percent),
        inodes_percent: None,
    };
    Vitals { filesystems: used.iter().map(filesystem).collect(), ..Vitals::default() }
}

fn disk(percent: f64) -> Vitals {
    disks(&[("/", percent)])
}

/// A newest snapshot that is so many times as old as it may be.
fn late_backup(times: f64) -> Vitals {
    let (age_seconds, max_age_seconds) = (times * 86_400.0, 86_400.0);
    let late = BackupTrouble::Late { policy: "etc".to_owned(), age_seconds, max_age_seconds };
    Vitals { backups: vec![late], ..Vitals::default() }
}

#[test]
fn a_late_backup_is_named_with_its_age_until_a_new_one_comes() {
    let mut bench = Bench::new();
    let verdict = bench.hold(3, &late_backup(3.5));
    assert_eq!(verdict.breaches[0].summary, "backup late: etc, 3 d old");
    let waited = BackupTrouble::Missing {
        policy: "db".to_owned(),
        waited_seconds: 3.0 * 3600.0,
        max_age_seconds: 7200.0,
    };
    let verdict = bench.hold(3, &Vitals { backups: vec![waited], ..Vitals::default() });
    assert_eq!((verdict.status, verdict.breaches.len()), (NodeHealth::Warning, 1));
    assert_eq!(verdict.breaches[0].summary, "backup missing: db, none for 3 h");
    assert_eq!(bench.hold(3, &Vitals::default()).status, NodeHealth::Healthy);
}

#[test]
fn a_node_without_trouble_is_healthy_with_a_full_score() {
    let verdict = Bench::new().hold(100, &disk(79.9));
    assert_eq!((verdict.status, verdict.score), (NodeHealth::Healthy, 100));
    assert!(verdict.breaches.is_empty() && verdict.causes.is_empty());
}

#[test]
fn a_disk_of_91_per_cent_is_critical_after_its_for_time_and_not_before() {
    let mut bench = Bench::new();
    assert_eq!(bench.hold(10, &disk(91.0)).status, NodeHealth::Healthy);
    let verdict = bench.online(&disk(91.0));
    assert_eq!((verdict.status, verdict.score, verdict.changed), (NodeHealth::Critical, 60, true));
    assert_eq!(verdict.causes[0].name, "disk");
    let breach = &verdict.breaches[0];
    assert_eq!((breach.subject.as_str(), breach.value, breach.threshold), ("/", Some(91.0), Some(90.0)));
    assert_eq!(breach.since, Timestamp::from_millis(1_800_000_001_000), "when it crossed, not when it fired");
    assert_eq!(breach.summary, "/ is 91.0 % full (limit 90 %)");
    assert!(!bench.online(&disk(91.0)).changed);
}

#[test]
fn each_rule_fires_at_its_limit() {
    let with = |change: fn(&mut Vitals)| {
        let mut vitals = Vitals::default();
        change(&mut vitals);
        vitals
    };
    let interface = |bits, speed| Interface {
        device: "eth0".to_owned(),
        receive_bits_per_second: None,
        transmit_bits_per_second: Some(bits),
        speed_bits_per_second: speed,
    };
    let network = |bits, speed| Vitals { interfaces: vec![interface(bits, speed)], ..Vitals::default() };
    for (vitals, name, subject, severity) in [
        (cpu(70.0), "cpu", "", Severity::Warning),
        (cpu(85.0), "cpu", "", Severity::Critical),
        (with(|v| v.memory_percent = Some(75.0)), "memory", "", Severity::Warning),
        (with(|v| v.memory_percent = Some(90.0)), "memory", "", Severity::Critical),
        (disk(80.0), "disk", "/", Severity::Warning),
        (disk(90.0), "disk", "/", Severity::Critical),
        (network(5e8, None), "network", "eth0 transmit", Severity::Warning),
        (network(8e8, Some(1e10)), "network", "eth0 transmit", Severity::Critical),
        (network(5e7, Some(1e8)), "network", "eth0 transmit", Severity::Warning),
        (network(8e7, Some(1e8)), "network", "eth0 transmit", Severity::Critical),
        (with(|v| v.performance.error_rate_percent = Some(1.0)), "error-rate", "", Severity::Warning),
        (with(|v| v.performance.latency_p95_ms = Some(1000.0)), "latency", "", Severity::Critical),
        (with(|v| v.performance.queue_depth = Some(5000.0)), "queue", "", Severity::Critical),
        (with(|v| v.clock_offset_seconds = Some(-0.5)), "clock", "offset", Severity::Warning),
        (with(|v| v.clock_skew_seconds = Some(-3600.0)), "clock", "skew", Severity::Warning),
        (with(|v| v.is_clock_synchronised = Some(false)), "clock", "synchronisation", Severity::Warning),
        (with(|v| v.failed_units.push("a.service".into())), "systemd", "a.service", Severity::Warning),
        (with(|v| v.failed_collectors.push("zfs".into())), "collector", "zfs", Severity::Warning),
        (with(|v| v.settings_errors.push("line 3".into())), "settings", "agent", Severity::Warning),
        (with(|v| v.safe_mode = Some("since".into())), "safe-mode", "agent", Severity::Warning),
        (with(|v| v.drifted_resources = 3), "drift", "", Severity::Warning),
        (with(|v| v.reverted_generation = Some("5".into())), "reverted", "generation 5", Severity::Warning),
        (late_backup(1.5), "backup", "policy etc", Severity::Warning),
        (late_backup(2.1), "backup", "policy etc", Severity::Critical),
        (
            with(|v| v.backups.push(BackupTrouble::Damaged { objects: 2 })),
            "backup",
            "damage",
            Severity::Critical,
        ),
        (with(|v| v.backups.push(BackupTrouble::Held { holds: 1 })), "backup", "hold", Severity::Critical),
        (with(|v| v.backups.push(BackupTrouble::Unusable)), "backup", "store", Severity::Critical),
        (
            with(|v| v.backups.push(BackupTrouble::DrillFailed { policy: "etc".to_owned() })),
            "backup",
            "drill etc",
            Severity::Critical,
        ),
        (
            with(|v| v.backups.push(BackupTrouble::CheckFailed { findings: 2 })),
            "backup",
            "check",
            Severity::Critical,
        ),
        (
            with(|v| v.backups.push(BackupTrouble::Unchecked { age_seconds: 3.0, max_age_seconds: 2.0 })),
            "backup",
            "check",
            Severity::Warning,
        ),
    ] {
        let verdict = Bench::new().hold(700, &vitals);
        let seen: Vec<_> = verdict
            .breaches
            .iter()
            .map(|breach| (breach.name, breach.subject.as_str(), breach.severity))
            .collect();
        assert_eq!(seen, [(name, subject, severity)]);
        assert!(!verdict.breaches[0].summary.is_empty());
    }
    for vitals in [network(4.9e8, Some(1e9)), network(4.9e7, Some(1e8)), cpu(69.9), cpu(f64::NAN)] {
        assert_eq!(Bench::new().hold(700, &vitals).status, NodeHealth::Healthy, "{vitals:?}");
    }
}

#[test]
fn inodes_are_judged_beside_space() {
    let filesystem =
        Filesystem { mountpoint: "/var".to_owned(), used_percent: Some(85.0), inodes_percent: Some(95.0) };
    let verdict = Bench::new().hold(20, &Vitals { filesystems: vec![filesystem], ..Vitals::default() });
    let seen: Vec<_> = verdict.breaches.iter().map(|breach| (breach.name, breach.severity)).collect();
    assert_eq!(seen, [("inodes", Severity::Critical), ("disk", Severity::Warning)]);
}

#[test]
fn a_peak_shorter_than_the_for_time_fires_nothing() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        assert_eq!(bench.hold(10, &disk(99.0)).status, NodeHealth::Healthy);
        bench.online(&disk(50.0));
    }
}

#[test]
fn what_fired_clears_only_after_its_clear_time_below_the_margin() {
    let mut bench = Bench::new();
    assert_eq!(bench.hold(20, &disk(85.0)).status, NodeHealth::Warning);
    assert_eq!(bench.hold(1000, &disk(79.5)).status, NodeHealth::Warning, "inside the margin");
    assert_eq!(bench.hold(30, &disk(78.9)).status, NodeHealth::Warning, "not for long enough");
    assert_eq!(bench.online(&disk(79.5)).status, NodeHealth::Warning, "starts the clear time again");
    assert_eq!(bench.hold(30, &disk(78.9)).status, NodeHealth::Warning);
    let verdict = bench.online(&disk(78.9));
    assert_eq!((verdict.status, verdict.changed, verdict.score), (NodeHealth::Healthy, true, 100));
}

#[test]
fn a_critical_that_eases_becomes_a_warning() {
    let mut bench = Bench::new();
    assert_eq!(bench.hold(20, &disk(95.0)).status, NodeHealth::Critical);
    let verdict = bench.hold(31, &disk(85.0));
    assert_eq!(verdict.status, NodeHealth::Warning);
    assert_eq!(verdict.breaches[0].threshold, Some(80.0));
}

#[test]
fn a_file_system_that_is_unmounted_clears() {
    let mut bench = Bench::new();
    assert_eq!(bench.hold(20, &disks(&[("/a", 95.0), ("/b", 10.0)])).status, NodeHealth::Critical);
    assert_eq!(bench.hold(31, &disks(&[("/b", 10.0)])).status, NodeHealth::Healthy);
}

#[test]
fn a_late_node_is_warning_and_an_offline_one_offline() {
    let mut bench = Bench::new();
    assert_eq!(bench.online(&cpu(1.0)).status, NodeHealth::Healthy);
    let late = bench.see(Liveness::Late, &cpu(1.0));
    assert_eq!((late.status, late.score, late.changed), (NodeHealth::Warning, 80, true));
    assert_eq!((late.causes[0].name.as_str(), late.causes[0].points), ("late", 20.0));
    let offline = bench.see(Liveness::Offline, &cpu(1.0));
    assert_eq!((offline.status, offline.score, offline.changed), (NodeHealth::Offline, 0, true));
    assert_eq!((offline.causes[0].name.as_str(), offline.causes[0].points), ("offline", 100.0));
    let since = offline.breaches[0].since;
    assert_eq!(bench.see(Liveness::Offline, &cpu(1.0)).breaches[0].since, since);
    let back = bench.online(&cpu(1.0));
    assert_eq!((back.status, back.changed), (NodeHealth::Healthy, true));
}

#[test]
fn stale_vitals_fire_no_new_rule() {
    for liveness in [Liveness::Late, Liveness::Offline] {
        let mut bench = Bench::new();
        bench.hold(9, &disk(99.0));
        for _ in 0..1000 {
            let verdict = bench.see(liveness, &disk(99.0));
            assert!(verdict.breaches.iter().all(|breach| breach.name != "disk"), "{liveness:?}");
        }
    }
}

#[test]
fn what_fires_outlasts_a_silence_and_what_is_pending_does_not() {
    let mut bench = Bench::new();
    bench.hold(20, &disks(&[("/old", 99.0)]));
    bench.hold(8, &disks(&[("/old", 99.0), ("/new", 99.0)]));
    let offline = bench.silence(Liveness::Offline);
    assert_eq!(offline.breaches.len(), 1, "one alert for a dead node, not its symptoms too");
    let back = bench.hold(5, &disks(&[("/old", 99.0), ("/new", 99.0)]));
    let subjects: Vec<_> = back.breaches.iter().map(|breach| breach.subject.as_str()).collect();
    assert_eq!(subjects, ["/old"]);
    assert_eq!(back.breaches[0].since, Timestamp::from_millis(1_800_000_001_000));
}

#[test]
fn the_first_observation_changes_nothing() {
    assert!(!Bench::new().silence(Liveness::Offline).changed);
    assert!(!Bench::new().online(&cpu(1.0)).changed);
}

#[test]
fn a_clock_set_forward_an_hour_fires_nothing_early() {
    let mut bench = Bench::new();
    bench.hold(2, &disk(99.0));
    bench.now += HOUR_MS;
    assert_eq!(bench.online(&disk(99.0)).status, NodeHealth::Healthy);
    assert_eq!(bench.hold(10, &disk(99.0)).status, NodeHealth::Critical);
}

#[test]
fn a_clock_set_forward_an_hour_clears_nothing_early() {
    let mut bench = Bench::new();
    bench.hold(20, &disk(99.0));
    bench.online(&disk(10.0));
    bench.now += HOUR_MS;
    assert_eq!(bench.hold(20, &disk(10.0)).status, NodeHealth::Critical);
    assert_eq!(bench.hold(20, &disk(10.0)).status, NodeHealth::Healthy);
}

#[test]
fn a_clock_set_back_an_hour_freezes_nothing() {
    let mut bench = Bench::new();
    bench.hold(5, &disk(99.0));
    bench.now -= HOUR_MS;
    let verdict = bench.hold(7, &disk(99.0));
    assert_eq!(verdict.status, NodeHealth::Critical);
    assert!(verdict.breaches[0].since <= Timestamp::from_millis(bench.now), "no beginning in the future");
    bench.now -= HOUR_MS;
    assert_eq!(bench.hold(32, &disk(10.0)).status, NodeHealth::Healthy);
}

#[test]
fn more_subjects_than_fit_are_counted_and_the_judge_stays_bounded() {
    let failed_units = (0..SUBJECTS_MAX + 10).map(|index| format!("u{index}.service")).collect();
    let vitals = Vitals { failed_units, ..Vitals::default() };
    let mut bench = Bench::new();
    let verdict = bench.hold(30, &vitals);
    assert_eq!((verdict.breaches.len(), verdict.untracked), (SUBJECTS_MAX, 10));
    assert_eq!(verdict.score, 70, "warnings alone never cost more");
    assert_eq!(bench.hold(30, &cpu(1.0)).breaches.len(), 0);
    assert!(bench.judge.entries.is_empty(), "what cleared is forgotten");
}

#[test]
fn a_rule_with_no_for_time_fires_at_once() {
    let mut bench = Bench::with(r#"{"cpu": {"critical_for_s": 0, "clear_for_s": 0}}"#);
    assert_eq!(bench.online(&cpu(90.0)).status, NodeHealth::Critical);
    assert_eq!(bench.online(&cpu(10.0)).status, NodeHealth::Healthy);
}

fn liveness() -> impl Strategy<Value = Liveness> {
    prop_oneof![8 => Just(Liveness::Online), 1 => Just(Liveness::Late), 1 => Just(Liveness::Offline)]
}

proptest! {
    /// Whatever is seen at whatever times, verdicts are consistent.
    #[test]
    fn verdicts_are_consistent(
        seen in proptest::collection::vec(
            (liveness(), 0.0..100.0_f64, proptest::option::of(60.0..100.0_f64), -5000_i64..5000),
            1..200,
        ),
    ) {
        let mut judge = Judge::new(Arc::new(Thresholds::default()));
        let mut now = 1_800_000_000_000_u64;
        let mut status = None;
        for (liveness, cpu_percent, used_percent, step) in seen {
            now = now.saturating_add_signed(step);
            let filesystems =
                vec![Filesystem { mountpoint: "/".to_owned(), used_percent, inodes_percent: used_percent }];
            let vitals = Vitals { cpu_percent: Some(cpu_percent), filesystems, ..Vitals::default() };
            let verdict = judge.observe(Timestamp::from_millis(now), liveness, Some(&vitals));
            let points: f64 = verdict.causes.iter().map(|cause| cause.points).sum();
            prop_assert_eq!(points, f64::from(100 - verdict.score));
            prop_assert_eq!(verdict.status == NodeHealth::Offline, liveness == Liveness::Offline);
            prop_assert_eq!(verdict.status == NodeHealth::Healthy, verdict.score == 100);
            prop_assert_eq!(verdict.changed, status.is_some_and(|before| before != verdict.status));
            prop_assert!(verdict.breaches.iter().all(|breach| breach.since.as_millis() <= now));
            status = Some(verdict.status);
        }
    }

    /// Values that stay between the limit less the margin and the limit never change what is judged.
    #[test]
    fn nothing_flaps_inside_the_margin(
        values in proptest::collection::vec(79.0..80.0_f64, 1..300),
        fires_first in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let before = bench.hold(20, &disk(if fires_first { 85.0 } else { 50.0 })).status;
        for value in values {
            let verdict = bench.online(&disk(value));
            prop_assert_eq!((verdict.status, verdict.changed), (before, false));
        }
    }

    /// A rule fires only when its value was over the limit in each observation of at least its `for` time.
    #[test]
    fn the_for_time_is_honoured(over in proptest::collection::vec(any::<bool>(), 1..200), hold in 1_u32..15) {
        let settings = format!(
            r#"{{"disk": {{"warning_for_s": {hold}, "critical_for_s": {hold}, "clear_for_s": 0}}}}"#
        );
        let mut bench = Bench::with(&settings);
        let mut run = 0;
        for is_over in over {
            run = if is_over { run + 1 } else { 0 };
            let verdict = bench.online(&disk(if is_over { 95.0 } else { 10.0 }));
            // The first observation over the limit starts the time, so it takes one more.
            prop_assert_eq!(verdict.status == NodeHealth::Critical, run > hold);
        }
    }
}
