//! What is looked at: the rules, and which values of the vitals each compares with which limits.

use std::time::Duration;

use super::threshold::{Limits, Thresholds};
use super::vitals::{BackupTrouble, Interface, Vitals};
use crate::unit::format_age;

const BITS_PER_MEGABIT: f64 = 1e6;

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Cpu,
    Memory,
    Disk,
    Inodes,
    Receive,
    Transmit,
    ErrorRate,
    Latency,
    Queue,
    ClockOffset,
    ClockSkew,
    ClockUnsynchronised,
    FailedUnit,
    FailedCollector,
    RefusedSettings,
    SafeMode,
    Drift,
    Reverted,
    BackupLate,
    BackupMissing,
    BackupDamaged,
    BackupHeld,
    BackupUnusable,
    BackupDrillFailed,
    BackupDrillLate,
    BackupCheckFailed,
    BackupUnchecked,
}

impl Rule {
    /// Stable name in alerts and causes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Inodes => "inodes",
            Self::Receive | Self::Transmit => "network",
            Self::ErrorRate => "error-rate",
            Self::Latency => "latency",
            Self::Queue => "queue",
            Self::ClockOffset | Self::ClockSkew | Self::ClockUnsynchronised => "clock",
            Self::FailedUnit => "systemd",
            Self::FailedCollector => "collector",
            Self::RefusedSettings => "settings",
            Self::SafeMode => "safe-mode",
            Self::Drift => "drift",
            Self::Reverted => "reverted",
            Self::BackupLate
            | Self::BackupMissing
            | Self::BackupDamaged
            | Self::BackupHeld
            | Self::BackupUnusable
            | Self::BackupDrillFailed
            | Self::BackupDrillLate
            | Self::BackupCheckFailed
            | Self::BackupUnchecked => "backup",
        }
    }

    /// Which one of its name, for people and for telling alerts apart.
    pub(super) fn subject(self, part: &str) -> String {
        match self {
            Self::Receive => format!("{part} receive"),
            Self::Transmit => format!("{part} transmit"),
            Self::ClockOffset => "offset".to_owned(),
            Self::ClockSkew => "skew".to_owned(),
            Self::ClockUnsynchronised => "synchronisation".to_owned(),
            Self::RefusedSettings | Self::SafeMode => "agent".to_owned(),
            Self::Reverted => format!("generation {part}"),
            Self::BackupLate | Self::BackupMissing => format!("policy {part}"),
            Self::BackupDamaged => "damage".to_owned(),
            Self::BackupHeld => "hold".to_owned(),
            Self::BackupUnusable => "store".to_owned(),
            Self::BackupDrillFailed | Self::BackupDrillLate => format!("drill {part}"),
            Self::BackupCheckFailed | Self::BackupUnchecked => "check".to_owned(),
            Self::Cpu
            | Self::Memory
            | Self::Disk
            | Self::Inodes
            | Self::ErrorRate
            | Self::Latency
            | Self::Queue
            | Self::FailedUnit
            | Self::FailedCollector
            | Self::Drift => part.to_owned(),
        }
    }

    /// Whether there is a measured value to show beside a limit.
    pub(super) fn has_value(self) -> bool {
        !matches!(
            self,
            Self::ClockUnsynchronised
                | Self::FailedUnit
                | Self::FailedCollector
                | Self::RefusedSettings
                | Self::SafeMode
                | Self::Reverted
                | Self::BackupUnusable
                | Self::BackupDrillFailed
        )
    }

    /// One line for people.
    pub(super) fn summary(self, part: &str, value: f64, limit: f64) -> String {
        let megabits = |bits: f64| bits / BITS_PER_MEGABIT;
        match self {
            Self::Cpu => format!("processors {value:.0} % busy (limit {limit:.0} %)"),
            Self::Memory => format!("memory {value:.0} % used (limit {limit:.0} %)"),
            Self::Disk => format!("{part} is {value:.1} % full (limit {limit:.0} %)"),
            Self::Inodes => format!("{part} has {value:.1} % of its inodes in use (limit {limit:.0} %)"),
            Self::Receive | Self::Transmit => {
                let verb = if self == Self::Receive { "receives" } else { "sends" };
                format!("{part} {verb} {:.0} Mbit/s (limit {:.0} Mbit/s)", megabits(value), megabits(limit))
            }
            Self::ErrorRate => format!("{value:.1} % of requests fail (limit {limit:.1} %)"),
            Self::Latency => format!("responses take {value:.0} ms at p95 (limit {limit:.0} ms)"),
            Self::Queue => format!("{value:.0} requests wait (limit {limit:.0})"),
            Self::ClockOffset => format!("clock is corrected by {value:.3} s (limit {limit:.3} s)"),
            Self::ClockSkew => {
                format!("clock differs from the aggregator's by {value:.1} s (limit {limit:.1} s)")
            }
            Self::ClockUnsynchronised => "clock is not synchronised".to_owned(),
            Self::FailedUnit => format!("systemd unit {part} failed"),
            Self::RefusedSettings => {
                format!("the agent's settings are refused, the last good ones stay in force: {part}")
            }
            Self::SafeMode => format!("agent in safe mode {part}"),
            Self::Drift if value < 2.0 => "1 resource differs from its configuration".to_owned(),
            Self::Drift => format!("{value:.0} resources differ from their configuration"),
            Self::Reverted => {
                format!("generation {part} was undone: the node could not reach the aggregator with it")
            }
            Self::FailedCollector => format!("the agent's {part} collector gives no values"),
            Self::BackupLate => format!("backup late: {part}, {} old", age(value)),
            Self::BackupMissing => format!("backup missing: {part}, none for {}", age(value)),
            Self::BackupDamaged => {
                format!("backup damaged: {value:.0} stored objects are not what they were")
            }
            Self::BackupDrillFailed => format!("drill failed: {part}; `campanile backup show` says why"),
            Self::BackupDrillLate => format!("drill late: {part}, none went well for {}", age(value)),
            Self::BackupCheckFailed => {
                format!("backup damaged: the node decrypted it and found {value:.0} things wrong")
            }
            Self::BackupUnchecked => format!("backup unchecked: not all was decrypted for {}", age(value)),
            Self::BackupHeld => "backup held: deletions wait until a person has looked".to_owned(),
            Self::BackupUnusable => {
                "backup unusable: the node's part of the store cannot be read; the aggregator's log says why"
                    .to_owned()
            }
        }
    }
}

