//! When drills and checks begin: by their own schedules, in the window of the policy, and never before a save that is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campanile_common::backup::{PolicyName, Schedule, Seat};
use campanile_common::time::Timestamp;

use super::policies::Entry;
use super::work::Work;
use super::{BUSY_INTERVAL, Backups, Surroundings, plan};
use crate::backup::rounds::Rounds;
use crate::backup::runs::History;

/// What was missed while a node was away is spread over so long.
const CATCH_UP_SPLAY: Duration = Duration::from_secs(900);

/// When a drill begins next. One that came to a verdict, whichever, waits for its next time; what could not be tried, or
/// was cut, is tried again before. The first waits for its time as well: there is nothing to restore when a policy is new.
pub(super) fn drill_due(
    drill: &Schedule,
    history: &History,
    awake: Timestamp,
    seat: &Seat,
    now: Timestamp,
) -> Option<Timestamp> {
    let last = history.last().map_or(history.since, |run| run.started);
    let mut due = drill.next_due(last.min(now), seat)?;
    if due < awake {
        due = awake + seat.share_of(CATCH_UP_SPLAY);
    }
    let has_verdict = history.last_end().is_some_and(|end| end.snapshot.is_some());
    let retry = history.retry(now).filter(|_| !has_verdict);
    Some(retry.map_or(due, |retry| retry.min(due)))
}

/// When the next share of a repository is read, in the window of the policy that it is read for.
pub(super) fn check_due(rounds: &Rounds, schedule: &Schedule, seat: &Seat, now: Timestamp) -> Timestamp {
    let cycle = Duration::from_secs(rounds.cycle_s);
    schedule.in_window(rounds.due(now, seat.share_of(cycle)), seat)
}

impl Backups {
    /// Policies that are drilled by schedule, and within which time each repository is to be read.
    pub(super) fn proofs(&self) -> (BTreeSet<PolicyName>, BTreeMap<String, Duration>) {
        let (mut drilled, mut cycles) = (BTreeSet::new(), BTreeMap::<String, Duration>::new());
        for (name, entry) in &self.entries {
            let Some(proof) = &entry.proof else { continue };
            if proof.drill.is_some() {
                drilled.insert(name.clone());
            }
            // Policies that share a repository share its checks: the shortest cycle counts.
            let cycle = cycles.entry(proof.target.clone()).or_insert(proof.check_cycle);
            *cycle = (*cycle).min(proof.check_cycle);
        }
        (drilled, cycles)
    }

    /// The policies that save to a repository.
    fn savers(&self, target: &str) -> impl Iterator<Item = (&PolicyName, &Entry)> {
        let is_of = move |entry: &Entry| entry.proof.as_ref().is_some_and(|proof| proof.target == target);
        self.entries.iter().filter(move |(_, entry)| is_of(entry))
    }

    /// The one for which it is read: the first of them.
    fn reader(&self, target: &str) -> Option<(&PolicyName, &Entry)> {
        self.savers(target).next()
    }

    /// Whether there is something to read: before anything was saved there is no repository.
    fn is_begun(&self, target: &str, rounds: &Rounds) -> bool {
        rounds.shares.iter().any(|share| share.read.is_some())
            || self.savers(target).any(|(name, _)| self.has_saved(name))
    }

    fn has_saved(&self, policy: &PolicyName) -> bool {
        self.runs.policies.get(policy).is_some_and(History::has_snapshot)
    }

