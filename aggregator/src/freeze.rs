//! The fleet freeze: while it holds, every change is refused. Reads, heartbeats and renewals go on.
//!
//! Kept in the state store, so that a restart does not thaw the fleet; each change is one transaction with its audit
//! entry.

use std::sync::Arc;

use campanile_common::api::{AuditOutcome, Freeze};
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::audit::{self, Audit};
use crate::event::Events;
use crate::os::clock::Clock;
use crate::state::{
    Committed, Compare, Keys, Record, Revision, StateError, Store, Write, read_json, to_json,
};

/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// The freeze as it is stored; the record goes with the freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FreezeRecord {
    reason: String,
    by: String,
    since: Timestamp,
}

impl Record for FreezeRecord {}

/// Why the freeze cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// The request is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// Somebody else changed it at the same moment.
    #[error("somebody else froze or thawed the fleet at the same moment; look again")]
    Conflict,
    /// The store failed.
    #[error("the freeze cannot be stored")]
    State(#[from] StateError),
}

/// Handle of the freeze. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Freezer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    key: String,
    audit: Audit,
    events: Events,
    clock: Clock,
    state: watch::Sender<Option<Arc<FreezeRecord>>>,
    frozen: watch::Sender<bool>,
    /// Revision of the stored record; changes take turns here.
    revision: tokio::sync::Mutex<Option<Revision>>,
}

impl Freezer {
    /// Reads whether the fleet is frozen.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub async fn open(
        (store, keys): (Store, Keys),
        audit: Audit,
        events: Events,
        clock: Clock,
    ) -> Result<Self, StateError> {
        let key = keys.of("freeze", "fleet");
        let (record, revision) = read_json::<FreezeRecord>(&*store, &key).await?.unzip();
        if let Some(record) = &record {
            tracing::warn!(reason = record.reason, by = record.by, "the fleet is frozen");
        }
        let frozen = watch::Sender::new(record.is_some());
        let state = watch::Sender::new(record.map(Arc::new));
        let revision = tokio::sync::Mutex::new(revision);
        Ok(Self { shared: Arc::new(Shared { key, audit, events, clock, state, frozen, revision }) })
    }

    /// Whether the fleet is frozen, whenever it changes.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.shared.frozen.subscribe()
    }

    /// True while every change is refused.
    pub fn is_frozen(&self) -> bool {
        *self.shared.frozen.borrow()
    }

    /// Why, by whom and since when; none while it is not frozen.
    pub fn details(&self) -> Option<Freeze> {
        self.shared.state.borrow().as_deref().map(to_api)
    }

    /// As the API shows it.
    pub fn to_api(&self) -> Freeze {
        self.details().unwrap_or(Freeze { frozen: false, reason: None, by: None, since: None })
    }

    /// Freezes the fleet. One that is frozen stays as it is.
    ///
    /// # Errors
    /// When the reason is not acceptable or the store fails.
    pub async fn freeze(&self, actor: &str, reason: &str) -> Result<Freeze, FreezeError> {
        let reason = reason.trim();
        if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.contains(char::is_control) {
            return Err(FreezeError::Invalid(format!(
                "give a reason of 1 to {REASON_BYTES_MAX} bytes on one line: everybody who is refused reads it"
            )));
        }
        let mut revision = self.shared.revision.lock().await;
        if let Some(frozen) = self.details() {
            return Ok(frozen);
        }
        let since = self.shared.clock.now();
        let record = FreezeRecord { reason: reason.to_owned(), by: actor.to_owned(), since };
        let key = self.shared.key.clone();
        let write = Write::put(key.clone(), to_json(&record));
        let committed =
            self.commit(Compare::Absent(key), write, actor, "fleet.freeze", record.reason.clone()).await?;
        *revision = Some(committed);
        self.show(Some(record));
        Ok(self.to_api())
    }

    /// Thaws the fleet. One that is not frozen stays as it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn thaw(&self, actor: &str) -> Result<Freeze, FreezeError> {
        let mut revision = self.shared.revision.lock().await;
        let Some(stored) = *revision else { return Ok(self.to_api()) };
        let key = self.shared.key.clone();
        let detail = self.details().and_then(|freeze| freeze.reason).unwrap_or_default();
        let write = Write::Delete { key: key.clone() };
        self.commit(Compare::At(key, stored), write, actor, "fleet.thaw", format!("was: {detail}")).await?;
        *revision = None;
        self.show(None);
        Ok(self.to_api())
    }

    async fn commit(
        &self,
        compare: Compare,
        write: Write,
        actor: &str,
        action: &'static str,
        detail: String,
    ) -> Result<Revision, FreezeError> {
        let target = "fleet".to_owned();
        let record =
            audit::Record { actor: actor.to_owned(), action, target, outcome: AuditOutcome::Ok, detail };
        match self.shared.audit.commit(vec![compare], vec![write], record).await? {
            Committed::Done(revision) => Ok(revision),
            Committed::Conflict => Err(FreezeError::Conflict),
        }
    }

    fn show(&self, record: Option<FreezeRecord>) {
        self.shared.state.send_replace(record.map(Arc::new));
        let freeze = self.to_api();
        tracing::warn!(frozen = freeze.frozen, reason = freeze.reason, "the freeze changed");
        self.shared.frozen.send_replace(freeze.frozen);
        self.shared.events.publish("freeze.changed", None, &freeze);
    }
}

