//! The judgement of one node over time: pending, firing, clearing, and the status that follows.
//!
//! A rule fires for a part of the node (a mount point, an interface) once its value stood at or above the limit
//! for the rule's `for` time, and stops once the value stood below the limit less the margin for the clear time. A
//! value that is missing counts as below.
//!
//! Times are measured on the judge's own clock, which advances by what passed between two observations of an
//! online node, never backwards and never by more than [`STEP_MAX`]. So a clock set forward an hour ages
//! nothing by an hour, one set back an hour stops nothing, and what a silent node showed last grows no older.
//! Invariant: only an observation of an online node makes a rule fire or clear.

use std::sync::Arc;
use std::time::Duration;

use super::rule::{Rule, visit};
use super::score::node_score;
use super::threshold::{Limits, Thresholds};
use super::vitals::Vitals;
use crate::api::{Cause, Liveness, NodeHealth, Severity};
use crate::time::Timestamp;

/// Most parts of one node that can be pending or firing at once. More are counted in [`Verdict::untracked`] and
/// not judged until others clear: whoever has so many has other worries.
pub const SUBJECTS_MAX: usize = 256;

/// Most that one observation ages what is pending or clearing. Nodes are observed every second; a longer pause is
/// a stalled aggregator or a clock that was set, and in neither case did anybody look in between.
const STEP_MAX: Duration = Duration::from_secs(2);

/// Name of the breach of a node that is not heard.
pub(super) const OFFLINE: &str = "offline";
/// Name of the breach of a node that is late.
pub(super) const LATE: &str = "late";

/// What a node is judged to be after one observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The judgement.
    pub status: NodeHealth,
    /// 0 to 100.
    pub score: u8,
    /// What the lost points are for, most expensive first. They add up to 100 less the score.
    pub causes: Vec<Cause>,
    /// Crossed thresholds, worst first.
    pub breaches: Vec<Breach>,
    /// Parts that crossed a threshold and are not judged because [`SUBJECTS_MAX`] others already are.
    pub untracked: usize,
    /// Whether this observation changed the status. The first has nothing to change.
    pub changed: bool,
}

/// A crossed threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// Stable name of what is wrong, e.g. `disk`.
    pub name: &'static str,
    /// Which one, e.g. a mount point; empty where there is only one.
    pub subject: String,
    /// How bad.
    pub severity: Severity,
    /// When the value crossed the threshold.
    pub since: Timestamp,
    /// The last known value; none where there is none to show.
    pub value: Option<f64>,
    /// What it crossed; none where there is none to show.
    pub threshold: Option<f64>,
    /// One line for people.
    pub summary: String,
}

/// Judges one node.
#[derive(Debug)]
pub struct Judge {
    thresholds: Arc<Thresholds>,
    /// Time of the last observation, to measure the next step from.
    observed_at: Option<Timestamp>,
    clock: Duration,
    /// Counts observations, to tell which entries one did not touch.
    round: u64,
    entries: Vec<Entry>,
    liveness: Option<(Liveness, Timestamp)>,
    status: Option<NodeHealth>,
}

/// A part of the node that is pending or firing; there is none for what is fine.
#[derive(Debug)]
struct Entry {
    rule: Rule,
    part: String,
    /// The last known value and what it is compared with.
    value: f64,
    limits: Limits,
    warning: Level,
    critical: Level,
    round: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Level {
    Quiet,
    /// Over the limit, not for long enough. `began` is by the judge's clock, `since` for people.
    Pending {
        began: Duration,
        since: Timestamp,
    },
    /// `below`: since when the value is below the limit less the margin, by the judge's clock.
    Firing {
        since: Timestamp,
        below: Option<Duration>,
    },
}

/// When an observation is, by the judge's clock and by the wall.
#[derive(Debug, Clone, Copy)]
struct Moment {
    clock: Duration,
    wall: Timestamp,
}

impl Judge {
    /// A judge of a node nothing is known of yet.
    pub fn new(thresholds: Arc<Thresholds>) -> Self {
        Self {
            thresholds,
            observed_at: None,
            clock: Duration::ZERO,
            round: 0,
            entries: Vec::new(),
            liveness: None,
            status: None,
        }
    }

