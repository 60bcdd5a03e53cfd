//! API tokens: for programs, with a scope and an end.

use std::sync::Arc;
use std::time::Duration;

use campanile_common::api::{ApiToken, ApiTokenRequest, AuditOutcome, CreatedApiToken, Grant};
use campanile_common::time::Timestamp;

use super::record::{Stored, TokenOwner, TokenRecord};
use super::roles::Scope;
use super::secret;
use super::{Access, AccessError, Actor, Origin, Permission, describe, done, lock, parse_grants};
use crate::state::{Compare, Write, to_json};

/// Shortest and longest life, in seconds: a minute, and 366 days.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 60..=31_622_400;
/// Tokens of one fleet, expired ones not counted.
const TOKENS_MAX: usize = 1000;
/// Expired tokens that one new token clears away.
const CLEARED_MAX: usize = 64;
/// Longest name.
const NAME_BYTES_MAX: usize = 64;

/// Who makes a token.
struct Maker {
    actor: String,
    owner: Option<TokenOwner>,
    parent: Option<String>,
}

impl Access {
    /// Who bears this API token.
    ///
    /// # Errors
    /// When it is not valid (any more), or the store fails.
    pub async fn bearer(&self, token: &str) -> Result<Actor, AccessError> {
        let result = self.find_bearer(token).await;
        if let Err(AccessError::Unauthenticated) = result {
            let id = secret::read_token(token).map_or_else(|| "?".to_owned(), |(id, _)| id);
            let target = format!("api-token/{id}");
            let detail = "an API token that is not valid";
            self.audit_refusal("aggregator", "api-token.use", &target, AuditOutcome::Failed, detail).await;
        }
        result
    }

    async fn find_bearer(&self, token: &str) -> Result<Actor, AccessError> {
        let (id, digest) = secret::read_token(token).ok_or(AccessError::Unauthenticated)?;
        let now = self.clock.now();
        let generation = {
            let cache = lock(&self.shared.cache);
            if let Some(actor) = cache.get(&digest, now) {
                return Ok(actor);
            }
            cache.generation()
        };
        let stored = self.live_token(&id).await?.ok_or(AccessError::Unauthenticated)?;
        if !secret::is_same(stored.record.secret.as_bytes(), digest.as_bytes()) {
            return Err(AccessError::Unauthenticated);
        }
        if let Some(parent) = &stored.record.parent
            && self.live_token(parent).await?.is_none()
        {
            return Err(AccessError::Unauthenticated);
        }
        let details = stored.record.details;
        let mut scopes = vec![Scope::of_stored(&details.grants)];
        // What its owner may do now: a token never keeps what its owner has lost.
        if let Some(owner) = &stored.record.owner {
            let person = self.person(&owner.person).await?.filter(|person| person.record.uid == owner.uid);
            let person = person.ok_or(AccessError::Unauthenticated)?;
            scopes.push(Scope::of_stored(&person.record.grants));
        }
        let actor = Actor {
            id: format!("token:{id}"),
            name: details.name,
            grants: details.grants,
            expires_at: details.expires_at,
            scopes: Arc::from(scopes),
            origin: Origin::Token { token_id: id },
        };
        lock(&self.shared.cache).put(digest, actor.clone(), now, generation);
        Ok(actor)
    }

    async fn live_token(&self, id: &str) -> Result<Option<Stored<TokenRecord>>, AccessError> {
        let stored = self.read::<TokenRecord>("api-token", id).await?;
        let now = self.clock.now();
        Ok(stored.filter(|stored| now < stored.record.details.expires_at))
    }