fn to_api(record: &FreezeRecord) -> Freeze {
    Freeze {
        frozen: true,
        reason: Some(record.reason.clone()),
        by: Some(record.by.clone()),
        since: Some(record.since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditQuery;
    use crate::state::SqliteStore;
    use campanile_common::id::FleetId;

    async fn opened(folder: &std::path::Path) -> (Freezer, Audit) {
        let store: Store = Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap());
        let keys = Keys::new(FleetId::from_bytes([9; 16]));
        let clock = Clock::from_fn(|| Timestamp::from_millis(1_800_000_000_000));
        let audit = Audit::open(Arc::clone(&store), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
        let freezer = Freezer::open((store, keys), audit.clone(), Events::default(), clock).await.unwrap();
        (freezer, audit)
    }

    #[tokio::test]
    async fn a_restart_does_not_thaw_the_fleet() {
        let folder = tempfile::tempdir().unwrap();
        let (freezer, _) = opened(folder.path()).await;
        assert!(!freezer.is_frozen());
        let frozen = freezer.freeze("person:ada", "disks are being moved").await.unwrap();
        assert_eq!(frozen.reason.as_deref(), Some("disks are being moved"));
        drop(freezer);
        let (freezer, audit) = opened(folder.path()).await;
        assert!(freezer.is_frozen());
        assert_eq!(freezer.to_api(), frozen);
        assert!(!freezer.thaw("person:bob").await.unwrap().frozen);
        drop(freezer);
        let (freezer, _) = opened(folder.path()).await;
        assert!(!freezer.is_frozen());
        let entries = audit.list(AuditQuery { limit: 10, ..AuditQuery::default() }).await.unwrap();
        let actions: Vec<_> =
            entries.iter().map(|e| (e.actor.as_str(), e.action.as_str(), e.detail.as_str())).collect();
        assert_eq!(
            actions,
            [
                ("person:ada", "fleet.freeze", "disks are being moved"),
                ("person:bob", "fleet.thaw", "was: disks are being moved"),
            ]
        );
    }

    #[tokio::test]
    async fn a_second_freeze_changes_nothing_and_listeners_hear_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let (freezer, audit) = opened(folder.path()).await;
        let mut watch = freezer.subscribe();
        freezer.freeze("person:ada", "one").await.unwrap();
        assert!(*watch.borrow_and_update());
        let again = freezer.freeze("person:bob", "two").await.unwrap();
        assert_eq!((again.reason.as_deref(), again.by.as_deref()), (Some("one"), Some("person:ada")));
        assert!(!watch.has_changed().unwrap());
        freezer.thaw("person:ada").await.unwrap();
        freezer.thaw("person:ada").await.unwrap();
        assert!(!*watch.borrow_and_update());
        let entries = audit.list(AuditQuery { limit: 10, ..AuditQuery::default() }).await.unwrap();
        assert_eq!(entries.len(), 2);
    }

    #[tokio::test]
    async fn a_freeze_without_a_reason_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (freezer, _) = opened(folder.path()).await;
        for reason in ["", "  ", "a\nb", &"x".repeat(REASON_BYTES_MAX + 1)] {
            assert!(matches!(freezer.freeze("person:ada", reason).await, Err(FreezeError::Invalid(_))));
        }
        assert!(!freezer.is_frozen());
    }
}
