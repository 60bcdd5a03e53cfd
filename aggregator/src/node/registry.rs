//! The roster: which nodes and enrolment tokens there are, in memory for reading and in the state store for keeps.
//!
//! Every change is one transaction with its audit entry. Invariants: a node id is never given twice; a name belongs to
//! at most one active node; a retired node's keys never become active again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_common::api::{AuditOutcome, NodePatch, NodeState};
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::Facts;

use super::NodeError;
use super::record::{NodeRecord, check_name, facts_to_api};
use super::restored::{Restored, Validity};
use crate::audit::{Audit, Record as AuditRecord};
use crate::os::clock::Clock;
use crate::state::{
    Committed, Compare, Keys, Range, Revision, StateError, Store, Transaction, Write, from_json, read_json,
    to_json,
};

/// Attempts at a transaction that others keep winning against. One wins each time, so a hundred racers all end.
pub(super) const ATTEMPTS_MAX: usize = 256;

/// A node as it is held in memory.
#[derive(Debug, Clone)]
pub struct Held {
    /// The record.
    pub record: NodeRecord,
    /// Its revision in the store.
    pub revision: Revision,
}

/// Handle of the roster.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(super) store: Store,
    pub(super) keys: Keys,
    pub(super) audit: Audit,
    pub(super) clock: Clock,
    nodes: Arc<Mutex<BTreeMap<NodeId, Held>>>,
    /// The time that it has no memory of.
    restored: Option<Restored>,
}