    /// Judges by other thresholds from the next observation on; what is pending or firing is measured against them
    /// then.
    pub fn set_thresholds(&mut self, thresholds: Arc<Thresholds>) {
        self.thresholds = thresholds;
    }

    /// Takes in what is known of the node now. To be called at least every two seconds: time beyond that does not
    /// count towards `for` and clear times. `vitals` are the newest there are; of a node that is not online they
    /// are not looked at.
    pub fn observe(&mut self, now: Timestamp, liveness: Liveness, vitals: Option<&Vitals>) -> Verdict {
        let step = self.observed_at.map_or(Duration::ZERO, |last| now.since(last).min(STEP_MAX));
        self.observed_at = Some(now);
        self.bring_into_past(now);
        let liveness_since = match self.liveness {
            Some((known, since)) if known == liveness => since,
            Some(_) | None => now,
        };
        self.liveness = Some((liveness, liveness_since));
        let untracked = match (liveness, vitals) {
            (Liveness::Online, Some(vitals)) => {
                self.clock += step;
                self.apply(Moment { clock: self.clock, wall: now }, vitals)
            }
            (Liveness::Online | Liveness::Late, _) => 0,
            (Liveness::Offline, _) => {
                self.forget_pending();
                0
            }
        };
        self.verdict(liveness, liveness_since, untracked)
    }

    /// A wall clock that was set back must not leave beginnings in the future.
    fn bring_into_past(&mut self, now: Timestamp) {
        let levels = self.entries.iter_mut().flat_map(|entry| [&mut entry.warning, &mut entry.critical]);
        for level in levels {
            if let Level::Pending { since, .. } | Level::Firing { since, .. } = level {
                *since = now.min(*since);
            }
        }
        if let Some((_, since)) = &mut self.liveness {
            *since = now.min(*since);
        }
    }

    fn apply(&mut self, at: Moment, vitals: &Vitals) -> usize {
        self.round += 1;
        let (entries, round) = (&mut self.entries, self.round);
        let mut untracked = 0;
        visit(vitals, &self.thresholds, |rule, part, value, limits| {
            let known = entries.iter_mut().find(|entry| entry.rule == rule && entry.part == part);
            if let Some(entry) = known {
                (entry.value, entry.limits, entry.round) = (value, limits, round);
                entry.step(at, Some(value));
            } else if limits.are_crossed_by(value) {
                if entries.len() < SUBJECTS_MAX {
                    let mut entry = Entry::new(rule, part, value, limits, round);
                    entry.step(at, Some(value));
                    entries.push(entry);
                } else {
                    untracked += 1;
                }
            }
        });
        for entry in self.entries.iter_mut().filter(|entry| entry.round != round) {
            entry.step(at, None);
        }
        self.entries.retain(|entry| !entry.is_quiet());
        untracked
    }

    /// After a silence nobody knows whether what was pending went on.
    fn forget_pending(&mut self) {
        for level in self.entries.iter_mut().flat_map(|entry| [&mut entry.warning, &mut entry.critical]) {
            if matches!(level, Level::Pending { .. }) {
                *level = Level::Quiet;
            }
        }
        self.entries.retain(|entry| !entry.is_quiet());
    }

