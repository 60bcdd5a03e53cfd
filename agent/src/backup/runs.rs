//! What ran of each policy, when, and how it ended. Pure: the file of it is in `ledger`.
//!
//! Written by the program (that it began, how it ended) and by the steward (since when a policy is there, when it runs
//! next, what was cut), each change under one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campanile_common::api::BackupResult;
use campanile_common::backup::PolicyName;
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Runs of a policy that are kept; the oldest go.
pub const RUNS_KEPT: usize = 20;
/// First pause before a run that failed is tried again; it doubles with each failure.
const RETRY_FIRST: Duration = Duration::from_secs(5 * 60);
/// The same after one that was stopped or killed: nothing says that it would fail again.
const RETRY_CUT: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Longest reason that is kept.
const DETAIL_CHARS_MAX: usize = 400;
const CUT: &str = "it was killed before its end; the next run goes on with what it had stored";

/// Who started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartedBy {
    /// The policy's schedule.
    Schedule,
    /// An order.
    Order,
    /// Somebody on the node.
    Hand,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunEnd {
    /// When.
    pub time: Timestamp,
    /// How.
    pub result: BackupResult,
    /// The snapshot that it made; none when it failed, and when nothing had changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// How long it took, on a clock that nobody sets.
    pub duration_ms: u64,
    /// What went wrong, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// When it began.
    pub started: Timestamp,
    /// Who began it.
    pub by: StartedBy,
    /// How it ended; none while it runs, and when it was cut and nobody has noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
}

/// What is known of a policy's runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// Since when the policy is on this node.
    pub since: Timestamp,
    /// When it runs next; none where it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Why it cannot run; empty when it can.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// Why a run that is due has not begun; empty when none waits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waits: String,
    /// Its last runs, oldest first.
    pub runs: Vec<Run>,
}

/// The runs of all policies of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Runs {
    pub(super) format: u16,
    /// Why nothing is started by its schedule; empty when it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub denied: String,
    /// By policy.
    pub policies: BTreeMap<PolicyName, History>,
}

impl Run {
    /// Whether it looked and found nothing changed.
    fn is_idle(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.result == BackupResult::Ok && end.snapshot.is_none())
    }

    fn has_failed(&self) -> bool {
        let failed = [BackupResult::Failed, BackupResult::Stopped];
        self.end.as_ref().is_some_and(|end| failed.contains(&end.result))
    }
}

impl History {
    /// Of a policy that is new.
    pub fn new(since: Timestamp) -> Self {
        Self { since, next: None, problem: String::new(), waits: String::new(), runs: Vec::new() }
    }

    /// When the last run began that was more than a look which found nothing changed.
    pub fn last_started(&self) -> Option<Timestamp> {
        self.runs.iter().rev().find(|run| !run.is_idle()).map(|run| run.started)
    }

    /// The last run.
    pub fn last(&self) -> Option<&Run> {
        self.runs.last()
    }

    /// Whether a run has begun and nobody knows of its end.
    pub fn is_open(&self) -> bool {
        self.runs.iter().any(|run| run.end.is_none())
    }

    /// How the last run failed that the schedule started, where none went well since.
    pub fn failure(&self) -> Option<&RunEnd> {
        self.failures().next().and_then(|run| run.end.as_ref())
    }

    /// When a run that failed is tried again. Orders and people try again themselves.
    pub fn retry(&self, now: Timestamp) -> Option<Timestamp> {
        let last = self.failure()?;
        let first = if last.result == BackupResult::Stopped { RETRY_CUT } else { RETRY_FIRST };
        let times = u32::try_from(self.failures().count()).unwrap_or(u32::MAX);
        let pause = first.saturating_mul(1 << times.saturating_sub(1).min(10)).min(RETRY_MAX);
        // A clock that was ahead when it ended must not put it off.
        Some(last.time.min(now) + pause)
    }

    /// Failures of the schedule's runs since one went well, newest first.
    fn failures(&self) -> impl Iterator<Item = &Run> {
        let ended = self.runs.iter().rev().filter(|run| run.end.is_some());
        let failed = ended.take_while(|run| run.has_failed());
        failed.filter(|run| run.by == StartedBy::Schedule)
    }

    fn push(&mut self, run: Run) {
        self.runs.push(run);
        let excess = self.runs.len().saturating_sub(RUNS_KEPT);
        self.runs.drain(..excess);
    }

    fn end(&mut self, index: usize, end: RunEnd) {
        let detail =
            end.detail.lines().collect::<Vec<_>>().join(" ").chars().take(DETAIL_CHARS_MAX).collect();
        self.runs[index].end = Some(RunEnd { detail, ..end });
        // Looks that find nothing come each minute: the last of a row says it all.
        if index > 0 && self.runs[index].is_idle() && self.runs[index - 1].is_idle() {
            self.runs.remove(index - 1);
        }
    }
}

impl Runs {
    /// A run begins.
    pub fn begin(&mut self, policy: &PolicyName, by: StartedBy, now: Timestamp) {
        let history = self.policies.entry(policy.clone()).or_insert_with(|| History::new(now));
        history.waits.clear();
        history.push(Run { started: now, by, end: None });
    }

    /// The run that began then has ended.
    pub fn finish(&mut self, policy: &PolicyName, started: Timestamp, end: RunEnd) {
        let Some(history) = self.policies.get_mut(policy) else { return };
        let open = history.runs.iter().rposition(|run| run.started == started && run.end.is_none());
        if let Some(index) = open {
            history.end(index, end);
        }
    }

