//! A second place: every node's part of the store once more, in another folder, for example on a disk of its own.
//!
//! It is a store like the first: restic's layout, receipts with the times of the first place, its own trash, read back on
//! the same schedule. So when the first is gone, `[backup] dir` is pointed at it and nodes go on; and stock restic reads
//! it meanwhile. What is damaged in either place is copied from the other.
//!
//! Invariants: an object is verified by its hash when it arrives; the second place lets go only of what `plan` says.

mod plan;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use campanile_common::api::SecondPlace;
use campanile_common::backup::StoredObject;
use campanile_common::id::NodeId;
use campanile_common::unit::ByteCount;
use campanile_common::wire::v1::store::StoreFailure;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::handle::{BackupStore, blocking};
use super::limits::Limits;
use super::vault::Vault;
use super::verify::{Step, rest};
use plan::{Work, compare};

/// Wait when nothing is to be read back.
const IDLE: Duration = Duration::from_secs(60);

/// Settings of a second place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// Where it is.
    pub dir: PathBuf,
    /// How often the places are compared.
    pub interval: Duration,
    /// Most bytes that are copied in a second; without it as fast as the disks are.
    pub rate: Option<ByteCount>,
}

/// Handle of the second place; cloning shares it.
#[derive(Debug, Clone)]
pub struct Replica {
    store: BackupStore,
    settings: Arc<ReplicaSettings>,
    copies: Arc<Mutex<BTreeMap<NodeId, Arc<Vault>>>>,
}

/// What a comparison of one node came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replicated {
    /// Objects that were copied.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were copied back, damaged in the first place.
    pub healed: u64,
    /// Objects that could not be copied.
    pub failed: u64,
}

impl Replica {
    /// A second place of `store`; nothing is looked at yet.
    pub fn new(store: BackupStore, settings: ReplicaSettings) -> Self {
        Self { store, settings: Arc::new(settings), copies: Arc::default() }
    }

