//! The handle of the store: finds a node's vault, calls it where blocking is allowed, and tells others what happened.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use campanile_common::api::{AuditOutcome, SecondPlace};
use campanile_common::backup::StoredKind;
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::store::{Decided, StoreFailure};
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use super::floor::ledger::Floor;
use super::ledger::Ledger;
use super::note::{Note, action, event, reasons_text};
use super::policies::PolicyBook;
use super::record::{Settlement, Suspicion};
use super::status::{Last, Troubles};
use super::vault::{LoadError, Vault};
use super::{BackupSettings, Failure, Proposal};
use crate::audit::{Audit, Record};
use crate::event::Events;
use crate::os::clock::Clock;
use crate::os::folder;
use crate::state::{Keys, StateError, Store};

/// Objects that come in at once, from all nodes: each holds a buffer of 256 KiB. Further ones wait on their streams.
const INTAKES_MAX: usize = 32;

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder.
    #[error("cannot use backup folder {path}")]
    Folder {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is remembered of policies.
    #[error("what is remembered of backup policies cannot be read")]
    State(#[from] StateError),
}

/// Handle of the backup store.
#[derive(Debug, Clone)]
pub struct BackupStore {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: BackupSettings,
    pub(super) clock: Clock,
    pub(super) places: Arc<Semaphore>,
    pub(super) events: Events,
    pub(super) audit: Audit,
    pub(super) floor: Floor,
    pub(super) replica_states: Mutex<BTreeMap<NodeId, SecondPlace>>,
    vaults: Mutex<BTreeMap<NodeId, Slot>>,
    pub(super) book: PolicyBook,
    pub(super) ledger: Ledger,
    pub(super) last: Mutex<BTreeMap<NodeId, Last>>,
    pub(super) troubles: watch::Sender<Troubles>,
}

/// A node's vault, or why it cannot be used.
#[derive(Debug, Clone)]
enum Slot {
    Open(Arc<Vault>),
    Broken(String),
}

/// Runs what blocks on the pool for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "backup store failed");
            Err(Failure::new(StoreFailure::Unavailable, "the store failed".to_owned()))
        }
    }
}

impl BackupStore {
    /// Opens the folder and every node's part in it. One that is damaged is named and refused; the others serve.
    ///
    /// # Errors
    /// When the folder itself cannot be used, or the state store fails.
    pub async fn open(
        settings: BackupSettings,
        stored: (Store, Keys),
        clock: Clock,
        events: Events,
        audit: Audit,
    ) -> Result<Self, OpenError> {
        let dir = settings.dir.clone();
        let error = |source| OpenError::Folder { path: dir.clone(), source };
        let path = settings.dir.clone();
        let names = tokio::task::spawn_blocking(move || folder::open_private(&path)).await;
        let names = names.map_err(io::Error::other).and_then(|names| names).map_err(error)?;
        let places = Arc::new(Semaphore::new(INTAKES_MAX));
        let floor_days = settings.retention.floor_days;
        let floor = Floor::open((&stored.0, &stored.1), floor_days, clock.now()).await?;
        let shared = Shared {
            settings,
            clock,
            places,
            events,
            audit,
            floor,
            replica_states: Mutex::default(),
            vaults: Mutex::default(),
            book: PolicyBook::default(),
            ledger: Ledger::open(stored).await?,
            last: Mutex::default(),
            troubles: watch::Sender::default(),
        };
        let store = Self { shared: Arc::new(shared) };
        for node in names.iter().filter_map(|name| name.parse::<NodeId>().ok()) {
            // Told in the log, and to whoever asks for the node.
            drop(store.vault(node).await);
        }
        Ok(store)
    }

