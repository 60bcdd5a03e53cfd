//! The checks that decrypt a repository, share by share, so that everything is read within a cycle. Pure.
//!
//! A pack belongs to a share by its name, whenever it came. The share that was read longest ago is next, one at each step
//! of the cycle, of which there is one more than there are shares: so each share is read again within less than the
//! cycle, whatever was added, and one step may be missed. More that was missed is made up for at once.

use std::time::Duration;

use campanile_common::api::BackupResult;
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::runs::{RETRY_FIRST, RUNS_KEPT, RunEnd, StartedBy, doubled};

const DAY_S: u64 = 86_400;
/// Most shares: those of a repository are told apart by one byte.
const SHARES_MAX: u8 = 100;

/// What is known of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShareState {
    /// When it was last begun to be read, where that came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Timestamp>,
    /// How much was wrong then.
    #[serde(default)]
    pub findings: u64,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckRun {
    /// When it began.
    pub started: Timestamp,
    /// Who began it.
    pub by: StartedBy,
    /// Which share, counted from one.
    pub part: u8,
    /// Of how many.
    pub of: u8,
    /// How it ended; none while it runs, and when it was cut and nobody has noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
    /// How much was wrong, where everything was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<u64>,
}

/// The checks of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rounds {
    /// Since when it is looked after.
    pub since: Timestamp,
    /// Within so many seconds everything is read once.
    pub cycle_s: u64,
    /// Its shares.
    pub shares: Vec<ShareState>,
    /// When the next is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// The last checks, oldest first.
    pub runs: Vec<CheckRun>,
}

/// How much of a repository was read within the cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// Shares.
    pub shares: u8,
    /// Of them, those that were read within the cycle.
    pub read: u8,
    /// Everything was read since; none before each share was.
    pub complete_since: Option<Timestamp>,
    /// What is wrong in all shares, as they were read last.
    pub findings: u64,
}

fn share_count(cycle: Duration) -> u8 {
    u8::try_from(cycle.as_secs() / DAY_S).unwrap_or(SHARES_MAX).clamp(1, SHARES_MAX)
}

impl Rounds {
    /// Of a repository that nobody looked after until now.
    pub fn new(since: Timestamp, cycle: Duration) -> Self {
        let shares = vec![ShareState::default(); share_count(cycle).into()];
        Self { since, cycle_s: cycle.as_secs(), shares, next: None, runs: Vec::new() }
    }

    /// The cycle is this long now. Where that makes other shares, each of them was read as long ago as the one of before
    /// that was read longest ago.
    pub fn fit(&mut self, cycle: Duration) {
        self.cycle_s = cycle.as_secs();
        let count = usize::from(share_count(cycle));
        if self.shares.len() != count {
            let state = ShareState { read: self.complete_since(), findings: 0 };
            let findings = self.findings();
            self.shares = vec![state; count];
            if let Some(first) = self.shares.first_mut() {
                first.findings = findings;
            }
        }
    }

    /// How many shares there are.
    pub fn count(&self) -> u8 {
        u8::try_from(self.shares.len()).unwrap_or(SHARES_MAX)
    }

    fn step(&self) -> Duration {
        Duration::from_secs(self.cycle_s) / (u32::from(self.count()) + 1)
    }

    /// Which share is read next, counted from one.
    pub fn next_share(&self) -> u8 {
        let oldest = self.shares.iter().enumerate().min_by_key(|(index, share)| (share.read, *index));
        oldest.and_then(|(index, _)| u8::try_from(index + 1).ok()).unwrap_or(1)
    }

    /// When that is due. `splay`: by how much this node begins later than others, at the first time.
    pub fn due(&self, now: Timestamp, splay: Duration) -> Timestamp {
        let step = self.step();
        // Times of a clock that was ahead count as now.
        let began =
            self.runs.iter().rev().find(|run| run.by == StartedBy::Schedule).map(|run| run.started.min(now));
        let by_step = began.map_or(self.since + splay.min(step), |began| began + step);
        let oldest = self.shares.iter().map(|share| share.read).min().flatten();
        let by_age = oldest.unwrap_or(self.since).min(now) + step * u32::from(self.count());
        self.retry(now).unwrap_or_else(|| by_step.min(by_age))
    }