    /// Nothing runs: what has no end was cut. `detail` says how, where that is known.
    pub fn settle(&mut self, detail: Option<&str>, now: Timestamp) {
        for history in self.policies.values_mut() {
            while let Some(index) = history.runs.iter().position(|run| run.end.is_none()) {
                let duration = now.since(history.runs[index].started).as_millis();
                let end = RunEnd {
                    time: now,
                    result: BackupResult::Stopped,
                    snapshot: None,
                    duration_ms: u64::try_from(duration).unwrap_or(u64::MAX),
                    detail: detail.unwrap_or(CUT).to_owned(),
                };
                history.end(index, end);
            }
        }
    }

    /// These policies are on the node now: of others nothing is remembered.
    pub fn keep(&mut self, present: &BTreeSet<PolicyName>, now: Timestamp) {
        self.policies.retain(|name, _| present.contains(name));
        for name in present {
            self.policies.entry(name.clone()).or_insert_with(|| History::new(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    fn name() -> PolicyName {
        "etc".parse().unwrap()
    }

    fn end(time: Timestamp, result: BackupResult, snapshot: Option<&str>) -> RunEnd {
        let snapshot = snapshot.map(str::to_owned);
        RunEnd { time, result, snapshot, duration_ms: 1, detail: String::new() }
    }

    /// Runs that began a minute apart and took no time.
    fn of(results: &[(StartedBy, BackupResult, Option<&str>)]) -> Runs {
        let mut runs = Runs::default();
        for ((by, result, snapshot), time) in results.iter().zip((0..).map(|count| NOON + minutes(count))) {
            runs.begin(&name(), *by, time);
            runs.finish(&name(), time, end(time, *result, *snapshot));
        }
        runs
    }

    fn failed(count: usize) -> Runs {
        of(&vec![(StartedBy::Schedule, BackupResult::Failed, None); count])
    }

    fn retry(runs: &Runs) -> Option<Duration> {
        let history = &runs.policies[&name()];
        let now = NOON + minutes(60 * 24);
        history.retry(now).map(|retry| retry.since(history.last().unwrap().started))
    }

    #[test]
    fn failures_are_tried_again_later_each_time_and_an_hour_apart_at_most() {
        let pauses: Vec<_> = (1..7).map(|count| retry(&failed(count)).unwrap().as_secs() / 60).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        let cut = of(&[(StartedBy::Schedule, BackupResult::Stopped, None)]);
        assert_eq!(retry(&cut), Some(minutes(1)));
    }

    #[test]
    fn what_went_well_since_ends_the_failures_and_those_of_orders_are_not_tried_again() {
        let (ok, failed) = (BackupResult::Ok, BackupResult::Failed);
        let by_order = of(&[(StartedBy::Order, failed, None)]);
        assert_eq!((retry(&by_order), by_order.policies[&name()].failure()), (None, None));
        let mended = of(&[(StartedBy::Schedule, failed, None), (StartedBy::Order, ok, Some("s"))]);
        assert_eq!(retry(&mended), None);
        let still = of(&[(StartedBy::Schedule, failed, None), (StartedBy::Order, failed, None)]);
        assert!(retry(&still).is_some());
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_put_a_retry_off() {
        let runs = failed(1);
        let now = NOON - minutes(60 * 24 * 365);
        assert_eq!(runs.policies[&name()].retry(now), Some(now + minutes(5)));
    }

    #[test]
    fn looks_that_found_nothing_are_one_entry_and_put_no_run_off() {
        let idle = (StartedBy::Schedule, BackupResult::Ok, None);
        let runs = of(&[(StartedBy::Schedule, BackupResult::Ok, Some("s")), idle, idle, idle]);
        let history = &runs.policies[&name()];
        assert_eq!((history.runs.len(), history.last().unwrap().started), (2, NOON + minutes(3)));
        assert_eq!(history.last_started(), Some(NOON));
    }

    #[test]
    fn the_last_runs_are_kept_and_those_of_policies_that_are_gone_are_not() {
        let mut runs = failed(RUNS_KEPT + 7);
        assert_eq!(runs.policies[&name()].runs.len(), RUNS_KEPT);
        assert_eq!(runs.policies[&name()].runs[0].started, NOON + minutes(7));
        let other: PolicyName = "home".parse().unwrap();
        runs.keep(&[other.clone()].into(), NOON);
        assert_eq!(runs.policies, [(other, History::new(NOON))].into());
    }

    #[test]
    fn a_run_without_an_end_was_cut_once_nothing_runs() {
        let mut runs = Runs::default();
        runs.begin(&name(), StartedBy::Schedule, NOON);
        assert!(runs.policies[&name()].is_open());
        runs.settle(None, NOON + minutes(3));
        let history = &runs.policies[&name()];
        let end = history.failure().unwrap();
        assert_eq!((end.result, end.duration_ms), (BackupResult::Stopped, 180_000));
        assert!(end.detail.contains("killed") && !history.is_open());
        // Whoever tells of its end afterwards comes too late.
        let told = runs.clone();
        runs.finish(&name(), NOON, self::end(NOON, BackupResult::Ok, Some("s")));
        assert_eq!(runs, told);
    }
}
