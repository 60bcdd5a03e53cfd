//! Where trouble begins: the default thresholds and how settings change them.
//!
//! Every figure of a rule can be set alone, the others keep their defaults. [`Thresholds`] are checked when they
//! are read, so that the judge never meets a warning above its critical.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest `for` and clear time: past a day a rule is not late but off.
const HOLD_S_MAX: u32 = 86_400;

/// Thresholds that contradict themselves.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// Warnings would come after criticals.
    #[error("{rule}: warning {warning} is above critical {critical}; set both")]
    Order {
        /// Which rule.
        rule: &'static str,
        /// Its warning threshold.
        warning: f64,
        /// Its critical threshold.
        critical: f64,
    },
    /// A figure outside what it can be.
    #[error("{rule}: {key} is {value}, must be above 0 and at most {most}")]
    Range {
        /// Which rule.
        rule: &'static str,
        /// Which figure of it.
        key: &'static str,
        /// What was given.
        value: f64,
        /// The largest that makes sense.
        most: f64,
    },
    /// A margin that would keep an alert for ever.
    #[error("{rule}: margin is {margin}, must be at least 0 and below the warning threshold {warning}")]
    Margin {
        /// Which rule.
        rule: &'static str,
        /// What was given.
        margin: f64,
        /// Its warning threshold.
        warning: f64,
    },
    /// A time too long to be meant.
    #[error("{rule}: {key} is {seconds} s, must be at most {HOLD_S_MAX} s")]
    Hold {
        /// Which rule.
        rule: &'static str,
        /// Which time of it.
        key: &'static str,
        /// What was given.
        seconds: u32,
    },
}

/// Limits of one measured value. A value at or above a limit for its `for` time fires; it stops only after the
/// value was below the limit less `margin` for `clear_for_s`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Threshold {
    pub(super) warning: f64,
    /// None: nothing of this kind is worse than a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) critical: Option<f64>,
    pub(super) margin: f64,
    pub(super) warning_for_s: u32,
    pub(super) critical_for_s: u32,
    pub(super) clear_for_s: u32,
}

/// A state that is wrong or not, and a warning when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Condition {
    pub(super) for_s: u32,
    pub(super) clear_for_s: u32,
}

/// All limits a node is judged by. [`Default`] is what a fresh install uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawThresholds")]
pub struct Thresholds {
    /// Processor time not idle, per cent.
    pub(super) cpu: Threshold,
    /// Memory not available, per cent.
    pub(super) memory: Threshold,
    /// Used space of a file system, per cent.
    pub(super) disk: Threshold,
    /// Used inodes of a file system, per cent.
    pub(super) inodes: Threshold,
    /// Traffic of an interface in one direction, Mbit/s.
    pub(super) network: Threshold,
    /// Speed of the link that the network limits are meant for, Mbit/s; on a slower one they shrink with it.
    pub(super) network_full_link_mbits: f64,
    /// Failed requests, per cent.
    pub(super) error_rate: Threshold,
    /// 95th percentile of response times, ms.
    pub(super) latency: Threshold,
    /// Waiting requests.
    pub(super) queue: Threshold,
    /// What the node's time service still has to correct, seconds.
    pub(super) clock_offset: Threshold,
    /// Difference to the aggregator's clock, seconds.
    pub(super) clock_skew: Threshold,
    /// The kernel does not hold the clock to be synchronised.
    pub(super) clock_unsynchronised: Condition,
    /// A systemd unit failed.
    pub(super) failed_unit: Condition,
    /// A collector of the agent gives nothing.
    pub(super) failed_collector: Condition,
    /// The agent refuses its settings as they are written.
    pub(super) refused_settings: Condition,
    /// The agent does no more than to show that it is there.
    pub(super) safe_mode: Condition,
    /// Resources of the node differ from its configuration by another hand.
    pub(super) drift: Condition,
    /// The generation that the node tried last was undone.
    pub(super) reverted: Condition,
    /// Something is wrong with the node's backups.
    pub(super) backup: Condition,
}

