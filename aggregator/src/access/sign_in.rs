//! Signing in, with a password and second factor or with a one-time link; and a person's own password and second
//! factor.

use std::time::Duration;

use campanile_common::api::{AuditOutcome, PasswordChange, SignIn, TotpSetup};
use campanile_common::time::Timestamp;

use super::password;
use super::record::{LinkRecord, PersonRecord, SessionRecord, Stored};
use super::secret::{self, Purpose};
use super::totp::SecondFactor;
use super::{Access, AccessError, Actor, NewSession, Origin, done, lock};
use crate::state::Write;

/// Tries when a record was changed by another process at the same moment.
const TRIES_MAX: usize = 4;
/// How long after signing in with a link a password may be set without the old one.
const LINK_GRACE: Duration = Duration::from_secs(15 * 60);
/// How long a second factor may take to be confirmed.
const SETUP_MAX: Duration = Duration::from_secs(15 * 60);

const SIGN_IN: &str = "session.start";

impl Access {
    /// Signs in with a password and second factor. `source` is the caller's address, for lock-out and audit.
    ///
    /// # Errors
    /// When it is refused, or the store fails.
    pub async fn sign_in(&self, request: SignIn, source: &str) -> Result<NewSession, AccessError> {
        let name = request.name.to_lowercase();
        self.begin_attempt(&name, source).await?;
        let result = self.try_sign_in(&name, &request, source).await;
        match &result {
            Ok(_) => lock(&self.shared.lockout).succeed(&name, source),
            // Neither a wrong password nor a wrong code: nothing was guessed.
            Err(AccessError::SecondFactor) if request.totp.is_none() => {
                lock(&self.shared.lockout).forgive(&name, source);
            }
            Err(AccessError::State(_) | AccessError::Conflict) => {
                lock(&self.shared.lockout).forgive(&name, source);
            }
            Err(error) => self.audit_failure(&name, source, &error.to_string()).await,
        }
        result
    }

    async fn begin_attempt(&self, name: &str, source: &str) -> Result<(), AccessError> {
        let begun = lock(&self.shared.lockout).begin(self.clock.now(), name, source);
        let Err(wait) = begun else { return Ok(()) };
        let locked = AccessError::Locked { seconds: wait.as_secs().max(1) };
        self.audit_failure(name, source, &locked.to_string()).await;
        Err(locked)
    }

    async fn audit_failure(&self, name: &str, source: &str, problem: &str) {
        let detail = format!("from {source}: {problem}");
        let target = format!("person/{name}");
        self.audit_refusal("aggregator", SIGN_IN, &target, AuditOutcome::Failed, &detail).await;
    }

    async fn try_sign_in(
        &self,
        name: &str,
        request: &SignIn,
        source: &str,
    ) -> Result<NewSession, AccessError> {
        let person = self.person(name).await?;
        let stored = person.as_ref().and_then(|person| person.record.password.as_ref());
        let is_right = self.hasher.verify(&request.password, stored).await?;
        let (true, Some(verified)) = (is_right, person) else { return Err(AccessError::Unauthenticated) };
        let _turn = self.shared.turn.lock().await;
        for _ in 0..TRIES_MAX {
            // Read again: hashing took a while, and another sign-in may have used the same code.
            let mut person = self.person(name).await?.ok_or(AccessError::Unauthenticated)?;
            if !has_same_password(&person.record, &verified.record) {
                return Err(AccessError::Unauthenticated);
            }
            if let Some(factor) = &mut person.record.totp {
                let code = request.totp.as_deref().ok_or(AccessError::SecondFactor)?;
                if !factor.accept(code, self.clock.now()) {
                    return Err(AccessError::SecondFactor);
                }
            }
            match self.start_session(person, Vec::new(), None, source).await {
                Err(AccessError::Conflict) => {}
                result => return result,
            }
        }
        Err(AccessError::Conflict)
    }

