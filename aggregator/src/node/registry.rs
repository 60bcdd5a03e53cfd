//! The roster: which nodes and enrolment tokens there are, in memory for reading and in the state store for keeps.
//!
//! Every change is one transaction with its audit entry. Invariants: a node id is never given twice; a name belongs to
//! at most one active node; a retired node's keys never become active again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_common::api::{AuditOutcome, EnrollmentToken, NodePatch, NodeState, TokenRequest};
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;
use campanile_common::token::TokenSecret;
use campanile_common::wire::hello::{Refusal, RefusalCode};
use campanile_common::wire::v1::control::Facts;

use super::NodeError;
use super::enrollment::redeem;
use super::record::{NodeRecord, TokenRecord, check_name, facts_to_api, token_id};
use crate::audit::{Audit, Record as AuditRecord};
use crate::os::clock::Clock;
use crate::os::random;
use crate::state::{
    Committed, Compare, Keys, Range, Revision, StateError, Store, Transaction, Write, from_json, read_json,
    to_json,
};

/// Attempts at a transaction that others keep winning against. One wins each time, so a hundred racers all end.
const ATTEMPTS_MAX: usize = 256;
/// Most nodes a roster holds; far above what one aggregator serves.
const NODES_MAX: usize = 100_000;
/// Most enrolment tokens kept; the oldest unusable ones go first.
const TOKENS_MAX: usize = 10_000;

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
    store: Store,
    keys: Keys,
    audit: Audit,
    clock: Clock,
    nodes: Arc<Mutex<BTreeMap<NodeId, Held>>>,
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
        Ok(Self { store, keys, audit, clock, nodes: Arc::new(Mutex::new(nodes)) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Held>> {
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

    /// Redeems a token for a new node with this key: one transaction. `expires` is the end of its certificate.
    ///
    /// # Errors
    /// The refusal to send.
    pub async fn enroll(
        &self,
        secret: &TokenSecret,
        key: Digest,
        expires: Timestamp,
        name: &str,
        facts: &Facts,
    ) -> Result<(NodeRecord, Digest), Refusal> {
        let secret = secret.digest();
        let token_key = self.keys.of("token", &token_id(secret));
        let name = name.trim().to_ascii_lowercase();
        for _ in 0..ATTEMPTS_MAX {
            let now = self.clock.now();
            let found = read_json::<TokenRecord>(&*self.store, &token_key).await.map_err(unavailable)?;
            let (found, revision) = found.map_or((None, Revision::default()), |(r, at)| (Some(r), at));
            let token = redeem(found.as_ref(), secret, &name, now)?;
            self.check_room(&name)?;
            let record = NodeRecord {
                node_id: NodeId::from_bytes(random::bytes()),
                name: name.clone(),
                labels: token.labels.clone(),
                state: NodeState::Active,
                key,
                pending_key: None,
                certificate_expires: expires,
                pending_expires: None,
                enrolled: now,
                token_id: token.token_id.clone(),
                retired: None,
                facts: Some(facts_to_api(facts)),
                agent_version: None,
            };
            let node_key = self.keys.node(record.node_id);
            let name_key = self.keys.of("name", &name);
            let entry = AuditRecord {
                actor: format!("token:{}", token.token_id),
                action: "node.enroll",
                target: format!("node/{}", record.node_id),
                outcome: AuditOutcome::Ok,
                detail: format!("name={name} labels={}", record.labels),
            };
            let compares = vec![
                Compare::At(token_key.clone(), revision),
                Compare::Absent(node_key.clone()),
                Compare::Absent(name_key.clone()),
            ];
            let writes = vec![
                Write::put(token_key.clone(), to_json(&token)),
                Write::put(node_key, to_json(&record)),
                Write::put(name_key, record.node_id.to_string()),
            ];
            match self.audit.commit(compares, writes, entry).await.map_err(unavailable)? {
                Committed::Done(revision) => {
                    let held = Held { record: record.clone(), revision };
                    self.lock().insert(record.node_id, held);
                    return Ok((record, token.authority));
                }
                Committed::Conflict => {}
            }
        }
        Err(Refusal { code: RefusalCode::Busy, reason: "too many enrolments at once; try again".to_owned() })
    }

    fn check_room(&self, name: &str) -> Result<(), Refusal> {
        let nodes = self.lock();
        if nodes.len() >= NODES_MAX {
            let reason = format!("the roster holds {NODES_MAX} nodes, which is the most");
            return Err(Refusal { code: RefusalCode::Busy, reason });
        }
        if nodes.values().any(|held| held.record.state == NodeState::Active && held.record.name == name) {
            let reason =
                format!("a node named `{name}` exists; give this one --name, or retire the old one first");
            return Err(Refusal { code: RefusalCode::NameTaken, reason });
        }
        Ok(())
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

    /// A session begins with this key: true when the roster has it. The first use of a renewed key retires the old.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn admit(&self, node: NodeId, key: Digest) -> Result<bool, NodeError> {
        let Some(held) = self.get(node) else { return Ok(false) };
        let record = &held.record;
        if record.state != NodeState::Active {
            return Ok(false);
        }
        if record.key == key {
            return Ok(true);
        }
        if record.pending_key != Some(key) {
            return Ok(false);
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

    /// Makes an enrolment token; returns its secret, which is kept nowhere.
    ///
    /// # Errors
    /// When the request is out of range or the store fails.
    pub async fn create_token(
        &self,
        actor: &str,
        request: TokenRequest,
        authority: Digest,
    ) -> Result<(TokenRecord, TokenSecret), NodeError> {
        check_token_request(&request)?;
        self.remove_stale_tokens().await?;
        let now = self.clock.now();
        let secret = TokenSecret(random::bytes());
        let record = TokenRecord {
            token_id: token_id(secret.digest()),
            secret: secret.digest(),
            labels: request.labels,
            name: request.name,
            created_by: actor.to_owned(),
            created: now,
            expires: now + std::time::Duration::from_secs(request.ttl_seconds),
            uses_max: request.uses,
            uses: 0,
            revoked: None,
            authority,
        };
        let key = self.keys.of("token", &record.token_id);
        let entry = AuditRecord {
            actor: actor.to_owned(),
            action: "token.create",
            target: format!("token/{}", record.token_id),
            outcome: AuditOutcome::Ok,
            detail: format!("labels={} uses={} expires={}", record.labels, record.uses_max, record.expires),
        };
        let writes = vec![Write::put(key.clone(), to_json(&record))];
        match self.audit.commit(vec![Compare::Absent(key)], writes, entry).await? {
            Committed::Done(_) => Ok((record, secret)),
            Committed::Conflict => Err(NodeError::Conflict),
        }
    }

    async fn token_records(&self) -> Result<Vec<(TokenRecord, Revision)>, StateError> {
        let range = Range {
            prefix: self.keys.prefix("token"),
            after: None,
            limit: 2 * TOKENS_MAX,
            descending: false,
        };
        let entries = self.store.range(range).await?;
        entries.iter().map(|entry| Ok((from_json(&entry.key, &entry.value)?, entry.revision))).collect()
    }

    /// All enrolment tokens, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tokens(&self) -> Result<Vec<EnrollmentToken>, NodeError> {
        let mut records = self.token_records().await?;
        records.sort_by_key(|(record, _)| std::cmp::Reverse(record.created));
        Ok(records.iter().map(|(record, _)| record.to_api()).collect())
    }

    /// Removes tokens that cannot be used any more, once there are very many.
    async fn remove_stale_tokens(&self) -> Result<(), NodeError> {
        let records = self.token_records().await?;
        if records.len() < TOKENS_MAX {
            return Ok(());
        }
        let now = self.clock.now();
        let stale: Vec<Write> = records
            .iter()
            .filter(|(record, _)| record.expires <= now || record.revoked.is_some())
            .map(|(record, _)| Write::Delete { key: self.keys.of("token", &record.token_id) })
            .collect();
        if stale.is_empty() {
            return Err(NodeError::Invalid(format!(
                "there are {TOKENS_MAX} usable tokens; revoke some first"
            )));
        }
        let transaction = Transaction { compares: Vec::new(), writes: stale };
        match self.store.commit(transaction).await? {
            Committed::Done(_) | Committed::Conflict => Ok(()),
        }
    }

    /// Revokes an enrolment token.
    ///
    /// # Errors
    /// When there is none of this id or the store fails.
    pub async fn revoke_token(&self, actor: &str, id: &str) -> Result<EnrollmentToken, NodeError> {
        let key = self.keys.of("token", id);
        for _ in 0..ATTEMPTS_MAX {
            let found = read_json::<TokenRecord>(&*self.store, &key).await?;
            let (mut record, revision) = found.ok_or_else(|| NodeError::NotFound(format!("token {id}")))?;
            if record.revoked.is_some() {
                return Ok(record.to_api());
            }
            record.revoked = Some(self.clock.now());
            let entry = AuditRecord {
                actor: actor.to_owned(),
                action: "token.revoke",
                target: format!("token/{id}"),
                outcome: AuditOutcome::Ok,
                detail: String::new(),
            };
            let writes = vec![Write::put(key.clone(), to_json(&record))];
            match self.audit.commit(vec![Compare::At(key.clone(), revision)], writes, entry).await? {
                Committed::Done(_) => return Ok(record.to_api()),
                Committed::Conflict => {}
            }
        }
        Err(NodeError::Conflict)
    }
}

fn check_token_request(request: &TokenRequest) -> Result<(), NodeError> {
    let invalid = |text: &str| Err(NodeError::Invalid(text.to_owned()));
    if !(60..=30 * 86_400).contains(&request.ttl_seconds) {
        return invalid("a token lives 60 seconds to 30 days");
    }
    if !(1..=10_000).contains(&request.uses) {
        return invalid("a token enrols 1 to 10000 nodes");
    }
    match &request.name {
        Some(_) if request.uses != 1 => invalid("a token for one name has one use"),
        Some(name) => check_name(name).map_err(NodeError::Invalid),
        None => Ok(()),
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

fn unavailable(error: StateError) -> Refusal {
    tracing::error!(%error, "enrolment refused: the state store fails");
    Refusal { code: RefusalCode::Unavailable, reason: "the aggregator cannot store anything now".to_owned() }
}