/// What fills slowly fires soon, what peaks in ordinary work fires late; short enough that a person who watches
/// sees it turn. Time services need minutes after a start, hence ten before a warning, as in node_exporter's rules.
impl Default for Thresholds {
    fn default() -> Self {
        let rule =
            |warning: f64, critical: f64, margin, [warning_for_s, critical_for_s, clear_for_s]: [u32; 3]| {
                Threshold {
                    warning,
                    critical: Some(critical),
                    margin,
                    warning_for_s,
                    critical_for_s,
                    clear_for_s,
                }
            };
        let only_warning = |warning, margin, hold_s| Threshold {
            warning,
            critical: None,
            margin,
            warning_for_s: hold_s,
            critical_for_s: hold_s,
            clear_for_s: hold_s,
        };
        Self {
            cpu: rule(70.0, 85.0, 5.0, [60, 30, 30]),
            memory: rule(75.0, 90.0, 3.0, [30, 15, 30]),
            disk: rule(80.0, 90.0, 1.0, [10, 10, 30]),
            inodes: rule(80.0, 90.0, 1.0, [10, 10, 30]),
            network: rule(500.0, 800.0, 50.0, [60, 30, 30]),
            network_full_link_mbits: 1000.0,
            error_rate: rule(1.0, 5.0, 0.2, [60, 30, 60]),
            latency: rule(500.0, 1000.0, 50.0, [60, 30, 60]),
            queue: rule(1000.0, 5000.0, 100.0, [60, 30, 60]),
            clock_offset: only_warning(0.5, 0.1, 60),
            clock_skew: only_warning(5.0, 1.0, 10),
            clock_unsynchronised: Condition { for_s: 600, clear_for_s: 30 },
            failed_unit: Condition { for_s: 10, clear_for_s: 10 },
            failed_collector: Condition { for_s: 30, clear_for_s: 30 },
            refused_settings: Condition { for_s: 1, clear_for_s: 1 },
            safe_mode: Condition { for_s: 1, clear_for_s: 1 },
            drift: Condition { for_s: 1, clear_for_s: 1 },
            reverted: Condition { for_s: 1, clear_for_s: 1 },
            backup: Condition { for_s: 1, clear_for_s: 1 },
        }
    }
}

/// Limits as the state machine compares against them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    pub(super) warning: f64,
    pub(super) critical: Option<f64>,
    pub(super) margin: f64,
    pub(super) warning_for: Duration,
    pub(super) critical_for: Duration,
    pub(super) clear_for: Duration,
}

impl Threshold {
    /// The limits, each times `factor`.
    pub(super) fn limits(&self, factor: f64) -> Limits {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        Limits {
            warning: self.warning * factor,
            critical: self.critical.map(|critical| critical * factor),
            margin: self.margin * factor,
            warning_for: seconds(self.warning_for_s),
            critical_for: seconds(self.critical_for_s),
            clear_for: seconds(self.clear_for_s),
        }
    }

    fn check(self, rule: &'static str, most: f64) -> Result<Self, ThresholdError> {
        let in_range = |key, value: f64| {
            // Written so that NaN fails.
            if value > 0.0 && value <= most {
                Ok(())
            } else {
                Err(ThresholdError::Range { rule, key, value, most })
            }
        };
        in_range("warning", self.warning)?;
        if let Some(critical) = self.critical {
            in_range("critical", critical)?;
            if self.warning > critical {
                return Err(ThresholdError::Order { rule, warning: self.warning, critical });
            }
        }
        if !(0.0..self.warning).contains(&self.margin) {
            return Err(ThresholdError::Margin { rule, margin: self.margin, warning: self.warning });
        }
        check_hold(rule, "warning_for_s", self.warning_for_s)?;
        check_hold(rule, "critical_for_s", self.critical_for_s)?;
        check_hold(rule, "clear_for_s", self.clear_for_s)?;
        Ok(self)
    }
}

