//! What is known of policies and of their runs, and what is planned from it.

use std::collections::{BTreeMap, BTreeSet};

use campanile_common::backup::{PolicyName, Seat, UtcOffset};
use campanile_common::time::Timestamp;

use super::plan::{self, Attention, Facts};
use super::policies::{self, Entry};
use super::{AWAY, Backups, CLOCK_SLACK, Surroundings};
use crate::backup::RUN_LOCK_FILE;
use crate::backup::runs::Runs;
use crate::os::stopwatch::Stopwatch;
use crate::os::{folder, zone};

impl Backups {
    pub(super) fn mind_clock(&mut self, now: Timestamp) {
        let is_set_back = now + CLOCK_SLACK < self.seen;
        let was_away = now.since(self.seen) > AWAY;
        self.seen = now;
        if was_away {
            self.awake = now;
        }
        if is_set_back {
            self.awake = self.awake.min(now);
            self.proofs_held = None;
            for entry in self.entries.values_mut() {
                entry.held = None;
                if let Attention::Watched { touched: Some(touched) } = &mut entry.attention {
                    *touched = (now, now);
                }
            }
        }
        if is_set_back || was_away {
            self.entries.values_mut().for_each(|entry| entry.planned = None);
            self.plan(now);
        }
    }

    pub(super) fn look(&mut self, around: &Surroundings<'_>) {
        let now = around.now;
        self.looked = Some(Stopwatch::start());
        if self.denied != around.denied {
            self.denied.clone_from(&around.denied);
            tracing::info!(reason = self.denied, "backups by schedule: what is allowed has changed");
        }
        if let Err(error) = policies::look(&self.places.policies, &mut self.entries) {
            tracing::error!(folder = %self.places.policies.display(), %error, "policies of backups cannot be read");
            return;
        }
        if self.entries.is_empty() && self.runs.policies.is_empty() {
            return;
        }
        let present: BTreeSet<PolicyName> = self.entries.keys().cloned().collect();
        let problems: BTreeMap<PolicyName, String> = self
            .entries
            .iter()
            .map(|(name, entry)| (name.clone(), entry.schedule.as_ref().err().cloned().unwrap_or_default()))
            .collect();
        let denied = self.denied.clone();
        let (drilled, cycles) = self.proofs();
        self.record(move |runs| {
            runs.keep(&present, now);
            runs.keep_drills(&present, &drilled, now);
            runs.keep_checks(&cycles, now);
            runs.denied.clone_from(&denied);
            for (name, history) in &mut runs.policies {
                history.problem = problems.get(name).cloned().unwrap_or_default();
            }
        });
        if self.running.is_none() {
            self.settle(None, now);
        }
        self.plan(now);
    }

    /// Records a change, or knows it at least.
    pub(super) fn record(&mut self, change: impl Fn(&mut Runs)) {
        match self.ledger.update(&change) {
            Ok(runs) => self.runs = runs,
            Err(error) => {
                tracing::error!(%error, "a restart of the steward may repeat a backup");
                change(&mut self.runs);
            }
        }
    }

    /// Ends on record what was cut, unless another program is at work: false then.
    pub(super) fn settle(&mut self, detail: Option<&str>, now: Timestamp) -> bool {
        if !self.runs.is_open() {
            return true;
        }
        // Held meanwhile: a run that begins now is none that was cut.
        let Ok(Some(_held)) = folder::try_lock(&self.places.folder.join(RUN_LOCK_FILE)) else { return false };
        self.record(|runs| runs.settle(detail, now));
        true
    }

    pub(super) fn seat(&self, policy: &PolicyName, now: Timestamp) -> Seat {
        Seat::new(self.node, policy, UtcOffset::from_seconds(zone::ahead_of_utc_s(now)))
    }

    /// Plans when each policy runs by the clock, where that is not planned yet. What stands is not planned again while
    /// time goes by: a run whose time has come must not be put off by whoever looks at that moment.
    pub(super) fn plan(&mut self, now: Timestamp) {
        let mut entries = std::mem::take(&mut self.entries);
        for (name, entry) in &mut entries {
            let Some(history) = self.runs.policies.get(name) else { continue };
            if entry.planned.as_ref() == Some(&history.runs) {
                continue;
            }
            let (seat, awake) = (self.seat(name, now), self.awake);
            let facts = |schedule| Facts { schedule, history, awake, seat: &seat };
            let due = entry.schedule.as_ref().ok().and_then(|schedule| plan::by_clock(&facts(schedule), now));
            (entry.due, entry.planned) = (due, Some(history.runs.clone()));
        }
        let is_told = |(name, entry): (&PolicyName, &Entry)| {
            self.runs.policies.get(name).is_none_or(|history| history.next == entry.due)
        };
        if !entries.iter().all(is_told) {
            self.record(|runs| {
                for (name, history) in &mut runs.policies {
                    history.next = entries.get(name).and_then(|entry| entry.due);
                }
            });
        }
        self.entries = entries;
        self.plan_proofs(now);
    }
}