fn age(seconds: f64) -> String {
    format_age(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Calls `see` with every measured value: rule, part it is of, value, limits. Flags come only while they are
/// wrong, as 1.
pub(super) fn visit<'a>(
    vitals: &'a Vitals,
    thresholds: &Thresholds,
    mut see: impl FnMut(Rule, &'a str, f64, Limits),
) {
    let performance = &vitals.performance;
    for (rule, value, threshold) in [
        (Rule::Cpu, vitals.cpu_percent, &thresholds.cpu),
        (Rule::Memory, vitals.memory_percent, &thresholds.memory),
        (Rule::ErrorRate, performance.error_rate_percent, &thresholds.error_rate),
        (Rule::Latency, performance.latency_p95_ms, &thresholds.latency),
        (Rule::Queue, performance.queue_depth, &thresholds.queue),
        (Rule::ClockOffset, vitals.clock_offset_seconds.map(f64::abs), &thresholds.clock_offset),
        (Rule::ClockSkew, vitals.clock_skew_seconds.map(f64::abs), &thresholds.clock_skew),
    ] {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            see(rule, "", value, threshold.limits(1.0));
        }
    }
    for filesystem in &vitals.filesystems {
        for (rule, value, threshold) in [
            (Rule::Disk, filesystem.used_percent, &thresholds.disk),
            (Rule::Inodes, filesystem.inodes_percent, &thresholds.inodes),
        ] {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                see(rule, &filesystem.mountpoint, value, threshold.limits(1.0));
            }
        }
    }
    for interface in &vitals.interfaces {
        let limits = thresholds.network.limits(network_factor(interface, thresholds));
        for (rule, value) in [
            (Rule::Receive, interface.receive_bits_per_second),
            (Rule::Transmit, interface.transmit_bits_per_second),
        ] {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                see(rule, &interface.device, value, limits);
            }
        }
    }
    if vitals.is_clock_synchronised == Some(false) {
        see(Rule::ClockUnsynchronised, "", 1.0, thresholds.clock_unsynchronised.limits());
    }
    for unit in &vitals.failed_units {
        see(Rule::FailedUnit, unit, 1.0, thresholds.failed_unit.limits());
    }
    for error in &vitals.settings_errors {
        see(Rule::RefusedSettings, error, 1.0, thresholds.refused_settings.limits());
    }
    if let Some(reason) = &vitals.safe_mode {
        see(Rule::SafeMode, reason, 1.0, thresholds.safe_mode.limits());
    }
    if vitals.drifted_resources > 0 {
        see(Rule::Drift, "", f64::from(vitals.drifted_resources), thresholds.drift.limits());
    }
    if let Some(generation) = &vitals.reverted_generation {
        see(Rule::Reverted, generation, 1.0, thresholds.reverted.limits());
    }
    for collector in &vitals.failed_collectors {
        see(Rule::FailedCollector, collector, 1.0, thresholds.failed_collector.limits());
    }
    visit_backups(&vitals.backups, thresholds, see);
}