impl Condition {
    /// Limits for a value that is 1 while the state is wrong.
    pub(super) fn limits(&self) -> Limits {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        let (hold, clear_for) = (seconds(self.for_s), seconds(self.clear_for_s));
        Limits { warning: 1.0, critical: None, margin: 0.0, warning_for: hold, critical_for: hold, clear_for }
    }

    fn check(self, rule: &'static str) -> Result<Self, ThresholdError> {
        check_hold(rule, "for_s", self.for_s)?;
        check_hold(rule, "clear_for_s", self.clear_for_s)?;
        Ok(self)
    }
}

fn check_hold(rule: &'static str, key: &'static str, seconds: u32) -> Result<(), ThresholdError> {
    if seconds <= HOLD_S_MAX { Ok(()) } else { Err(ThresholdError::Hold { rule, key, seconds }) }
}

/// A rule as settings write it: what is left out keeps its default.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawThreshold {
    warning: Option<f64>,
    critical: Option<f64>,
    margin: Option<f64>,
    warning_for_s: Option<u32>,
    critical_for_s: Option<u32>,
    clear_for_s: Option<u32>,
}

impl RawThreshold {
    fn over(self, default: Threshold) -> Threshold {
        Threshold {
            warning: self.warning.unwrap_or(default.warning),
            critical: self.critical.or(default.critical),
            margin: self.margin.unwrap_or(default.margin),
            warning_for_s: self.warning_for_s.unwrap_or(default.warning_for_s),
            critical_for_s: self.critical_for_s.unwrap_or(default.critical_for_s),
            clear_for_s: self.clear_for_s.unwrap_or(default.clear_for_s),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCondition {
    for_s: Option<u32>,
    clear_for_s: Option<u32>,
}

impl RawCondition {
    fn over(self, default: Condition) -> Condition {
        Condition {
            for_s: self.for_s.unwrap_or(default.for_s),
            clear_for_s: self.clear_for_s.unwrap_or(default.clear_for_s),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawThresholds {
    cpu: RawThreshold,
    memory: RawThreshold,
    disk: RawThreshold,
    inodes: RawThreshold,
    network: RawThreshold,
    network_full_link_mbits: Option<f64>,
    error_rate: RawThreshold,
    latency: RawThreshold,
    queue: RawThreshold,
    clock_offset: RawThreshold,
    clock_skew: RawThreshold,
    clock_unsynchronised: RawCondition,
    failed_unit: RawCondition,
    failed_collector: RawCondition,
    refused_settings: RawCondition,
    safe_mode: RawCondition,
    drift: RawCondition,
    reverted: RawCondition,
    backup: RawCondition,
}

impl TryFrom<RawThresholds> for Thresholds {
    type Error = ThresholdError;

    fn try_from(raw: RawThresholds) -> Result<Self, ThresholdError> {
        const PERCENT: f64 = 100.0;
        /// A million is past any speed in Mbit/s, wait in ms and queue that is worth a limit.
        const LARGE: f64 = 1e6;
        let default = Self::default();
        let full_link = raw.network_full_link_mbits.unwrap_or(default.network_full_link_mbits);
        if !(full_link > 0.0 && full_link <= LARGE) {
            let (rule, key) = ("network", "network_full_link_mbits");
            return Err(ThresholdError::Range { rule, key, value: full_link, most: LARGE });
        }
        Ok(Self {
            cpu: raw.cpu.over(default.cpu).check("cpu", PERCENT)?,
            memory: raw.memory.over(default.memory).check("memory", PERCENT)?,
            disk: raw.disk.over(default.disk).check("disk", PERCENT)?,
            inodes: raw.inodes.over(default.inodes).check("inodes", PERCENT)?,
            network: raw.network.over(default.network).check("network", LARGE)?,
            network_full_link_mbits: full_link,
            error_rate: raw.error_rate.over(default.error_rate).check("error_rate", PERCENT)?,
            latency: raw.latency.over(default.latency).check("latency", LARGE)?,
            queue: raw.queue.over(default.queue).check("queue", LARGE)?,
            clock_offset: raw.clock_offset.over(default.clock_offset).check("clock_offset", LARGE)?,
            clock_skew: raw.clock_skew.over(default.clock_skew).check("clock_skew", LARGE)?,
            clock_unsynchronised: raw
                .clock_unsynchronised
                .over(default.clock_unsynchronised)
                .check("clock_unsynchronised")?,
            failed_unit: raw.failed_unit.over(default.failed_unit).check("failed_unit")?,
            failed_collector: raw
                .failed_collector
                .over(default.failed_collector)
                .check("failed_collector")?,
            refused_settings: raw
                .refused_settings
                .over(default.refused_settings)
                .check("refused_settings")?,
            safe_mode: raw.safe_mode.over(default.safe_mode).check("safe_mode")?,
            drift: raw.drift.over(default.drift).check("drift")?,
            reverted: raw.reverted.over(default.reverted).check("reverted")?,
            backup: raw.backup.over(default.backup).check("backup")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Thresholds, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fresh_install_has_the_documented_numbers() {
        let thresholds = Thresholds::default();
        let numbers = |threshold: Threshold| (threshold.warning, threshold.critical.unwrap());
        assert_eq!(numbers(thresholds.cpu), (70.0, 85.0));
        assert_eq!(numbers(thresholds.memory), (75.0, 90.0));
        assert_eq!(numbers(thresholds.disk), (80.0, 90.0));
        assert_eq!(numbers(thresholds.inodes), (80.0, 90.0));
        assert_eq!(numbers(thresholds.network), (500.0, 800.0));
        assert_eq!(numbers(thresholds.error_rate), (1.0, 5.0));
        assert_eq!(numbers(thresholds.latency), (500.0, 1000.0));
        assert_eq!(numbers(thresholds.queue), (1000.0, 5000.0));
    }

    #[test]
    fn the_defaults_pass_their_own_check_and_survive_writing() {
        assert_eq!(read("{}").unwrap(), Thresholds::default());
        let text = serde_json::to_string(&Thresholds::default()).unwrap();
        assert_eq!(read(&text).unwrap(), Thresholds::default());
    }

    #[test]
    fn what_settings_leave_out_keeps_its_default() {
        let read = read(r#"{"disk": {"critical": 95, "critical_for_s": 60}}"#).unwrap();
        let mut expected = Thresholds::default();
        expected.disk.critical = Some(95.0);
        expected.disk.critical_for_s = 60;
        assert_eq!(read, expected);
    }

    #[test]
    fn a_rule_without_a_critical_can_be_given_one() {
        let read = read(r#"{"clock_skew": {"critical": 600}}"#).unwrap();
        assert_eq!(read.clock_skew.critical, Some(600.0));
    }

    #[test]
    fn thresholds_that_contradict_themselves_are_refused_with_what_to_do() {
        for (json, expected) in [
            (r#"{"cpu": {"warning": 90}}"#, "cpu: warning 90 is above critical 85; set both"),
            (r#"{"disk": {"critical": 101}}"#, "disk: critical is 101, must be above 0 and at most 100"),
            (r#"{"disk": {"warning": 0}}"#, "disk: warning is 0, must be above 0 and at most 100"),
            (r#"{"queue": {"margin": 1000}}"#, "queue: margin is 1000, must be at least 0 and below"),
            (r#"{"queue": {"margin": -1}}"#, "queue: margin is -1, must be at least 0"),
            (
                r#"{"memory": {"warning_for_s": 90000}}"#,
                "memory: warning_for_s is 90000 s, must be at most 86400",
            ),
            (r#"{"failed_unit": {"for_s": 90000}}"#, "failed_unit: for_s is 90000 s"),
            (r#"{"network_full_link_mbits": 0}"#, "network: network_full_link_mbits is 0"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.starts_with(expected), "{json}: {error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        for json in [r#"{"cpus": {}}"#, r#"{"cpu": {"warn": 1}}"#, r#"{"failed_unit": {"warning": 1}}"#] {
            assert!(read(json).unwrap_err().contains("unknown field"), "{json}");
        }
    }
}