    /// API tokens: the caller's own, or everybody's with `ManagePeople`. Expired ones are not listed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn api_tokens(&self, by: &Actor) -> Result<Vec<ApiToken>, AccessError> {
        let (sees_all, now) = (by.may(Permission::ManagePeople, None), self.clock.now());
        let tokens = self.all::<TokenRecord>("api-token").await?;
        let mut shown: Vec<ApiToken> = tokens
            .into_iter()
            .filter(|stored| {
                now < stored.record.details.expires_at && (sees_all || is_own(by, &stored.record))
            })
            .map(|stored| stored.record.details)
            .collect();
        shown.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.token_id.cmp(&b.token_id)));
        Ok(shown)
    }

    /// Makes an API token with at most the caller's own grants. One that a token makes lives no longer than that token,
    /// and makes none itself.
    ///
    /// # Errors
    /// When it would go beyond the caller, the request is not acceptable, or the store fails.
    pub async fn create_api_token(
        &self,
        by: &Actor,
        request: ApiTokenRequest,
    ) -> Result<CreatedApiToken, AccessError> {
        if !by.covers(&parse_grants(&request.grants)?) {
            self.audit_denial(&by.id, "api-token.create", &describe(&request.grants)).await;
            return Err(AccessError::Denied { actor: by.id.clone() });
        }
        let _turn = self.shared.turn.lock().await;
        let (maker, end) = self.maker(by).await?;
        let ttl = Duration::from_secs(request.ttl_seconds);
        if end.is_some_and(|end| self.clock.now() + ttl > end) {
            let text = "an API token made by another lives no longer than that one; ask for less time";
            return Err(AccessError::Invalid(text.to_owned()));
        }
        self.make_token(maker, request).await
    }

    /// Who stands behind a token that `by` makes, and until when it may live.
    async fn maker(&self, by: &Actor) -> Result<(Maker, Option<Timestamp>), AccessError> {
        let actor = by.id.clone();
        match &by.origin {
            Origin::Session { person, session } => {
                let (session, _) = self.live_session(session).await?.ok_or(AccessError::Unauthenticated)?;
                let owner = TokenOwner { person: person.clone(), uid: session.record.uid };
                Ok((Maker { actor, owner: Some(owner), parent: None }, None))
            }
            Origin::Token { token_id } => {
                let parent = self.live_token(token_id).await?.ok_or(AccessError::Unauthenticated)?;
                if parent.record.parent.is_some() {
                    self.audit_denial(&by.id, "api-token.create", "").await;
                    return Err(AccessError::Denied { actor });
                }
                let end = parent.record.details.expires_at;
                let maker = Maker { actor, owner: parent.record.owner, parent: Some(token_id.clone()) };
                Ok((maker, Some(end)))
            }
            Origin::Program => Ok((Maker { actor, owner: None, parent: None }, None)),
        }
    }

    /// An API token for whoever works on the aggregator's own machine: bound by its own grants alone.
    ///
    /// # Errors
    /// When the request is not acceptable, or the store fails.
    pub async fn issue_local_api_token(
        &self,
        name: &str,
        grants: Vec<Grant>,
        ttl: Duration,
    ) -> Result<CreatedApiToken, AccessError> {
        parse_grants(&grants)?;
        let _turn = self.shared.turn.lock().await;
        let maker = Maker { actor: "local".to_owned(), owner: None, parent: None };
        let request = ApiTokenRequest { name: name.to_owned(), grants, ttl_seconds: ttl.as_secs() };
        self.make_token(maker, request).await
    }

    async fn make_token(
        &self,
        maker: Maker,
        request: ApiTokenRequest,
    ) -> Result<CreatedApiToken, AccessError> {
        check(&request)?;
        let now = self.clock.now();
        let tokens = self.all::<TokenRecord>("api-token").await?;
        let (live, expired): (Vec<_>, Vec<_>) =
            tokens.iter().partition(|stored| now < stored.record.details.expires_at);
        if live.len() >= TOKENS_MAX {
            let text =
                format!("there are {TOKENS_MAX} API tokens already; revoke some that are no longer used");
            return Err(AccessError::Invalid(text));
        }
        let (text, token_id, digest) = secret::draw_token();
        let details = ApiToken {
            token_id,
            name: request.name,
            grants: request.grants,
            created_by: maker.actor.clone(),
            created_at: now,
            expires_at: now + Duration::from_secs(request.ttl_seconds),
        };
        let stored = TokenRecord {
            secret: digest,
            details: details.clone(),
            owner: maker.owner,
            parent: maker.parent,
        };
        let key = self.keys.of("api-token", &details.token_id);
        let mut writes: Vec<Write> = expired.into_iter().take(CLEARED_MAX).map(Stored::delete).collect();
        writes.push(Write::put(key.clone(), to_json(&stored)));
        let detail = format!("{}; {}; until {}", details.name, describe(&details.grants), details.expires_at);
        let record =
            done(&maker.actor, "api-token.create", format!("api-token/{}", details.token_id), detail);
        self.change(vec![Compare::Absent(key)], writes, record).await?;
        Ok(CreatedApiToken { token: text, details })
    }

    /// Revokes one: the caller's own, or anybody's with `ManagePeople`.
    ///
    /// # Errors
    /// When there is no such token that the caller may see, or the store fails.
    pub async fn revoke_api_token(&self, by: &Actor, token_id: &str) -> Result<(), AccessError> {
        let not_found = || AccessError::NotFound("API token");
        // What is no id is in no key.
        if token_id.len() > NAME_BYTES_MAX || !token_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let _turn = self.shared.turn.lock().await;
        let stored = self.read::<TokenRecord>("api-token", token_id).await?.ok_or_else(not_found)?;
        let target = format!("api-token/{token_id}");
        if !is_own(by, &stored.record) && !by.may(Permission::ManagePeople, None) {
            self.audit_denial(&by.id, "api-token.revoke", &target).await;
            return Err(not_found());
        }
        let record = done(&by.id, "api-token.revoke", target, stored.record.details.name.clone());
        self.change(vec![stored.unchanged()], vec![stored.delete()], record).await
    }
}

fn check(request: &ApiTokenRequest) -> Result<(), AccessError> {
    let name = &request.name;
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let text = format!("an API token has a name of 1 to {NAME_BYTES_MAX} bytes that says what it is for");
        return Err(AccessError::Invalid(text));
    }
    if !TTL_SECONDS.contains(&request.ttl_seconds) {
        let text = format!("an API token lives {} to {} seconds", TTL_SECONDS.start(), TTL_SECONDS.end());
        return Err(AccessError::Invalid(text));
    }
    Ok(())
}

/// A person's own are those they made, by whatever token; a token's own are itself and those it made.
fn is_own(by: &Actor, token: &TokenRecord) -> bool {
    match &by.origin {
        Origin::Session { person, .. } => token.owner.as_ref().is_some_and(|owner| owner.person == *person),
        Origin::Token { token_id } => {
            token.details.token_id == *token_id || token.parent.as_ref() == Some(token_id)
        }
        Origin::Program => false,
    }
}
