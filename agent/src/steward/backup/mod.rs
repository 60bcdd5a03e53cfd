//! Starts backups by their policies' schedules, and what proves that they restore; remembers what ran.
//!
//! `plan` decides when; the run itself is the same program as an order's, beneath a guard like it. What ran is in a file
//! that the program writes too, so that neither a restart of the steward nor one of the machine forgets a run or repeats
//! it. Invariants: one scheduled run at a time, and none while another program of backups holds the node's lock; what has
//! no end on record while nobody holds that lock was cut.

mod known;
mod news;
mod plan;
mod policies;
mod program;
mod proof;
mod watcher;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use campanile_common::api::BackupResult;
use campanile_common::authority::ExecutionLimits;
use campanile_common::backup::{PolicyName, Schedule, Seat, When};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::proof::ProofReport;

use super::execute::{Guarded, Launcher};
use crate::backup::RUN_LOCK_FILE;
use crate::backup::ledger::Ledger;
use crate::backup::runs::{RunEnd, Runs};
use crate::os::stopwatch::Stopwatch;
use crate::os::{folder, proc_fs};
use plan::{Attention, Standing};
use policies::Entry;
use program::{Running, Untraced, Watcher};
use work::Work;

/// How often the files of policies are looked at, and whether what another started has ended.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// How often a run that waits for another looks whether that has ended.
const BUSY_INTERVAL: Duration = Duration::from_secs(5);
/// The same while runs leave no record, at most.
const BUSY_MAX: Duration = Duration::from_secs(300);
/// How soon the end of a guard is looked for once it has closed its socket.
const ENDING_INTERVAL: Duration = Duration::from_millis(10);
/// A clock that shows less than it did was set back.
const CLOCK_SLACK: Duration = Duration::from_secs(1);
/// Nobody looked for so long: the machine slept, or its clock was set.
const AWAY: Duration = Duration::from_secs(300);

/// What starting takes.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) launcher: &'a Launcher,
    /// The node policy's.
    pub(super) limits: &'a ExecutionLimits,
    /// Which node this is; none where it is not enrolled.
    pub(super) node: Option<NodeId>,
    /// Why nothing may run; empty when it may.
    pub(super) denied: String,
    pub(super) now: Timestamp,
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Where {
    /// Of backups, in the steward's state folder.
    pub(super) folder: PathBuf,
    /// Of their policies.
    pub(super) policies: PathBuf,
    /// `/proc`.
    pub(super) proc_root: PathBuf,
    /// Which settings file the program is to read.
    pub(super) settings: Vec<String>,
}

/// All policies of this node, and what runs for them.
#[derive(Debug)]
pub(super) struct Backups {
    places: Where,
    ledger: Ledger,
    /// As the ledger had it last.
    runs: Runs,
    entries: BTreeMap<PolicyName, Entry>,
    pub(super) running: Option<Running>,
    pub(super) watcher: Option<Watcher>,
    /// Since the last process that notices changes ended.
    unwatched: Option<Stopwatch>,
    /// Guards that nobody listens to any more, until they have ended.
    leaving: Vec<Guarded>,
    node: NodeId,
    awake: Timestamp,
    /// The time at the last look.
    seen: Timestamp,
    /// Since the files were looked at.
    looked: Option<Stopwatch>,
    /// Nothing is started for so long.
    held_off: Option<(Stopwatch, Duration)>,
    /// Runs in a row that left no record.
    untraced: u32,
    denied: String,
    /// No drill and no check begins before.
    proofs_held: Option<Timestamp>,
    /// What was told of them last.
    told: ProofReport,
    is_stopping: bool,
}

impl Backups {
    /// Starts nothing yet.
    pub(super) fn new(places: Where, now: Timestamp) -> Self {
        Self {
            ledger: Ledger::new(&places.folder),
            places,
            runs: Runs::default(),
            entries: BTreeMap::new(),
            running: None,
            watcher: None,
            unwatched: None,
            leaving: Vec::new(),
            node: NodeId::from_bytes([0; 8]),
            awake: now,
            seen: now,
            looked: None,
            held_off: None,
            untraced: 0,
            denied: String::new(),
            proofs_held: None,
            told: ProofReport::default(),
            is_stopping: false,
        }
    }

    /// The policies may be others now: they are looked at in the next turn.
    pub(super) fn look_soon(&mut self) {
        self.looked = None;
    }

