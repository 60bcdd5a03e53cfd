//! Enrolment tokens and their redemption, as transactions on the state store.

use campanile_common::api::{AuditOutcome, EnrollmentToken, NodeState, TokenRequest};
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;
use campanile_common::token::TokenSecret;
use campanile_common::wire::hello::{Refusal, RefusalCode};
use campanile_common::wire::v1::control::Facts;

use super::NodeError;
use super::enrollment::redeem;
use super::record::{NodeRecord, TokenRecord, check_name, facts_to_api, token_id};
use super::registry::{ATTEMPTS_MAX, Held, Registry};
use crate::audit::Record as AuditRecord;
use crate::os::random;
use crate::state::{
    Committed, Compare, Range, Revision, StateError, Transaction, Write, from_json, read_json, to_json,
};

/// Most nodes a roster holds; far above what one aggregator serves.
const NODES_MAX: usize = 100_000;
/// Most enrolment tokens kept; the oldest unusable ones go first.
const TOKENS_MAX: usize = 10_000;

impl Registry {
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

fn unavailable(error: StateError) -> Refusal {
    tracing::error!(%error, "enrolment refused: the state store fails");
    Refusal { code: RefusalCode::Unavailable, reason: "the aggregator cannot store anything now".to_owned() }
}