impl Registry {
    /// Reads the roster from the store.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub async fn open(store: Store, keys: Keys, audit: Audit, clock: Clock) -> Result<Self, StateError> {
        let mut nodes = BTreeMap::new();
        let mut after = None;
        loop {
            let range = Range { prefix: keys.prefix("node"), after, limit: 1000, descending: false };
            let entries = store.range(range).await?;
            let Some(last) = entries.last() else { break };
            after = Some(last.key.clone());
            for entry in &entries {
                let record: NodeRecord = from_json(&entry.key, &entry.value)?;
                nodes.insert(record.node_id, Held { record, revision: entry.revision });
            }
        }
        let restored = Restored::read(&store, &keys).await?;
        Ok(Self { store, keys, audit, clock, nodes: Arc::new(Mutex::new(nodes)), restored })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Held>> {
        // Every change under the lock is one insertion.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One node.
    pub fn get(&self, node: NodeId) -> Option<Held> {
        self.lock().get(&node).cloned()
    }

    /// Ids of the active nodes.
    pub fn active_ids(&self) -> Vec<NodeId> {
        let nodes = self.lock();
        let active = nodes.values().filter(|held| held.record.state == NodeState::Active);
        active.map(|held| held.record.node_id).collect()
    }

    /// All nodes.
    pub fn all(&self) -> Vec<Held> {
        self.lock().values().cloned().collect()
    }

    /// Changes one node's record by `change`, in one transaction with an audit entry.
    async fn change(
        &self,
        node: NodeId,
        expected: Option<u64>,
        entry: AuditRecord,
        change: impl Fn(&mut NodeRecord) -> Result<(), NodeError>,
    ) -> Result<Held, NodeError> {
        for _ in 0..ATTEMPTS_MAX {
            let held = self.get(node).ok_or_else(|| NodeError::NotFound(node.to_string()))?;
            if expected.is_some_and(|revision| revision != held.revision.0) {
                return Err(NodeError::Conflict);
            }
            let mut record = held.record.clone();
            change(&mut record)?;
            if record == held.record {
                return Ok(held);
            }
            let node_key = self.keys.node(node);
            let mut compares = vec![Compare::At(node_key.clone(), held.revision)];
            let mut writes = vec![Write::put(node_key, to_json(&record))];
            let (was_active, is_active) =
                (held.record.state == NodeState::Active, record.state == NodeState::Active);
            if was_active && (!is_active || held.record.name != record.name) {
                writes.push(Write::Delete { key: self.keys.of("name", &held.record.name) });
            }
            if is_active && held.record.name != record.name {
                let name_key = self.keys.of("name", &record.name);
                if self.store.get(&name_key).await?.is_some() {
                    return Err(NodeError::NameTaken(record.name));
                }
                compares.push(Compare::Absent(name_key.clone()));
                writes.push(Write::put(name_key, node.to_string()));
            }
            match self.audit.commit(compares, writes, entry.clone()).await? {
                Committed::Done(revision) => {
                    let held = Held { record, revision };
                    self.lock().insert(node, held.clone());
                    return Ok(held);
                }
                Committed::Conflict => self.refresh(node).await?,
            }
        }
        Err(NodeError::Conflict)
    }

    async fn refresh(&self, node: NodeId) -> Result<(), StateError> {
        if let Some((record, revision)) = read_json::<NodeRecord>(&*self.store, &self.keys.node(node)).await?
        {
            self.lock().insert(node, Held { record, revision });
        }
        Ok(())
    }

    /// Renames and labels a node.
    ///
    /// # Errors
    /// When there is no such active node, the name is taken, or it changed since `revision`.
    pub async fn update(
        &self,
        actor: &str,
        node: NodeId,
        patch: NodePatch,
        revision: Option<u64>,
    ) -> Result<Held, NodeError> {
        if let Some(name) = &patch.name {
            check_name(name).map_err(NodeError::Invalid)?;
        }
        let detail = serde_json::to_string(&patch).unwrap_or_default();
        let entry = done(actor, "node.update", node, detail);
        self.change(node, revision, entry, |record| {
            if record.state == NodeState::Retired {
                return Err(NodeError::Retired(record.name.clone()));
            }
            if let Some(name) = &patch.name {
                record.name.clone_from(name);
            }
            for (key, value) in &patch.labels {
                match value {
                    Some(value) => {
                        record
                            .labels
                            .set(key, value)
                            .map_err(|error| NodeError::Invalid(error.to_string()))?;
                    }
                    None => {
                        record.labels.remove(key);
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// Takes a node out for good.
    ///
    /// # Errors
    /// When there is no such active node.
    pub async fn retire(&self, actor: &str, node: NodeId) -> Result<Held, NodeError> {
        let now = self.clock.now();
        let entry = done(actor, "node.retire", node, String::new());
        self.change(node, None, entry, |record| {
            if record.state == NodeState::Retired {
                return Err(NodeError::Retired(record.name.clone()));
            }
            record.state = NodeState::Retired;
            record.retired = Some(now);
            record.pending_key = None;
            Ok(())
        })
        .await
    }

    /// Notes the key of a renewed certificate: it becomes active when it is first used.
    ///
    /// # Errors
    /// When the node is not active or the store fails.
    pub async fn renew(&self, node: NodeId, key: Digest, expires: Timestamp) -> Result<(), NodeError> {
        let entry = done(&format!("node:{node}"), "certificate.renew", node, format!("key={key}"));
        self.change(node, None, entry, |record| {
            if record.state == NodeState::Retired {
                return Err(NodeError::Retired(record.name.clone()));
            }
            record.pending_key = Some(key);
            record.pending_expires = Some(expires);
            Ok(())
        })
        .await
        .map(drop)
    }

    /// A session begins with this key: true when the roster has it. The first use of a renewed key retires the old; one
    /// that was certified in the time which a restored aggregator has no memory of counts as renewed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn admit(&self, node: NodeId, key: Digest, certificate: Validity) -> Result<bool, NodeError> {
        let Some(held) = self.get(node) else { return Ok(false) };
        let record = &held.record;
        if record.state != NodeState::Active {
            return Ok(false);
        }
        if record.key == key {
            return Ok(true);
        }
        if record.pending_key != Some(key) {
            let vouches = |restored: Restored| restored.vouches_for(certificate, record.certificate_expires);
            return if self.restored.is_some_and(vouches) {
                self.adopt(node, key, certificate).await
            } else {
                Ok(false)
            };
        }
        let entry = done(&format!("node:{node}"), "certificate.use", node, format!("key={key}"));
        let changed = self.change(node, None, entry, |record| {
            if record.pending_key == Some(key) && record.state == NodeState::Active {
                record.key = key;
                record.certificate_expires = record.pending_expires.unwrap_or(record.certificate_expires);
                record.pending_key = None;
                record.pending_expires = None;
            }
            Ok(())
        });
        Ok(changed.await?.record.key == key)
    }

    /// Takes a key that was certified in the time which this aggregator has no memory of.
    async fn adopt(&self, node: NodeId, key: Digest, certificate: Validity) -> Result<bool, NodeError> {
        tracing::info!(%node, "a key that was certified after the backup of this aggregator is taken");
        let entry = done(&format!("node:{node}"), "certificate.adopt", node, format!("key={key}"));
        let changed = self.change(node, None, entry, |record| {
            if record.state == NodeState::Active && certificate.ends > record.certificate_expires {
                record.key = key;
                record.certificate_expires = certificate.ends;
                record.pending_key = None;
                record.pending_expires = None;
            }
            Ok(())
        });
        Ok(changed.await?.record.key == key)
    }

    /// Keeps what a node says of itself. Not audited: it changes nothing that anybody decided.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_facts(
        &self,
        node: NodeId,
        facts: &Facts,
        agent_version: &str,
    ) -> Result<(), NodeError> {
        let Some(held) = self.get(node) else { return Ok(()) };
        let record = NodeRecord {
            facts: Some(facts_to_api(facts)),
            agent_version: Some(agent_version.chars().take(32).collect()),
            ..held.record.clone()
        };
        if record == held.record {
            return Ok(());
        }
        let key = self.keys.node(node);
        let transaction = Transaction {
            compares: vec![Compare::At(key.clone(), held.revision)],
            writes: vec![Write::put(key, to_json(&record))],
        };
        match self.store.commit(transaction).await? {
            Committed::Done(revision) => {
                self.lock().insert(node, Held { record, revision });
                Ok(())
            }
            // Somebody changed the node meanwhile; its next session tells again.
            Committed::Conflict => Ok(self.refresh(node).await?),
        }
    }
}

/// The audit entry of a change of a node that was carried out.
fn done(actor: &str, action: &'static str, node: NodeId, detail: String) -> AuditRecord {
    AuditRecord {
        actor: actor.to_owned(),
        action,
        target: format!("node/{node}"),
        outcome: AuditOutcome::Ok,
        detail,
    }
}
