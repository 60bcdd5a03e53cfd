//! Looks after the process that notices changes: it is there while a policy follows them, and not otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::backup::PolicyName;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::OutputStream;

use super::plan::Attention;
use super::program::Watcher;
use super::{Backups, Surroundings};
use crate::backup::watch::Noticed;
use crate::os::file::Stamp;
use crate::os::stopwatch::Stopwatch;

/// How long after its end it is started again, and how long it may take to find all folders: meanwhile files are looked
/// at regularly.
const REST: Duration = Duration::from_secs(60);

impl Backups {
    /// Starts it, ends it, or has it watch other policies.
    pub(super) fn tend_watcher(&mut self, around: &Surroundings<'_>) {
        let followed = self.entries.iter().filter(|(_, entry)| entry.is_continuous());
        let wanted: BTreeMap<PolicyName, Stamp> = followed
            .map(|(name, entry)| (name.clone(), entry.stamp))
            .filter(|_| self.denied.is_empty())
            .collect();
        if let Some(watcher) = &self.watcher {
            if watcher.policies == wanted {
                if watcher.started.elapsed() >= REST {
                    self.attend(|attention| *attention == Attention::Off, Attention::Blind);
                }
                return;
            }
            self.leave_watcher();
        }
        self.attend(|_| true, Attention::Off);
        if wanted.is_empty() {
            return;
        }
        if self.unwatched.is_some_and(|watch| watch.elapsed() < REST) {
            return self.attend(|_| true, Attention::Blind);
        }
        match Watcher::start(around.launcher, wanted, self.places.settings.clone()) {
            Ok(watcher) => (self.watcher, self.unwatched) = (Some(watcher), None),
            Err(error) => {
                tracing::error!(%error, "changes are not noticed");
                self.unwatched = Some(Stopwatch::start());
                self.attend(|_| true, Attention::Blind);
            }
        }
    }

    /// Ends it.
    pub(super) fn leave_watcher(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            watcher.guarded.abandon();
            self.leaving.push(watcher.guarded);
        }
    }

    /// Takes leave of it when it has ended by itself.
    pub(super) fn end_watcher(&mut self) {
        if self.watcher.take_if(|watcher| watcher.guarded.is_over()).is_some() {
            tracing::warn!("what notices changes has ended; it is started again in a minute");
            self.unwatched = Some(Stopwatch::start());
        }
    }

    /// Hears what it noticed.
    pub(in crate::steward) fn hear(&mut self, stream: OutputStream, reads: usize, now: Timestamp) {
        let noticed = self.watcher.as_mut().map(|watcher| watcher.read(stream, reads)).unwrap_or_default();
        for noticed in noticed {
            let (policy, attention) = match noticed {
                // What changed before is not known.
                Noticed::Watching { policy, folders } => {
                    tracing::info!(%policy, folders, "changes are noticed");
                    (policy, Attention::Watched { touched: Some((now, now)) })
                }
                Noticed::Blind { policy, why } => {
                    tracing::warn!(%policy, why, "changes are not noticed: files are looked at each minute");
                    (policy, Attention::Blind)
                }
                Noticed::Changed { policy } => {
                    let known = self.entries.get(&policy).map(|entry| entry.attention);
                    let first = match known {
                        Some(Attention::Watched { touched: Some((first, _)) }) => first,
                        _ => now,
                    };
                    (policy, Attention::Watched { touched: Some((first, now)) })
                }
            };
            if let Some(entry) = self.entries.get_mut(&policy) {
                entry.attention = attention;
            }
        }
    }

    /// Pays attention otherwise to policies that follow changes and are attended to so.
    fn attend(&mut self, is_meant: impl Fn(&Attention) -> bool, attention: Attention) {
        for entry in self.entries.values_mut() {
            if entry.is_continuous() && is_meant(&entry.attention) {
                entry.attention = attention;
            }
        }
    }
}