    fn verdict(&mut self, liveness: Liveness, liveness_since: Timestamp, untracked: usize) -> Verdict {
        let of_link = |name, severity, summary: &str| Breach {
            name,
            subject: String::new(),
            severity,
            since: liveness_since,
            value: None,
            threshold: None,
            summary: summary.to_owned(),
        };
        let mut breaches: Vec<Breach> = match liveness {
            // That the node is gone is the news; what else it had is kept for its return.
            Liveness::Offline => vec![of_link(OFFLINE, Severity::Critical, "nothing is heard of the node")],
            Liveness::Late => {
                let late = of_link(LATE, Severity::Warning, "the node's messages are late");
                self.entries.iter().filter_map(Entry::breach).chain([late]).collect()
            }
            Liveness::Online => self.entries.iter().filter_map(Entry::breach).collect(),
        };
        breaches.sort_by(|a, b| {
            (b.severity.cmp(&a.severity)).then_with(|| (a.name, &a.subject).cmp(&(b.name, &b.subject)))
        });
        let status = match (liveness, breaches.first().map(|worst| worst.severity)) {
            (Liveness::Offline, _) => NodeHealth::Offline,
            (_, Some(Severity::Critical)) => NodeHealth::Critical,
            (_, Some(Severity::Warning)) => NodeHealth::Warning,
            (_, None) => NodeHealth::Healthy,
        };
        let changed = self.status.is_some_and(|before| before != status);
        self.status = Some(status);
        let (score, causes) = node_score(&breaches);
        Verdict { status, score, causes, breaches, untracked, changed }
    }
}

impl Limits {
    fn are_crossed_by(&self, value: f64) -> bool {
        value >= self.warning || self.critical.is_some_and(|critical| value >= critical)
    }
}

impl Entry {
    fn new(rule: Rule, part: &str, value: f64, limits: Limits, round: u64) -> Self {
        let (warning, critical) = (Level::Quiet, Level::Quiet);
        Self { rule, part: part.to_owned(), value, limits, warning, critical, round }
    }

    fn step(&mut self, at: Moment, value: Option<f64>) {
        let Limits { warning, critical, margin, warning_for, critical_for, clear_for } = self.limits;
        self.warning = self.warning.next(at, value, (warning, margin), (warning_for, clear_for));
        self.critical = critical.map_or(Level::Quiet, |critical| {
            self.critical.next(at, value, (critical, margin), (critical_for, clear_for))
        });
    }

    fn is_quiet(&self) -> bool {
        self.warning == Level::Quiet && self.critical == Level::Quiet
    }

    fn breach(&self) -> Option<Breach> {
        let (severity, since, limit) = match (self.critical, self.limits.critical, self.warning) {
            (Level::Firing { since, .. }, Some(limit), _) => (Severity::Critical, since, limit),
            (_, _, Level::Firing { since, .. }) => (Severity::Warning, since, self.limits.warning),
            (_, _, Level::Quiet | Level::Pending { .. }) => return None,
        };
        let has_value = self.rule.has_value();
        Some(Breach {
            name: self.rule.name(),
            subject: self.rule.subject(&self.part),
            severity,
            since,
            value: has_value.then_some(self.value),
            threshold: has_value.then_some(limit),
            summary: self.rule.summary(&self.part, self.value, limit),
        })
    }
}

impl Level {
    fn next(
        self,
        at: Moment,
        value: Option<f64>,
        (limit, margin): (f64, f64),
        (hold, clear): (Duration, Duration),
    ) -> Self {
        let is_over = value.is_some_and(|value| value >= limit);
        let is_well_below = value.is_none_or(|value| value < limit - margin);
        let pending = |began: Duration, since| {
            if at.clock.saturating_sub(began) >= hold {
                Self::Firing { since, below: None }
            } else {
                Self::Pending { began, since }
            }
        };
        match self {
            Self::Quiet | Self::Pending { .. } if !is_over => Self::Quiet,
            Self::Quiet => pending(at.clock, at.wall),
            Self::Pending { began, since } => pending(began, since),
            Self::Firing { since, .. } if !is_well_below => Self::Firing { since, below: None },
            Self::Firing { since, below } => {
                let below = below.unwrap_or(at.clock);
                if at.clock.saturating_sub(below) >= clear {
                    Self::Quiet
                } else {
                    Self::Firing { since, below: Some(below) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
