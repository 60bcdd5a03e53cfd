//! Sessions: found by the digest of their secret, ended by time, by their person, or with their person.

use std::sync::Arc;
use std::time::Duration;

use campanile_common::id::Digest;
use campanile_common::time::Timestamp;

use super::record::{PersonRecord, SessionRecord, Stored};
use super::roles::Scope;
use super::secret::{self, Purpose};
use super::{Access, AccessError, Actor, NewSession, Origin, done, lock};
use crate::state::{Committed, Compare, Transaction, Write, to_json};

/// A session that is not used for so long ends.
const IDLE_MAX: Duration = Duration::from_secs(12 * 3600);
/// A session ends after so long, used or not.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How exactly it is known when a session was last used: each time costs a sync.
pub(super) const TOUCH_EVERY: Duration = Duration::from_secs(600);
/// Sessions of one person; one more ends the oldest.
const SESSIONS_MAX: usize = 16;

impl SessionRecord {
    fn ends(&self) -> Timestamp {
        (self.created_at + AGE_MAX).min(self.used_at + IDLE_MAX)
    }
}

/// A session that is about to be written.
pub(super) struct Opened {
    secret: String,
    digest: Digest,
    record: SessionRecord,
}

impl Access {
    /// Who has this session cookie.
    ///
    /// # Errors
    /// When there is no such session any more, or the store fails.
    pub async fn session(&self, secret: &str) -> Result<Actor, AccessError> {
        let digest = secret::read(Purpose::Session, secret).ok_or(AccessError::Unauthenticated)?;
        let now = self.clock.now();
        let generation = {
            let cache = lock(&self.shared.cache);
            if let Some(actor) = cache.get(&digest, now) {
                return Ok(actor);
            }
            cache.generation()
        };
        let (stored, person) = self.live_session(&digest).await?.ok_or(AccessError::Unauthenticated)?;
        if now.since(stored.record.used_at) >= TOUCH_EVERY {
            self.touch(&stored, now).await;
        }
        let used = SessionRecord { used_at: stored.record.used_at.max(now), ..stored.record };
        let actor = actor_of(&person.record, digest, &used);
        lock(&self.shared.cache).put(digest, actor.clone(), now, generation);
        Ok(actor)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the store fails; a session that has ended already is no error.
    pub async fn sign_out(&self, secret: &str) -> Result<(), AccessError> {
        let Some(digest) = secret::read(Purpose::Session, secret) else { return Ok(()) };
        let _turn = self.shared.turn.lock().await;
        let Some((session, mut person)) = self.live_session(&digest).await? else { return Ok(()) };
        person.record.sessions.retain(|other| *other != digest);
        let name = &person.record.name;
        let record = done(&format!("person:{name}"), "session.end", format!("person/{name}"), String::new());
        self.change(vec![person.unchanged()], vec![person.put(), session.delete()], record).await
    }

    /// A session with its person; none when it has ended.
    pub(super) async fn live_session(
        &self,
        digest: &Digest,
    ) -> Result<Option<(Stored<SessionRecord>, Stored<PersonRecord>)>, AccessError> {
        let Some(session) = self.read::<SessionRecord>("session", &digest.to_string()).await? else {
            return Ok(None);
        };
        let Some(person) = self.person(&session.record.person).await? else { return Ok(None) };
        let is_live = person.record.uid == session.record.uid
            && person.record.sessions.contains(digest)
            && self.clock.now() < session.record.ends();
        Ok(is_live.then_some((session, person)))
    }

    /// Notes that a session is in use. When that fails the session ends a little early, at worst.
    async fn touch(&self, stored: &Stored<SessionRecord>, now: Timestamp) {
        let used =
            Stored { record: SessionRecord { used_at: now, ..stored.record.clone() }, ..stored.clone() };
        let transaction = Transaction { compares: vec![stored.unchanged()], writes: vec![used.put()] };
        match self.store.commit(transaction).await {
            Ok(Committed::Done(_) | Committed::Conflict) => {}
            Err(error) => tracing::warn!(error = %error, "the use of a session cannot be noted"),
        }
    }

    /// Adds a new session to its person; returns what else is to be compared and written with the person's record.
    pub(super) fn open_session(
        &self,
        person: &mut PersonRecord,
        is_from_link: bool,
    ) -> (Opened, Vec<Compare>, Vec<Write>) {
        let (secret, digest) = secret::draw(Purpose::Session);
        let now = self.clock.now();
        let record = SessionRecord {
            person: person.name.clone(),
            uid: person.uid,
            created_at: now,
            used_at: now,
            is_from_link,
        };
        let key = self.session_key(&digest);
        let (compares, mut writes) =
            (vec![Compare::Absent(key.clone())], vec![Write::put(key, to_json(&record))]);
        person.sessions.push(digest);
        while person.sessions.len() > SESSIONS_MAX {
            let oldest = person.sessions.remove(0);
            writes.push(Write::Delete { key: self.session_key(&oldest) });
        }
        (Opened { secret, digest, record }, compares, writes)
    }

    pub(super) fn session_key(&self, digest: &Digest) -> String {
        self.keys.of("session", &digest.to_string())
    }
}

impl Opened {
    /// What the caller gets, once it is written.
    pub(super) fn into_new(self, person: &PersonRecord) -> NewSession {
        NewSession { actor: actor_of(person, self.digest, &self.record), secret: self.secret }
    }
}

fn actor_of(person: &PersonRecord, session: Digest, record: &SessionRecord) -> Actor {
    Actor {
        id: format!("person:{}", person.name),
        name: person.name.clone(),
        grants: person.grants.clone(),
        expires_at: record.ends(),
        scopes: Arc::from([Scope::of_stored(&person.grants)]),
        origin: Origin::Session { person: person.name.clone(), session },
    }
}
