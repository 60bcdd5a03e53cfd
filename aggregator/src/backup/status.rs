//! What others may know of the store: how each node's backups stand, what they hold, what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use campanile_common::api::{BackupState, NodeBackup, NodeBackupDetail, StoredSnapshot};
use campanile_common::config::{Generation, Layer};
use campanile_common::health::BackupTrouble;
use campanile_common::id::{Digest, NodeId};
use campanile_common::unit::ByteCount;
use serde_json::json;
use tokio::sync::watch;

use super::account::Account;
use super::handle::{BackupStore, blocking};
use super::overview::{self, Judged, Known, Shown};
use super::policies::{Known as Rostered, Policies};
use super::retention::Rules;
use super::standing;
use crate::state::StateError;

/// Findings of one node that are shown; more are counted.
const FINDINGS_MAX: usize = 1000;

/// What is wrong with the backups of each node where something is.
pub type Troubles = Arc<BTreeMap<NodeId, Vec<BackupTrouble>>>;

/// How a node stood when it was last judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Last {
    state: Option<BackupState>,
    policies: BTreeMap<String, BackupState>,
    verified_bytes: u64,
}

impl BackupStore {
    /// Takes over what a generation says of these nodes: their policies, and since when they are known.
    ///
    /// # Errors
    /// When what is remembered cannot be stored; the policies count, and it is stored at the next turn.
    pub async fn turn(
        &self,
        generation: &Generation,
        layers: &BTreeMap<Digest, Layer>,
        nodes: &[Rostered<'_>],
    ) -> Result<(), StateError> {
        self.shared.book.turn(generation, layers, nodes.iter().copied());
        let (floor, now) = (self.retention().floor(), self.shared.clock.now());
        let mut changed = BTreeMap::new();
        for (node, policies) in self.shared.book.all() {
            let policies = match policies {
                Ok(policies) => policies,
                Err(error) => {
                    tracing::warn!(%node, %error, "which policies a node has cannot be told; what was known of them stays");
                    continue;
                }
            };
            let before = self.shared.ledger.of(node);
            let named = policies.iter().map(|(name, booked)| (name, booked.policy.keep));
            let after = standing::turned(&before, named, floor, now);
            if after != before {
                changed.insert(node, after);
            }
        }
        let put = self.shared.ledger.put(changed).await;
        self.judge_all().await;
        put
    }

    /// Number of the generation whose policies are in the book.
    pub fn generation(&self) -> Option<u64> {
        self.shared.book.number()
    }

    /// What decides how long a node's snapshots stay.
    pub(super) fn rules(&self, node: NodeId) -> Rules {
        let standings = self.shared.ledger.of(node);
        Rules::of(self.retention(), &standings, self.shared.clock.now())
    }

    /// Most bytes that a node may store: the settings' limit, or what its policies say if that is less.
    pub fn quota(&self, node: NodeId) -> ByteCount {
        let usual = self.shared.settings.limits.quota;
        self.shared.book.quota(node).map_or(usual, |quota| ByteCount(quota.0.min(usual.0)))
    }

    /// What is wrong with the nodes' backups, as it changes.
    pub fn troubles(&self) -> watch::Receiver<Troubles> {
        self.shared.troubles.subscribe()
    }

    fn look<T>(&self, node: NodeId, look: impl FnOnce(&Known<'_>) -> T) -> T {
        let policies: Option<Policies> = self.shared.book.policies(node).transpose();
        let (standings, proof) = (self.shared.ledger.of(node), self.shared.ledger.proof(node));
        let (vault, now) = (self.known(node), self.shared.clock.now());
        let known = Known {
            account: None,
            is_unusable: self.is_broken(node),
            policies: policies.as_ref(),
            standings: &standings,
            proof: &proof,
            now,
        };
        let Some(vault) = vault else { return look(&known) };
        vault.with(|account| look(&Known { account: Some(account), ..known }))
    }

    /// How a node's backups stand.
    pub fn node_backup(&self, node: NodeId, name: &str) -> NodeBackup {
        let shown = self.shown(node, name);
        self.look(node, |known| overview::node_backup(&shown, known))
    }

    /// The same with what waits for a person and what is damaged.
    pub fn node_detail(&self, node: NodeId, name: &str) -> NodeBackupDetail {
        let shown = self.shown(node, name);
        self.look(node, |known| NodeBackupDetail {
            backup: overview::node_backup(&shown, known),
            holds: known.account.map_or_else(Vec::new, overview::holds),
            findings: known
                .account
                .map_or_else(Vec::new, |account| overview::findings(account, FINDINGS_MAX)),
        })
    }

    /// The snapshots of a node, newest first; those too that can be brought back, where wanted.
    pub fn snapshots(&self, node: NodeId, has_deleted: bool) -> Vec<StoredSnapshot> {
        let vault = self.known(node);
        vault.map_or_else(Vec::new, |vault| vault.with(|account| overview::snapshots(account, has_deleted)))
    }

    fn shown<'a>(&self, node: NodeId, name: &'a str) -> Shown<'a> {
        let last = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner);
        let verified_bytes = last.get(&node).map_or(0, |last| last.verified_bytes);
        let second = self.replica_states().get(&node).copied();
        Shown { node, name, quota: self.quota(node), verified_bytes, second }
    }

    /// Judges every node; counts what was read back lately, too, which takes a look at every object.
    pub async fn judge_all(&self) {
        let store = self.clone();
        let judged = blocking(move || {
            let mut nodes: BTreeSet<NodeId> = store.shared.book.all().into_keys().collect();
            nodes.extend(store.vaults().iter().map(|vault| vault.node()));
            nodes.extend(store.broken().into_iter().map(|(node, _)| node));
            for node in nodes {
                store.judge(node, true);
            }
            Ok(())
        });
        // Said in the log already.
        drop(judged.await);
    }

    /// Judges a node, and tells what changed.
    pub(super) fn judge(&self, node: NodeId, is_counted: bool) {
        let cycle = self.shared.settings.verify.cycle;
        let (judged, verified_bytes) = self.look(node, |known| {
            let since = known.now - cycle.saturating_mul(2);
            let count = |account: &Account| account.verified_bytes(since);
            let verified_bytes = is_counted.then(|| known.account.map_or(0, count));
            (overview::judge_node(known), verified_bytes)
        });
        let before = {
            let mut last = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner);
            let of = last.entry(node).or_default();
            let before = of.clone();
            *of = Last {
                state: Some(judged.state),
                policies: judged
                    .policies
                    .iter()
                    .map(|policy| (policy.policy.clone(), policy.state))
                    .collect(),
                verified_bytes: verified_bytes.unwrap_or(before.verified_bytes),
            };
            before
        };
        self.publish(node, &before, &judged);
        self.shared.troubles.send_if_modified(|all| {
            let known = all.get(&node).map_or(&[][..], Vec::as_slice);
            if known == judged.troubles {
                return false;
            }
            let all = Arc::make_mut(all);
            if judged.troubles.is_empty() {
                all.remove(&node);
            } else {
                all.insert(node, judged.troubles.clone());
            }
            true
        });
    }

    /// An event where a state changed. What was never judged, or of which nothing was known, has changed only when it is
    /// bad: a start is no news.
    fn publish(&self, node: NodeId, before: &Last, judged: &Judged) {
        let is_news = |before: Option<BackupState>, now: BackupState| match before {
            None | Some(BackupState::Unknown) => now >= BackupState::Late,
            Some(before) => before != now,
        };
        let mut policies = judged.policies.iter();
        let has_news = is_news(before.state, judged.state)
            || policies.any(|policy| is_news(before.policies.get(&policy.policy).copied(), policy.state));
        if !has_news {
            return;
        }
        let policies: BTreeMap<&str, BackupState> =
            judged.policies.iter().map(|policy| (policy.policy.as_str(), policy.state)).collect();
        let state = judged.state.as_str();
        let was = before.state.map(BackupState::as_str);
        if judged.state >= BackupState::Late {
            tracing::warn!(%node, state, was, reasons = judged.reasons.join("; "), "backups of a node");
        } else {
            tracing::info!(%node, state, was, "backups of a node");
        }
        let body = json!({
            "nodeId": node, "state": state, "was": was, "reasons": judged.reasons, "policies": policies,
        });
        self.shared.events.publish("backup.state", Some(node), &body);
    }
}

#[cfg(test)]
mod tests;
