//! What the store does by itself: it reads objects back, removes what was in the trash for long enough, judges how the
//! nodes stand, and keeps a second place.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::handle::{BackupStore, blocking};
use super::replica::Replica;
use super::vault::Vault;
use super::verify::{Step, rest};

/// How often the trash is looked through.
const EXPIRE_STEP: Duration = Duration::from_secs(600);
/// How often every node is judged.
const JUDGE_STEP: Duration = Duration::from_secs(60);
/// Wait when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// Reads back, expires and judges until cancelled.
#[derive(Debug)]
pub struct BackupTask {
    store: BackupStore,
}

impl BackupTask {
    /// A task that has not begun.
    pub fn new(store: BackupStore) -> Self {
        Self { store }
    }

    /// Works until cancelled.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.expire(&stop), self.verify(&stop), self.judge(&stop), self.replicate(stop.clone()));
    }

    async fn replicate(&self, stop: CancellationToken) {
        if let Some(settings) = self.store.settings().replica.clone() {
            Replica::new(self.store.clone(), settings).run(stop).await;
        }
    }

    async fn expire(&self, stop: &CancellationToken) {
        let mut step = tokio::time::interval(EXPIRE_STEP);
        step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = step.tick() => self.store.expire().await,
            }
        }
    }

    async fn judge(&self, stop: &CancellationToken) {
        let mut step = tokio::time::interval(JUDGE_STEP);
        step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = step.tick() => self.store.judge_all().await,
            }
        }
    }

    async fn verify(&self, stop: &CancellationToken) {
        loop {
            let (mut is_idle, vaults) = (true, self.store.vaults());
            for vault in vaults {
                let Some(pause) = self.store.verify_step(&vault).await else { continue };
                is_idle = false;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            if is_idle {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(IDLE) => {}
                }
            }
        }
    }
}

impl BackupStore {
    /// Removes what has been in the trash for long enough.
    pub async fn expire(&self) {
        for vault in self.vaults() {
            let (node, now) = (vault.node(), self.shared.clock.now());
            loop {
                let vault = Arc::clone(&vault);
                match blocking(move || vault.expire(now)).await {
                    Ok(notes) if notes.is_empty() => break,
                    Ok(notes) => self.tell(node, "aggregator", notes).await,
                    Err(error) => {
                        tracing::warn!(%node, %error, "the trash was not emptied");
                        break;
                    }
                }
            }
        }
    }

    /// Reads some objects of a node back; gives how long to rest, or none when nothing was due.
    pub async fn verify_step(&self, vault: &Arc<Vault>) -> Option<Duration> {
        let settings = self.shared.settings.verify;
        let step = Step::of(&settings);
        let (node, now) = (vault.node(), self.shared.clock.now());
        let worker = Arc::clone(vault);
        match blocking(move || worker.verify_step(&step, now)).await {
            Ok(None) => None,
            Ok(Some(verified)) => {
                self.tell(node, "aggregator", verified.notes).await;
                let stored = self.vaults().iter().map(|vault| vault.with(|account| account.bytes())).sum();
                Some(rest(&settings, stored, verified.bytes))
            }
            Err(error) => {
                tracing::warn!(%node, %error, "objects were not read back");
                None
            }
        }
    }
}