    /// A node's vault; made when the node stores for the first time.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn vault(&self, node: NodeId) -> Result<Arc<Vault>, Failure> {
        if let Some(slot) = self.slot(node) {
            return slot.open();
        }
        let (store, now) = (self.clone(), self.shared.clock.now());
        let loaded = blocking(move || {
            let dir = &store.shared.settings.dir;
            let mut vaults = store.shared.vaults.lock().unwrap_or_else(PoisonError::into_inner);
            // Loaded under the lock: two of one folder would not know of each other.
            if let Some(slot) = vaults.get(&node) {
                return Ok((slot.clone(), Vec::new()));
            }
            let (slot, notes) = match Vault::load(dir, node, now) {
                Ok((vault, notes)) => (Slot::Open(vault), notes),
                Err(error) => (Slot::Broken(describe(&error)), Vec::new()),
            };
            vaults.insert(node, slot.clone());
            Ok((slot, notes))
        });
        let (slot, notes) = loaded.await?;
        if let Slot::Broken(reason) = &slot {
            tracing::error!(%node, reason, "backups of a node cannot be used");
            let body = json!({ "nodeId": node, "reason": reason });
            self.shared.events.publish("backup.unusable", Some(node), &body);
        }
        self.tell(node, "aggregator", notes).await;
        slot.open()
    }

    fn slot(&self, node: NodeId) -> Option<Slot> {
        self.shared.vaults.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// The vaults that are open.
    pub fn vaults(&self) -> Vec<Arc<Vault>> {
        let vaults = self.shared.vaults.lock().unwrap_or_else(PoisonError::into_inner);
        let open = vaults.values().filter_map(|slot| match slot {
            Slot::Open(vault) => Some(Arc::clone(vault)),
            Slot::Broken(_) => None,
        });
        open.collect()
    }

    /// The vault of a node that has stored something; none is made.
    pub fn known(&self, node: NodeId) -> Option<Arc<Vault>> {
        match self.slot(node)? {
            Slot::Open(vault) => Some(vault),
            Slot::Broken(_) => None,
        }
    }

    /// Whether a node's part cannot be used.
    pub fn is_broken(&self, node: NodeId) -> bool {
        matches!(self.slot(node), Some(Slot::Broken(_)))
    }

    /// Nodes whose part cannot be used, and why.
    pub fn broken(&self) -> Vec<(NodeId, String)> {
        let vaults = self.shared.vaults.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = vaults.iter().filter_map(|(node, slot)| match slot {
            Slot::Open(_) => None,
            Slot::Broken(reason) => Some((*node, reason.clone())),
        });
        broken.collect()
    }

    /// When the newest snapshot of each node was received, whatever the node says of it.
    pub fn newest_snapshots(&self) -> BTreeMap<NodeId, Timestamp> {
        let newest = |vault: &Arc<Vault>| {
            vault.with(|account| account.newest_snapshot()).map(|newest| (vault.node(), newest))
        };
        self.vaults().iter().filter_map(newest).collect()
    }

    /// Its settings.
    pub fn settings(&self) -> &BackupSettings {
        &self.shared.settings
    }

    /// Some objects of a node behind `after`.
    ///
    /// # Errors
    /// When the node's part cannot be used.
    pub async fn list(
        &self,
        node: NodeId,
        kind: StoredKind,
        after: Option<Digest>,
    ) -> Result<Vec<(Digest, u64)>, Failure> {
        Ok(self.vault(node).await?.page(kind, after))
    }

    /// Decides what a node proposes, and does it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn propose(&self, node: NodeId, proposal: Proposal) -> Result<Decided, Failure> {
        let (vault, now) = (self.vault(node).await?, self.shared.clock.now());
        let rules = self.rules(node);
        let (decided, notes) = blocking(move || vault.propose(&proposal, &rules, now)).await?;
        self.tell(node, &format!("node:{node}"), notes).await;
        Ok(decided)
    }

    /// Brings back a snapshot with all that it needs, or everything.
    ///
    /// # Errors
    /// When it is not in the trash, or the store fails.
    pub async fn undelete(&self, node: NodeId, snapshot: Option<Digest>, actor: &str) -> Result<(), Failure> {
        let vault = self.vault(node).await?;
        let notes = blocking(move || vault.undelete(snapshot)).await?;
        self.tell(node, actor, notes).await;
        Ok(())
    }

    /// Settles what waits for a person.
    ///
    /// # Errors
    /// When nothing waits under that number, or the store fails.
    pub async fn settle(
        &self,
        node: NodeId,
        id: u64,
        settlement: Settlement,
        actor: &str,
    ) -> Result<Option<Decided>, Failure> {
        let (vault, now) = (self.vault(node).await?, self.shared.clock.now());
        let rules = self.rules(node);
        let (decided, notes) = blocking(move || vault.settle(id, settlement, &rules, now)).await?;
        self.tell(node, actor, notes).await;
        Ok(decided)
    }

    /// Raises an alarm about a node.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn alarm(&self, node: NodeId, reason: Suspicion, detail: String) -> Result<(), Failure> {
        let (vault, now) = (self.vault(node).await?, self.shared.clock.now());
        let note = blocking(move || vault.alarm(reason, detail, now)).await?;
        self.tell(node, "aggregator", note).await;
        Ok(())
    }

    /// Tells others what happened. The audit log follows the store: a cut between them loses the entry, not the fact,
    /// which is in the receipt journal.
    pub(super) async fn tell(&self, node: NodeId, actor: &str, notes: impl IntoIterator<Item = Note>) {
        let mut is_told = false;
        for note in notes {
            is_told = true;
            let (kind, body) = event(&note);
            let mut body = body;
            body["nodeId"] = json!(node);
            self.shared.events.publish(kind, Some(node), &body);
            match &note {
                Note::Held { reasons, .. } => {
                    tracing::warn!(%node, reasons = reasons_text(reasons), "deletions of a node's backups wait");
                }
                Note::Found { object, flaw } => {
                    tracing::error!(%node, %object, flaw = flaw.as_str(), "a stored object is not what it was");
                }
                _ => tracing::info!(%node, kind, %body, "backup store"),
            }
            let Some(action) = action(&note) else { continue };
            let record = Record {
                actor: actor.to_owned(),
                action,
                target: format!("node/{node}"),
                outcome: AuditOutcome::Ok,
                detail: body.to_string(),
            };
            self.note(record).await;
        }
        if is_told {
            self.judge(node, false);
        }
    }

    /// Puts something into the audit log.
    pub(super) async fn note(&self, record: Record) {
        let (action, target) = (record.action, record.target.clone());
        if let Err(error) = self.shared.audit.record(record).await {
            tracing::error!(target, action, %error, "not in the audit log");
        }
    }
}

impl Slot {
    fn open(self) -> Result<Arc<Vault>, Failure> {
        match self {
            Self::Open(vault) => Ok(vault),
            Self::Broken(_) => {
                let reason = "the node's part of the store cannot be used; its operator knows why".to_owned();
                Err(Failure::new(StoreFailure::Unavailable, reason))
            }
        }
    }
}

fn describe(error: &LoadError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