    /// Compares, copies and reads back until cancelled.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.mirror(&stop), self.verify(&stop));
    }

    async fn mirror(&self, stop: &CancellationToken) {
        let mut step = tokio::time::interval(self.settings.interval);
        step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = step.tick() => {}
            }
            for vault in self.store.vaults() {
                if stop.is_cancelled() {
                    return;
                }
                if let Err(failure) = self.replicate(&vault, stop).await {
                    tracing::error!(node = %vault.node(), %failure, "a node's backups were not copied to the second place");
                    let body = json!({ "nodeId": vault.node(), "reason": failure.reason });
                    self.store.shared.events.publish("backup.replica-failed", Some(vault.node()), &body);
                }
            }
        }
    }

    /// Makes the second place of a node what the first is.
    ///
    /// # Errors
    /// When the second place cannot be used. Objects that cannot be copied are counted, and tried again the next time.
    pub async fn replicate(
        &self,
        first: &Arc<Vault>,
        stop: &CancellationToken,
    ) -> Result<Replicated, Failure> {
        let second = self.copy_of(first.node()).await?;
        let work = self.compare(first, &second);
        if !work.lost.is_empty() {
            let (node, snapshots) = (first.node(), work.lost.len());
            tracing::error!(%node, snapshots, "the second place has snapshots that the first does not know any more; it keeps them");
        }
        let mut done = Replicated::default();
        for object in &work.copy {
            if !self.carry(first, &second, *object, stop).await?.count(&mut done.objects, &mut done.bytes) {
                done.failed += 1;
            }
        }
        for object in &work.heal {
            let (mut healed, mut bytes) = (0, 0);
            self.carry(&second, first, *object, stop).await?.count(&mut healed, &mut bytes);
            done.healed += healed;
        }
        let (copy, now) = (Arc::clone(&second), self.store.shared.clock.now());
        blocking(move || {
            copy.let_go(&work.let_go, now)?;
            copy.expire(now).map(drop)
        })
        .await?;
        self.note(first, &second, done.failed);
        Ok(done)
    }

    fn compare(&self, first: &Vault, second: &Vault) -> Work {
        let keep = Duration::from_millis(self.store.retention().floor_ms());
        let now = self.store.shared.clock.now();
        first.with(|own| second.with(|other| compare(own, other, keep, now)))
    }

    /// Copies one object, and rests so long that the rate is kept.
    async fn carry(
        &self,
        from: &Arc<Vault>,
        to: &Arc<Vault>,
        object: StoredObject,
        stop: &CancellationToken,
    ) -> Result<Carried, Failure> {
        if stop.is_cancelled() {
            return Err(Failure::new(StoreFailure::Unavailable, "the store is stopping".to_owned()));
        }
        let limits = Limits {
            quota: ByteCount(u64::MAX),
            objects_per_hour: u32::MAX,
            ..self.store.shared.settings.limits
        };
        let (source, target) = (Arc::clone(from), Arc::clone(to));
        match blocking(move || source.copy_to(object, &target, &limits)).await {
            Ok(copied) => {
                let notes =
                    copied.notes.into_iter().filter(|note| matches!(note, super::Note::Healed { .. }));
                self.store.tell(to.node(), "aggregator", notes.collect::<Vec<_>>()).await;
                if let Some(rate) = self.settings.rate {
                    let pause = Duration::from_millis(copied.bytes.saturating_mul(1000) / rate.0.max(1));
                    tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
                }
                Ok(Carried::Done(copied.bytes))
            }
            // No room for this one is no room for the next.
            Err(failure) if failure.code == StoreFailure::Full => Err(failure),
            Err(failure) => {
                tracing::warn!(node = %from.node(), %object, %failure, "an object was not copied");
                Ok(Carried::Failed)
            }
        }
    }

    fn note(&self, first: &Vault, second: &Vault, failed: u64) {
        let work = self.compare(first, second);
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let damaged = count(second.with(|account| account.findings.len()));
        let mut states = self.store.shared.replica_states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(first.node()).or_default();
        if failed == 0 && damaged == 0 {
            state.complete = Some(self.store.shared.clock.now());
        }
        (state.missing, state.damaged, state.lost) =
            (count(work.copy.len()), damaged, count(work.lost.len()));
    }

    /// The second place of a node; opened when it is asked for first.
    async fn copy_of(&self, node: NodeId) -> Result<Arc<Vault>, Failure> {
        let (copies, dir) = (Arc::clone(&self.copies), self.settings.dir.clone());
        let now = self.store.shared.clock.now();
        blocking(move || {
            let mut copies = copies.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(copy) = copies.get(&node) {
                return Ok(Arc::clone(copy));
            }
            let unusable = |error: &dyn std::fmt::Display| {
                let reason = format!("the second place cannot be used: {error}");
                Failure::new(StoreFailure::Unavailable, reason)
            };
            crate::os::folder::open_private(&dir).map_err(|error| unusable(&error))?;
            let copy = Vault::load_copy(&dir, node, now).map_err(|error| unusable(&error))?;
            copies.insert(node, Arc::clone(&copy));
            Ok(copy)
        })
        .await
    }

    async fn verify(&self, stop: &CancellationToken) {
        let settings = self.store.shared.settings.verify;
        let step = Step::of(&settings);
        loop {
            let copies: Vec<Arc<Vault>> =
                self.copies.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
            let stored = copies.iter().map(|vault| vault.with(super::Account::bytes)).sum();
            let mut pause = IDLE;
            for copy in copies {
                let (node, now) = (copy.node(), self.store.shared.clock.now());
                match blocking(move || copy.verify_step(&step, now)).await {
                    Ok(None) => {}
                    Ok(Some(verified)) => {
                        let found =
                            verified.notes.iter().filter(|note| matches!(note, super::Note::Found { .. }));
                        for note in found {
                            tracing::error!(%node, ?note, "an object in the second place is not what it was");
                        }
                        pause = pause.min(rest(&settings, stored, verified.bytes));
                    }
                    Err(error) => {
                        tracing::warn!(%node, %error, "objects in the second place were not read back")
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

enum Carried {
    Done(u64),
    Failed,
}

impl Carried {
    fn count(&self, objects: &mut u64, bytes: &mut u64) -> bool {
        match self {
            Self::Done(copied) => {
                *objects += 1;
                *bytes += copied;
                true
            }
            Self::Failed => false,
        }
    }
}

impl BackupStore {
    /// How each node stood in the second place when the places were compared last; empty without a second place.
    pub fn replica_states(&self) -> BTreeMap<NodeId, SecondPlace> {
        self.shared.replica_states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests;
