//! Makes backups on the schedule, and knows how old the newest is.
//!
//! The folder is the memory: when the next is due follows from the newest file in it, so one that was missed while the
//! aggregator was down, or made by hand, counts as it should.

use std::io;
use std::time::Duration;

use campanile_common::api::AuditOutcome;
use campanile_common::fleet::FleetFile;
use campanile_common::time::Timestamp;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::save::{self, SaveError, Saved, Sources, Target};
use super::{SelfBackupSettings, due};
use crate::audit::{Audit, Record};
use crate::event::Events;
use crate::os::clock::Clock;

/// How often the folder is looked at: others put files there too, and clocks are set.
const LOOK_STEP: Duration = Duration::from_secs(60);
/// After a failure it is tried again, whatever the schedule says.
const RETRY: Duration = Duration::from_secs(15 * 60);

/// What is told of the backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Backups are made.
    pub is_on: bool,
    /// When the newest was made, and its length.
    pub latest: Option<(Timestamp, u64)>,
    /// Attempts that failed since the aggregator started.
    pub failures: u64,
}

/// Makes the backups.
#[derive(Debug)]
pub struct SelfBackupTask {
    settings: Option<SelfBackupSettings>,
    sources: Sources,
    fleet: FleetFile,
    clock: Clock,
    audit: Audit,
    events: Events,
    figures: watch::Sender<Figures>,
}

impl SelfBackupTask {
    /// A task that has not begun, and where it tells its figures.
    pub fn new(
        settings: Option<SelfBackupSettings>,
        sources: Sources,
        fleet: FleetFile,
        clock: Clock,
        (audit, events): (Audit, Events),
    ) -> (Self, watch::Receiver<Figures>) {
        let is_on = settings.is_some();
        let (figures, receiver) = watch::channel(Figures { is_on, ..Figures::default() });
        (Self { settings, sources, fleet, clock, audit, events, figures }, receiver)
    }

    /// Works until cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let Some(settings) = self.settings.clone() else {
            tracing::warn!("self-backup is off: set `recipients` and `dir` in [self_backup]");
            return stop.cancelled().await;
        };
        let mut not_before = Timestamp::from_millis(0);
        while !stop.is_cancelled() {
            let latest = self.look(&settings).await;
            let now = self.clock.now();
            if now >= not_before && is_due(&settings, latest, now) && !self.make(&settings, &stop).await {
                not_before = now + RETRY;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK_STEP) => {}
            }
        }
    }

    /// Looks at the folder; gives when the newest backup in it was made.
    async fn look(&self, settings: &SelfBackupSettings) -> Option<Timestamp> {
        let (dir, fleet) = (settings.dir.clone(), self.fleet.fleet_id);
        let found = match tokio::task::spawn_blocking(move || save::latest(&dir, fleet)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(error = describe(&error), "the folder of self-backups cannot be read");
                self.figures.borrow().latest
            }
            Err(error) => {
                tracing::error!(%error, "the folder of self-backups was not read");
                self.figures.borrow().latest
            }
        };
        self.figures.send_modify(|figures| figures.latest = found);
        found.map(|(at, _)| at)
    }

    /// Makes one; true when it is there.
    async fn make(&self, settings: &SelfBackupSettings, stop: &CancellationToken) -> bool {
        let record = begun("aggregator", &settings.dir.display().to_string());
        if let Err(error) = self.audit.record(record).await {
            tracing::error!(%error, "no self-backup without an audit entry");
            self.failed(&error.to_string());
            return false;
        }
        let (sources, fleet, now) = (self.sources.clone(), self.fleet.clone(), self.clock.now());
        let (settings, stop) = (settings.clone(), stop.clone());
        let work = move || {
            let target = Target::Folder(settings.dir, Some(settings.keep));
            let proceed = || {
                if stop.is_cancelled() { Err(io::Error::other("the aggregator stops")) } else { Ok(()) }
            };
            save::save(&sources, &fleet, &settings.recipients, &target, now, &proceed)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(saved)) => {
                self.made(&saved);
                true
            }
            Ok(Err(error)) => {
                self.failed(&describe(&error));
                false
            }
            Err(error) => {
                self.failed(&error.to_string());
                false
            }
        }
    }

    fn made(&self, saved: &Saved) {
        self.figures.send_modify(|figures| figures.latest = Some((saved.at, saved.bytes)));
        let (path, bytes) = (saved.path.display().to_string(), saved.bytes);
        tracing::info!(path, bytes, files = saved.files, "self-backup made");
        let body = json!({ "path": path, "bytes": bytes, "time": saved.at });
        self.events.publish("self-backup.finished", None, &body);
    }

    fn failed(&self, reason: &str) {
        self.figures.send_modify(|figures| figures.failures += 1);
        tracing::error!(reason, "self-backup failed: older ones are untouched, it is tried again");
        self.events.publish("self-backup.failed", None, &json!({ "reason": reason }));
    }
}

/// The audit entry of a backup that begins: it is in the backup, so that a restored log tells of it.
pub fn begun(actor: &str, target: &str) -> Record {
    Record {
        actor: actor.to_owned(),
        action: "self-backup.make",
        target: target.to_owned(),
        outcome: AuditOutcome::Ok,
        detail: String::new(),
    }
}

/// The error with its causes, on one line.
fn describe(error: &SaveError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Whether one is due. A newest one of the future was made before the clock was set back: it counts as made now.
fn is_due(settings: &SelfBackupSettings, latest: Option<Timestamp>, now: Timestamp) -> bool {
    latest.is_none_or(|latest| due::next(&settings.schedule, latest.min(now)).is_some_and(|due| due <= now))
}

#[cfg(test)]
mod tests {
    use campanile_common::recurrence::Recurrence;

    use super::*;

    fn due(latest: Option<&str>, now: &str) -> bool {
        let settings = SelfBackupSettings {
            recipients: Vec::new(),
            dir: "unused".into(),
            schedule: Recurrence::parse("0 3 * * *").unwrap(),
            keep: 7,
        };
        is_due(&settings, latest.map(|text| text.parse().unwrap()), now.parse().unwrap())
    }

    #[test]
    fn the_first_is_due_at_once_and_the_next_when_the_schedule_says() {
        assert!(due(None, "2026-05-03T10:00:00.000Z"));
        assert!(!due(Some("2026-05-03T03:00:00.000Z"), "2026-05-04T02:59:59.000Z"));
        assert!(due(Some("2026-05-03T03:00:00.000Z"), "2026-05-04T03:00:00.000Z"));
    }

    #[test]
    fn one_that_was_missed_is_made_up_for() {
        assert!(due(Some("2026-05-01T03:00:01.000Z"), "2026-05-04T12:00:00.000Z"));
    }

    #[test]
    fn a_newest_one_of_the_future_does_not_make_another_due_each_minute() {
        assert!(!due(Some("2030-01-01T00:00:00.000Z"), "2026-05-04T12:00:00.000Z"));
    }
}