    /// Signs in with a one-time link's secret. Whoever has the link needs no second factor: an admin, or somebody on the
    /// aggregator's own machine, has vouched for them.
    ///
    /// # Errors
    /// When the link is not valid (any more), or the store fails.
    pub async fn sign_in_with_link(&self, link: &str, source: &str) -> Result<NewSession, AccessError> {
        let result = self.try_link(link, source).await;
        if let Err(AccessError::Unauthenticated) = result {
            self.audit_failure("?", source, "a sign-in link that is not valid").await;
        }
        result
    }

    async fn try_link(&self, link: &str, source: &str) -> Result<NewSession, AccessError> {
        let digest = secret::read(Purpose::Link, link).ok_or(AccessError::Unauthenticated)?;
        let _turn = self.shared.turn.lock().await;
        for _ in 0..TRIES_MAX {
            let stored = self.read::<LinkRecord>("link", &digest.to_string()).await?;
            let stored = stored.ok_or(AccessError::Unauthenticated)?;
            let person = self.person(&stored.record.person).await?;
            let mut person = person.ok_or(AccessError::Unauthenticated)?;
            let is_valid = person.record.uid == stored.record.uid
                && person.record.link == Some(digest)
                && self.clock.now() < stored.record.expires_at;
            if !is_valid {
                return Err(AccessError::Unauthenticated);
            }
            person.record.link = None;
            match self.start_session(person, vec![stored.delete()], Some(&stored), source).await {
                Err(AccessError::Conflict) => {}
                result => return result,
            }
        }
        Err(AccessError::Conflict)
    }

    async fn start_session(
        &self,
        mut person: Stored<PersonRecord>,
        mut writes: Vec<Write>,
        link: Option<&Stored<LinkRecord>>,
        source: &str,
    ) -> Result<NewSession, AccessError> {
        let (opened, mut compares, session_writes) = self.open_session(&mut person.record, link.is_some());
        compares.push(person.unchanged());
        compares.extend(link.map(Stored::unchanged));
        writes.extend(session_writes);
        writes.push(person.put());
        let name = &person.record.name;
        let with = if link.is_some() { "a one-time link" } else { "a password" };
        let detail = format!("from {source} with {with}");
        let record = done(&format!("person:{name}"), SIGN_IN, format!("person/{name}"), detail);
        self.change(compares, writes, record).await?;
        Ok(opened.into_new(&person.record))
    }

    /// Sets the caller's own password; ends their other sessions.
    ///
    /// # Errors
    /// When the old password is wrong or the new one not acceptable, when the caller is no person, or the store fails.
    pub async fn set_password(&self, by: &Actor, change: PasswordChange) -> Result<(), AccessError> {
        password::check(&change.new)?;
        let (session, person) = self.own_records(by, "person.set-password").await?;
        self.prove_identity(by, &session.record, &person.record, change.current.as_deref()).await?;
        let hash = self.hasher.hash(&change.new).await?;
        let _turn = self.shared.turn.lock().await;
        let (session, mut now) = self.own_records(by, "person.set-password").await?;
        if !has_same_password(&now.record, &person.record) {
            return Err(AccessError::Conflict);
        }
        let link =
            now.record.link.take().map(|link| Write::Delete { key: self.keys.of("link", &link.to_string()) });
        let mut writes: Vec<Write> = link.into_iter().collect();
        for other in std::mem::take(&mut now.record.sessions) {
            if self.session_key(&other) == session.key {
                now.record.sessions.push(other);
            } else {
                writes.push(Write::Delete { key: self.session_key(&other) });
            }
        }
        now.record.password = Some(hash);
        // From now on this session is like any other: the next change needs the password.
        let settled =
            Stored { record: SessionRecord { is_from_link: false, ..session.record.clone() }, ..session };
        writes.extend([now.put(), settled.put()]);
        let target = format!("person/{}", now.record.name);
        let record = done(&by.id, "person.set-password", target, "their other sessions ended".to_owned());
        self.change(vec![now.unchanged(), settled.unchanged()], writes, record).await
    }