fn visit_backups<'a>(
    backups: &'a [BackupTrouble],
    thresholds: &Thresholds,
    mut see: impl FnMut(Rule, &'a str, f64, Limits),
) {
    let limits =
        |warning, critical| Limits { warning, critical: Some(critical), ..thresholds.backup.limits() };
    for trouble in backups {
        match trouble {
            BackupTrouble::Late { policy, age_seconds, max_age_seconds } => {
                see(Rule::BackupLate, policy, *age_seconds, limits(*max_age_seconds, 2.0 * max_age_seconds));
            }
            BackupTrouble::Missing { policy, waited_seconds, max_age_seconds } => {
                let limits = limits(*max_age_seconds, 2.0 * max_age_seconds);
                see(Rule::BackupMissing, policy, *waited_seconds, limits);
            }
            BackupTrouble::Damaged { objects } => {
                see(Rule::BackupDamaged, "", count(*objects), limits(1.0, 1.0))
            }
            BackupTrouble::Held { holds } => see(Rule::BackupHeld, "", count(*holds), limits(1.0, 1.0)),
            BackupTrouble::Unusable => see(Rule::BackupUnusable, "", 1.0, limits(1.0, 1.0)),
            BackupTrouble::DrillFailed { policy } => {
                see(Rule::BackupDrillFailed, policy, 1.0, limits(1.0, 1.0));
            }
            BackupTrouble::DrillLate { policy, age_seconds, max_age_seconds } => {
                let limits = limits(*max_age_seconds, 2.0 * max_age_seconds);
                see(Rule::BackupDrillLate, policy, *age_seconds, limits);
            }
            BackupTrouble::CheckFailed { findings } => {
                see(Rule::BackupCheckFailed, "", count(*findings), limits(1.0, 1.0));
            }
            BackupTrouble::Unchecked { age_seconds, max_age_seconds } => {
                let limits = limits(*max_age_seconds, 2.0 * max_age_seconds);
                see(Rule::BackupUnchecked, "", *age_seconds, limits);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
const fn count(number: u64) -> f64 {
    number as f64
}

/// Megabits of the settings to bits per second, less on a link slower than the one the settings are meant for.
fn network_factor(interface: &Interface, thresholds: &Thresholds) -> f64 {
    let full_link = thresholds.network_full_link_mbits * BITS_PER_MEGABIT;
    let share = match interface.speed_bits_per_second {
        Some(speed) if speed > 0.0 && speed < full_link => speed / full_link,
        _ => 1.0,
    };
    share * BITS_PER_MEGABIT
}