    /// Plans drills and checks, and records what is planned where that changed.
    pub(super) fn plan_proofs(&mut self, now: Timestamp) {
        // What is at work finds its own entry by its time.
        if self.running.is_none() && self.runs.clone().pull_back(now) {
            self.record(|runs| {
                runs.pull_back(now);
            });
        }
        let drills: BTreeMap<PolicyName, Option<Timestamp>> = self
            .runs
            .drills
            .iter()
            .map(|(name, history)| {
                let drill = self.entries.get(name).and_then(|entry| entry.proof.as_ref()?.drill);
                let seat = self.seat(name, now);
                // Before anything was saved there is nothing to restore.
                let drill = drill.filter(|_| self.has_saved(name) || !history.runs.is_empty());
                let due = drill.and_then(|drill| drill_due(&drill, history, self.awake, &seat, now));
                (name.clone(), due)
            })
            .collect();
        let checks: BTreeMap<String, Option<Timestamp>> = self
            .runs
            .checks
            .iter()
            .map(|(target, rounds)| {
                let reader = self.reader(target).filter(|_| self.is_begun(target, rounds));
                let due = reader.and_then(|(name, entry)| {
                    let schedule = entry.schedule.as_ref().ok()?;
                    Some(check_due(rounds, schedule, &self.seat(name, now), now))
                });
                (target.clone(), due)
            })
            .collect();
        let is_told = drills
            .iter()
            .all(|(name, due)| self.runs.drills.get(name).is_some_and(|known| known.next == *due))
            && checks
                .iter()
                .all(|(target, due)| self.runs.checks.get(target).is_some_and(|known| known.next == *due));
        if is_told {
            return;
        }
        self.record(|runs| {
            for (name, history) in &mut runs.drills {
                history.next = drills.get(name).copied().flatten();
            }
            for (target, rounds) in &mut runs.checks {
                rounds.next = checks.get(target).copied().flatten();
            }
        });
    }

    /// What is to be proven next, when, and since when it is due.
    pub(super) fn next_proof(&self, now: Timestamp) -> Option<(Timestamp, PolicyName, Work)> {
        let drills = self.runs.drills.iter().filter_map(|(name, history)| {
            let begins = self.begins(history.next?, name, now)?;
            Some((begins, name.clone(), Work::Drill))
        });
        let checks = self.runs.checks.iter().filter_map(|(target, rounds)| {
            let (name, _) = self.reader(target)?;
            let begins = self.begins(rounds.next?, name, now)?;
            let (part, of) = (rounds.next_share(), rounds.count());
            Some((begins, name.clone(), Work::Check { target: target.clone(), part, of }))
        });
        drills.chain(checks).min_by_key(|(time, ..)| *time)
    }

    /// When something begins that is due then: one whose time has come waits for the window of its policy, and for a
    /// machine under pressure.
    fn begins(&self, due: Timestamp, policy: &PolicyName, now: Timestamp) -> Option<Timestamp> {
        let schedule = self.entries.get(policy)?.schedule.as_ref().ok()?;
        let due = self.proofs_held.map_or(due, |held| due.max(held));
        Some(if due <= now { schedule.in_window(now, &self.seat(policy, now)).max(due) } else { due })
    }

    /// Since when it is due, however long it has waited.
    fn due_since(&self, policy: &PolicyName, work: &Work) -> Option<Timestamp> {
        match work {
            Work::Save { .. } => self.entries.get(policy)?.due,
            Work::Drill => self.runs.drills.get(policy)?.next,
            Work::Check { target, .. } => self.runs.checks.get(target)?.next,
        }
    }

    /// Starts a drill or a check that is due.
    pub(super) fn start_proof(&mut self, around: &Surroundings<'_>) {
        let now = around.now;
        let due = |backups: &Self| backups.next_proof(now).filter(|(time, ..)| *time <= now);
        let Some(next) = due(self) else { return };
        if !self.is_free(now) {
            return self.hold_off(BUSY_INTERVAL);
        }
        // An order may have done it meanwhile, or made a save due.
        if due(self).is_none_or(|(_, policy, work)| (policy, work) != (next.1.clone(), next.2.clone())) {
            return;
        }
        let since = self.due_since(&next.1, &next.2).unwrap_or(now);
        let schedule = self.entries.get(&next.1).and_then(|entry| entry.schedule.as_ref().ok());
        let stands = schedule.and_then(|schedule| plan::stands_back(schedule, since, now, self.pressure()));
        if let Some(stands) = stands {
            self.proofs_held = Some(stands.until);
            return;
        }
        self.proofs_held = None;
        let (_, policy, work) = next;
        self.start(around, policy, work);
    }
}

#[cfg(test)]
mod tests;