    /// When a check is tried again that did not come to its end.
    fn retry(&self, now: Timestamp) -> Option<Timestamp> {
        let ended = self.runs.iter().rev().filter(|run| run.by == StartedBy::Schedule && run.end.is_some());
        let failed: Vec<&CheckRun> = ended.take_while(|run| run.findings.is_none()).collect();
        let last = failed.first()?.end.as_ref()?;
        Some(last.time.min(now) + doubled(RETRY_FIRST, failed.len()))
    }

    /// How the last check failed that the schedule started and that did not come to its end.
    pub fn failure(&self) -> Option<&RunEnd> {
        let last = self.runs.iter().rev().find(|run| run.by == StartedBy::Schedule && run.end.is_some())?;
        last.end.as_ref().filter(|_| last.findings.is_none())
    }

    /// The last check that found something wrong, unless everything is well since.
    pub fn damage(&self) -> Option<&RunEnd> {
        let found = self.runs.iter().rev().find(|run| run.findings.is_some_and(|findings| findings > 0));
        found.and_then(|run| run.end.as_ref()).filter(|_| self.findings() > 0)
    }

    fn complete_since(&self) -> Option<Timestamp> {
        self.shares.iter().map(|share| share.read).min().flatten()
    }

    fn findings(&self) -> u64 {
        self.shares.iter().map(|share| share.findings).sum()
    }

    /// How much was read within the cycle.
    pub fn coverage(&self, now: Timestamp) -> Coverage {
        let since = now - Duration::from_secs(self.cycle_s);
        let fresh = self.shares.iter().filter(|share| share.read.is_some_and(|read| read >= since)).count();
        let (complete_since, findings) = (self.complete_since(), self.findings());
        let read = u8::try_from(fresh).unwrap_or(SHARES_MAX);
        Coverage { shares: self.count(), read, complete_since, findings }
    }

    /// A check begins that others must wait for.
    pub fn begin(&mut self, part: u8, of: u8, by: StartedBy, now: Timestamp) {
        self.runs.push(CheckRun { started: now, by, part, of, end: None, findings: None });
        let excess = self.runs.len().saturating_sub(RUNS_KEPT);
        self.runs.drain(..excess);
    }

    /// A check has ended. `findings`: how much was wrong, where everything was read.
    pub fn finish(&mut self, run: &CheckRun, end: RunEnd, findings: Option<u64>) {
        let is_it = |known: &CheckRun| {
            known.end.is_none() && (known.started, known.part, known.of) == (run.started, run.part, run.of)
        };
        let Some(known) = self.runs.iter_mut().rev().find(|known| is_it(known)) else { return };
        (known.end, known.findings) = (Some(end.cut()), findings);
        let Some(findings) = findings else { return };
        let read = ShareState { read: Some(run.started), findings };
        if run.of == 1 {
            self.shares.fill(ShareState { findings: 0, ..read });
            self.shares.iter_mut().take(1).for_each(|first| *first = read);
        } else if run.of == self.count()
            && let Some(share) = self.shares.get_mut(usize::from(run.part.saturating_sub(1)))
        {
            *share = read;
        }
    }

    /// Whether a check has begun and nobody knows of its end.
    pub fn is_open(&self) -> bool {
        self.runs.iter().any(|run| run.end.is_none())
    }

    /// Nothing runs: what has no end was cut.
    pub fn settle(&mut self, detail: &str, now: Timestamp) {
        for run in self.runs.iter_mut().filter(|run| run.end.is_none()) {
            let duration_ms = u64::try_from(now.since(run.started).as_millis()).unwrap_or(u64::MAX);
            let (result, detail) = (BackupResult::Stopped, detail.to_owned());
            run.end = Some(RunEnd { time: now, result, snapshot: None, duration_ms, detail }.cut());
        }
    }
}

#[cfg(test)]
mod tests;