    /// How long there is nothing to do.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        let ending = self.guards().any(Guarded::is_ending).then_some(ENDING_INTERVAL);
        if self.is_stopping {
            return ending;
        }
        if now + CLOCK_SLACK < self.seen {
            return Some(Duration::ZERO);
        }
        let look =
            self.looked.map_or(Duration::ZERO, |looked| LOOK_INTERVAL.saturating_sub(looked.elapsed()));
        let start = [self.next(now).map(|(time, ..)| time), self.next_proof(now).map(|(time, ..)| time)];
        let start = start.into_iter().flatten().min();
        let start = start.filter(|_| self.running.is_none() && self.denied.is_empty());
        let start = start.map(|time| time.since(now).max(self.off()));
        [ending, Some(look), start].into_iter().flatten().min()
    }

    /// Whether there is something to do.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.left(now).is_some_and(|left| left <= ENDING_INTERVAL)
    }

    /// How long nothing is started.
    fn off(&self) -> Duration {
        self.held_off.map_or(Duration::ZERO, |(watch, length)| length.saturating_sub(watch.elapsed()))
    }

    fn hold_off(&mut self, length: Duration) {
        self.held_off = Some((Stopwatch::start(), length));
    }

    /// Guards at work, and those that end.
    pub(super) fn guards(&self) -> impl Iterator<Item = &Guarded> {
        let running = self.running.as_ref().map(|running| &running.guarded);
        let watcher = self.watcher.as_ref().map(|watcher| &watcher.guarded);
        running.into_iter().chain(watcher).chain(&self.leaving)
    }

    /// Does what is to be done now. A run that failed is returned, for the audit chain.
    pub(super) fn tend(&mut self, around: &Surroundings<'_>) -> Option<(PolicyName, String)> {
        let now = around.now;
        self.node = around.node.unwrap_or(self.node);
        self.leaving.retain_mut(|guarded| !guarded.is_over());
        self.mind_clock(now);
        let failed = self.end_running(now);
        self.end_watcher();
        if self.is_stopping {
            return failed;
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL) || self.denied != around.denied
        {
            self.look(around);
        }
        self.tend_watcher(around);
        self.start_due(around);
        failed
    }

    /// What was told of drills and checks last; nothing where there are none.
    pub(super) fn told(&self) -> Option<&ProofReport> {
        Some(&self.told).filter(|told| !told.is_empty())
    }

    /// The same, where it is another than before.
    pub(super) fn news(&mut self, now: Timestamp) -> Option<&ProofReport> {
        let report = news::report(&self.runs, now);
        if report == self.told {
            return None;
        }
        self.told = report;
        Some(&self.told)
    }

    /// Nothing new begins. What runs goes on where it has a unit of its own, and is stopped otherwise.
    pub(super) fn stop(&mut self, has_units: bool) {
        self.is_stopping = true;
        self.leave_watcher();
        match &self.running {
            Some(running) if !has_units => running.guarded.stop(),
            _ => self.running = None,
        }
    }

    /// Which policy runs next, when, and whether that is for changes alone.
    fn next(&self, now: Timestamp) -> Option<(Timestamp, PolicyName, bool)> {
        let next = |(name, entry): (&PolicyName, &Entry)| {
            let (schedule, history) = (entry.schedule.as_ref().ok()?, self.runs.policies.get(name)?);
            let by_change = plan::by_change(schedule, history, entry.attention, now);
            let by_clock = entry.due.map(|due| entry.held.map_or(due, |held| due.max(held)));
            let first = [by_clock, by_change].into_iter().flatten().min()?;
            Some((first, name.clone(), by_clock.is_none_or(|due| due > now)))
        };
        self.entries.iter().filter_map(next).min_by_key(|(time, ..)| *time)
    }

    fn start_due(&mut self, around: &Surroundings<'_>) {
        let now = around.now;
        if self.running.is_some() || !self.denied.is_empty() || !self.off().is_zero() {
            return;
        }
        let Some((_, policy, only_changes)) = self.next(now).filter(|(time, ..)| *time <= now) else {
            return self.start_proof(around);
        };
        if !self.is_free(now) {
            return self.hold_off(BUSY_INTERVAL);
        }
        // An order may have run it meanwhile.
        match self.next(now) {
            Some((time, next, only)) if time <= now && (&next, only) == (&policy, only_changes) => {}
            _ => return,
        }
        let seat = self.seat(&policy, now);
        let pressure = self.pressure();
        let Some(entry) = self.entries.get_mut(&policy) else { return };
        let Ok(schedule) = entry.schedule else { return };
        if let Some(standing) = waits(&schedule, &seat, entry.due, pressure, now) {
            entry.held = Some(standing.until);
            return self.tell_waits(&policy, &standing.reason);
        }
        entry.held = None;
        if let Attention::Watched { touched } = &mut entry.attention {
            *touched = None;
        }
        self.start(around, policy, Work::Save { only_changes });
    }

    /// Puts on record why a run that is due does not begin.
    fn tell_waits(&mut self, policy: &PolicyName, reason: &str) {
        let told = self.runs.policies.get(policy).is_none_or(|history| history.waits.is_empty());
        if told && !reason.is_empty() {
            tracing::info!(%policy, reason, "a backup that is due waits");
            self.record(|runs| {
                if let Some(history) = runs.policies.get_mut(policy) {
                    history.waits = reason.to_owned();
                }
            });
        }
    }

    /// Whether no other program of backups is at work. What it did is known then.
    fn is_free(&mut self, now: Timestamp) -> bool {
        let Ok(Some(held)) = folder::try_lock(&self.places.folder.join(RUN_LOCK_FILE)) else { return false };
        drop(held);
        match self.ledger.read() {
            Ok(runs) if runs != self.runs => {
                self.runs = runs;
                let is_settled = self.settle(None, now);
                self.plan(now);
                is_settled
            }
            // What cannot be read is set aside by the next that writes.
            _ => true,
        }
    }

    fn start(&mut self, around: &Surroundings<'_>, policy: PolicyName, work: Work) {
        let before = work.trace(&self.runs, &policy);
        let settings = self.places.settings.clone();
        match Running::start(around.launcher, around.limits, policy.clone(), work.clone(), settings, before) {
            Ok(running) => {
                tracing::debug!(%policy, work = work.as_str(), "backup started");
                self.running = Some(running);
            }
            Err(error) => {
                let detail = format!("its guard cannot be started: {error}");
                self.record_failure(&policy, &work, detail, around.now);
                self.plan(around.now);
            }
        }
    }

    fn record_failure(&mut self, policy: &PolicyName, work: &Work, detail: String, now: Timestamp) {
        let result = BackupResult::Failed;
        let end = RunEnd { time: now, result, snapshot: None, duration_ms: 0, detail };
        self.record(|runs| work.record_failure(runs, policy, end.clone(), now));
    }

    /// Takes leave of a run that has ended. How it failed, if it did.
    fn end_running(&mut self, now: Timestamp) -> Option<(PolicyName, String)> {
        let running = self.running.take_if(|running| running.guarded.is_over())?;
        let (policy, work) = (running.policy.clone(), running.work.clone());
        if let Ok(runs) = self.ledger.read() {
            self.runs = runs;
        }
        let last = |runs: &Runs| work.trace(runs, &policy);
        if last(&self.runs) == running.before {
            self.untraced += 1;
            let pause = BUSY_INTERVAL.saturating_mul(1 << self.untraced.min(6)).min(BUSY_MAX);
            match running.untraced() {
                Untraced::Refused => self.hold_off(pause),
                Untraced::Done => self.hold_off(BUSY_MAX),
                Untraced::Failed(how) => self.record_failure(&policy, &work, how, now),
            }
        } else {
            self.untraced = 0;
            self.settle(Some(&running.cause()), now);
        }
        self.plan(now);
        let end = last(&self.runs).filter(|trace| Some(trace) != running.before.as_ref())?.into_end()?;
        let work = work.as_str();
        match end.result {
            BackupResult::Ok | BackupResult::Partial => {
                let (result, took_ms) = (end.result.as_str(), end.duration_ms);
                tracing::debug!(%policy, work, result, took_ms, "backup ended");
                None
            }
            BackupResult::Failed | BackupResult::Stopped => {
                tracing::warn!(%policy, work, reason = end.detail, "a backup failed; it is tried again");
                Some((policy, format!("{work}: {}", end.detail)))
            }
        }
    }

    /// Of processors and of disks.
    fn pressure(&self) -> [Option<f64>; 2] {
        let read = |what: &str| {
            let path = self.places.proc_root.join("pressure").join(what);
            proc_fs::read_attribute(&path).ok().and_then(|text| plan::pressure(&text))
        };
        [read("cpu"), read("io")]
    }
}

/// What a run waits for that would begin now: its window, or a machine that is under pressure.
fn waits(
    schedule: &Schedule,
    seat: &Seat,
    due: Option<Timestamp>,
    pressure: [Option<f64>; 2],
    now: Timestamp,
) -> Option<Standing> {
    let opens = schedule.in_window(now, seat);
    if opens > now {
        return Some(Standing { until: opens, reason: String::new() });
    }
    let is_patient = schedule.when != When::Continuous;
    plan::stands_back(schedule, due.filter(|_| is_patient)?, now, pressure)
}

#[cfg(test)]
mod tests;
