//! What ran of each policy, when, and how it ended: saves, drills, and checks of repositories. Pure: the file of it is in
//! `ledger`.
//!
//! Written by the program (that it began, how it ended) and by the steward (since when a policy is there, when it runs
//! next, what was cut), each change under one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campanile_common::api::BackupResult;
use campanile_common::backup::PolicyName;
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::rounds::Rounds;

/// Runs of a policy that are kept; the oldest go.
pub const RUNS_KEPT: usize = 20;
/// First pause before a run that failed is tried again; it doubles with each failure.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(5 * 60);
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
    /// Saves, by policy.
    pub policies: BTreeMap<PolicyName, History>,
    /// Drills, by policy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drills: BTreeMap<PolicyName, History>,
    /// Checks that decrypt, by the place of the repository.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Rounds>,
}

/// The pause after so many failures in a row.
pub(super) fn doubled(first: Duration, failures: usize) -> Duration {
    let failures = u32::try_from(failures).unwrap_or(u32::MAX);
    first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(RETRY_MAX)
}

impl RunEnd {
    /// With a reason of one line, and not too long.
    pub(super) fn cut(self) -> Self {
        let line = self.detail.lines().collect::<Vec<_>>().join(" ");
        Self { detail: line.chars().take(DETAIL_CHARS_MAX).collect(), ..self }
    }
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

    /// The last run that went well.
    pub fn last_success(&self) -> Option<&RunEnd> {
        let mut ends = self.runs.iter().rev().filter_map(|run| run.end.as_ref());
        ends.find(|end| end.result == BackupResult::Ok)
    }

    /// The last run that has ended.
    pub fn last_end(&self) -> Option<&RunEnd> {
        self.runs.iter().rev().find_map(|run| run.end.as_ref())
    }

    /// Whether something was saved once, as far as is remembered.
    pub fn has_snapshot(&self) -> bool {
        self.runs.iter().filter_map(|run| run.end.as_ref()).any(|end| end.snapshot.is_some())
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
        // A clock that was ahead when it ended must not put it off.
        Some(last.time.min(now) + doubled(first, self.failures().count()))
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
        self.runs[index].end = Some(end.cut());
        // Looks that find nothing come each minute: the last of a row says it all.
        if index > 0 && self.runs[index].is_idle() && self.runs[index - 1].is_idle() {
            self.runs.remove(index - 1);
        }
    }
}

impl Runs {
    /// A run begins.
    pub fn begin(&mut self, policy: &PolicyName, by: StartedBy, now: Timestamp) {
        begin(&mut self.policies, policy, by, now);
    }

    /// The run that began then has ended.
    pub fn finish(&mut self, policy: &PolicyName, started: Timestamp, end: RunEnd) {
        finish(&mut self.policies, policy, started, end);
    }

    /// A drill begins.
    pub fn begin_drill(&mut self, policy: &PolicyName, by: StartedBy, now: Timestamp) {
        begin(&mut self.drills, policy, by, now);
    }

    /// The drill that began then has ended.
    pub fn finish_drill(&mut self, policy: &PolicyName, started: Timestamp, end: RunEnd) {
        finish(&mut self.drills, policy, started, end);
    }

    /// Whether anything has begun of which nobody knows the end.
    pub fn is_open(&self) -> bool {
        self.policies.values().chain(self.drills.values()).any(History::is_open)
            || self.checks.values().any(Rounds::is_open)
    }

    /// Nothing runs: what has no end was cut. `detail` says how, where that is known.
    pub fn settle(&mut self, detail: Option<&str>, now: Timestamp) {
        for rounds in self.checks.values_mut() {
            rounds.settle(detail.unwrap_or(CUT), now);
        }
        for history in self.policies.values_mut().chain(self.drills.values_mut()) {
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
        keep(&mut self.policies, present, now);
    }

    /// These policies have drills by schedule now.
    pub fn keep_drills(
        &mut self,
        present: &BTreeSet<PolicyName>,
        drilled: &BTreeSet<PolicyName>,
        now: Timestamp,
    ) {
        // What was ordered without a schedule is remembered as long as the policy is there.
        self.drills.retain(|name, _| present.contains(name));
        for (name, history) in &mut self.drills {
            if !drilled.contains(name) {
                history.next = None;
            }
        }
        for name in drilled {
            self.drills.entry(name.clone()).or_insert_with(|| History::new(now));
        }
    }

    /// Drills and checks of a clock that was ahead are taken for as old as now, so that what is planned from them stands
    /// while time goes by. True when there was any.
    pub fn pull_back(&mut self, now: Timestamp) -> bool {
        let mut was_ahead = false;
        let mut pull = |time: &mut Timestamp| {
            if *time > now {
                (*time, was_ahead) = (now, true);
            }
        };
        for history in self.drills.values_mut() {
            pull(&mut history.since);
            for run in &mut history.runs {
                pull(&mut run.started);
                run.end.iter_mut().for_each(|end| pull(&mut end.time));
            }
        }
        for rounds in self.checks.values_mut() {
            pull(&mut rounds.since);
            rounds.shares.iter_mut().filter_map(|share| share.read.as_mut()).for_each(&mut pull);
            for run in &mut rounds.runs {
                pull(&mut run.started);
                run.end.iter_mut().for_each(|end| pull(&mut end.time));
            }
        }
        was_ahead
    }

    /// These repositories are to be read within these cycles now.
    pub fn keep_checks(&mut self, cycles: &BTreeMap<String, Duration>, now: Timestamp) {
        self.checks.retain(|target, _| cycles.contains_key(target));
        for (target, cycle) in cycles {
            self.checks.entry(target.clone()).or_insert_with(|| Rounds::new(now, *cycle)).fit(*cycle);
        }
    }
}

fn begin(of: &mut BTreeMap<PolicyName, History>, policy: &PolicyName, by: StartedBy, now: Timestamp) {
    let history = of.entry(policy.clone()).or_insert_with(|| History::new(now));
    history.waits.clear();
    history.push(Run { started: now, by, end: None });
}

fn finish(of: &mut BTreeMap<PolicyName, History>, policy: &PolicyName, started: Timestamp, end: RunEnd) {
    let Some(history) = of.get_mut(policy) else { return };
    let open = history.runs.iter().rposition(|run| run.started == started && run.end.is_none());
    if let Some(index) = open {
        history.end(index, end);
    }
}

fn keep(of: &mut BTreeMap<PolicyName, History>, present: &BTreeSet<PolicyName>, now: Timestamp) {
    of.retain(|name, _| present.contains(name));
    for name in present {
        of.entry(name.clone()).or_insert_with(|| History::new(now));
    }
}

#[cfg(test)]
mod tests;