    /// The old password, or a sign-in with a link a moment ago.
    async fn prove_identity(
        &self,
        by: &Actor,
        session: &SessionRecord,
        person: &PersonRecord,
        current: Option<&str>,
    ) -> Result<(), AccessError> {
        let is_fresh = session.is_from_link && self.clock.now().since(session.created_at) <= LINK_GRACE;
        let Some(current) = current else {
            let missing = || AccessError::Invalid("the current password is needed".to_owned());
            return if is_fresh { Ok(()) } else { Err(missing()) };
        };
        // Whoever took over a session must not guess the password with it.
        self.begin_attempt(&person.name, &by.id).await?;
        if self.hasher.verify(current, person.password.as_ref()).await? {
            lock(&self.shared.lockout).succeed(&person.name, &by.id);
            return Ok(());
        }
        self.audit_failure(&person.name, &by.id, "a wrong password, to set a new one").await;
        Err(AccessError::Unauthenticated)
    }

    /// Begins setting up the caller's second factor; the one in force stays until the new one is confirmed.
    ///
    /// # Errors
    /// When the caller is no person, or the store fails.
    pub async fn begin_totp(&self, by: &Actor) -> Result<TotpSetup, AccessError> {
        let _turn = self.shared.turn.lock().await;
        let (_, mut person) = self.own_records(by, "person.begin-totp").await?;
        let factor = SecondFactor::draw();
        let setup = TotpSetup { secret: factor.secret().to_owned(), uri: factor.uri(&person.record.name) };
        person.record.pending_totp = Some((factor, self.clock.now()));
        let target = format!("person/{}", person.record.name);
        let record = done(&by.id, "person.begin-totp", target, String::new());
        self.change(vec![person.unchanged()], vec![person.put()], record).await?;
        Ok(setup)
    }

    /// Confirms it with a first code.
    ///
    /// # Errors
    /// When the code is wrong, nothing is being set up, the caller is no person, or the store fails.
    pub async fn confirm_totp(&self, by: &Actor, code: &str) -> Result<(), AccessError> {
        let _turn = self.shared.turn.lock().await;
        let (_, mut person) = self.own_records(by, "person.confirm-totp").await?;
        let now = self.clock.now();
        let is_current = |(_, since): &(SecondFactor, Timestamp)| now.since(*since) <= SETUP_MAX;
        let pending = person.record.pending_totp.take().filter(is_current);
        let Some((mut factor, _)) = pending else {
            let text = "no second factor is being set up, or it took too long; begin again";
            return Err(AccessError::Invalid(text.to_owned()));
        };
        if !factor.accept(code, now) {
            return Err(AccessError::SecondFactor);
        }
        person.record.totp = Some(factor);
        let target = format!("person/{}", person.record.name);
        let record = done(&by.id, "person.confirm-totp", target, String::new());
        self.change(vec![person.unchanged()], vec![person.put()], record).await
    }

    /// The caller's own session and person; a token or a session that has ended has none.
    async fn own_records(
        &self,
        by: &Actor,
        action: &'static str,
    ) -> Result<(Stored<SessionRecord>, Stored<PersonRecord>), AccessError> {
        match &by.origin {
            Origin::Session { session, .. } => {
                self.live_session(session).await?.ok_or(AccessError::Unauthenticated)
            }
            Origin::Token { .. } | Origin::Program => {
                self.audit_denial(&by.id, action, "").await;
                Err(AccessError::Denied { actor: by.id.clone() })
            }
        }
    }
}

/// Whether what was verified against one still holds for the other.
fn has_same_password(one: &PersonRecord, other: &PersonRecord) -> bool {
    one.uid == other.uid
        && match (&one.password, &other.password) {
            (Some(one), Some(other)) => one.is_same(other),
            (None, None) => true,
            _ => false,
        }
}
