//! People: added, granted, removed; and the links with which they first sign in.

use std::time::Duration;

use campanile_common::api::{AccessRole, CreatedPerson, Grant, Person, PersonRequest};
use campanile_common::id::Digest;

use super::record::{LinkRecord, PersonRecord, PersonUid, Stored, TokenRecord};
use super::secret::{self, Purpose};
use super::{Access, AccessError, Actor, Permission, describe, done, lock, parse_grants};
use crate::os::random;
use crate::state::{Compare, TRANSACTION_OPERATIONS_MAX, Write, to_json};

/// How long a sign-in link is valid.
const LINK_TTL: Duration = Duration::from_secs(24 * 3600);
/// Most people of one fleet.
const PEOPLE_MAX: usize = 1000;
/// Longest sign-in name.
const NAME_BYTES_MAX: usize = 64;
/// Writes of one transaction that are left beside a person's API tokens and sessions.
const TOKENS_AT_ONCE: usize = TRANSACTION_OPERATIONS_MAX / 2;
/// Who the first person is.
const FIRST_PERSON: &str = "admin";

/// Lower case, so that there are no two people whose names differ in case alone.
pub(super) fn check_name(name: &str) -> Result<(), AccessError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let is_good = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(fits)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if is_good {
        return Ok(());
    }
    let text = format!(
        "a name has 1 to {NAME_BYTES_MAX} lower-case letters, digits, `-`, `_` or `.`, and begins with a letter or digit"
    );
    Err(AccessError::Invalid(text))
}

/// An admin is who may manage people: without one nobody could make another.
fn is_admin(grants: &[Grant]) -> bool {
    let over_everything = |grant: &Grant| {
        grant
            .selector
            .parse()
            .is_ok_and(|selector: campanile_common::selector::Selector| selector.is_everything())
    };
    grants.iter().any(|grant| grant.role == AccessRole::Admin && over_everything(grant))
}

impl Access {
    /// All people.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn people(&self) -> Result<Vec<Person>, AccessError> {
        let people = self.all::<PersonRecord>("person").await?;
        Ok(people.iter().map(|stored| self.shown(&stored.record)).collect())
    }

    fn shown(&self, person: &PersonRecord) -> Person {
        let locked_until = lock(&self.shared.lockout).locked_until(self.clock.now(), &person.name);
        person.to_person(locked_until)
    }

    /// Adds a person.
    ///
    /// # Errors
    /// When the caller may not, the name is taken or not acceptable, or the store fails.
    pub async fn add_person(&self, by: &Actor, request: PersonRequest) -> Result<CreatedPerson, AccessError> {
        self.require(by, Permission::ManagePeople, "person.add").await?;
        check_name(&request.name)?;
        self.check_grants(by, &request.grants, "person.add").await?;
        let _turn = self.shared.turn.lock().await;
        self.create_person(&by.id, request).await
    }

    /// Nobody gives what they have not got.
    async fn check_grants(
        &self,
        by: &Actor,
        grants: &[Grant],
        action: &'static str,
    ) -> Result<(), AccessError> {
        if by.covers(&parse_grants(grants)?) {
            return Ok(());
        }
        self.audit_denial(&by.id, action, "").await;
        Err(AccessError::Denied { actor: by.id.clone() })
    }

    async fn create_person(&self, actor: &str, request: PersonRequest) -> Result<CreatedPerson, AccessError> {
        let people = self.all::<PersonRecord>("person").await?;
        if people.iter().any(|stored| stored.record.name == request.name) {
            return Err(AccessError::Invalid(format!("a person named `{}` exists", request.name)));
        }
        if people.len() >= PEOPLE_MAX {
            return Err(AccessError::Invalid(format!("there are {PEOPLE_MAX} people already")));
        }
        let (guard, guard_write) = self.people_guard().await?;
        let mut person = PersonRecord {
            name: request.name,
            uid: PersonUid(Digest::from_bytes(random::bytes())),
            grants: request.grants,
            password: None,
            totp: None,
            pending_totp: None,
            link: None,
            sessions: Vec::new(),
            created_at: self.clock.now(),
        };
        let (link, mut writes) = self.replace_link(&mut person);
        let key = self.keys.of("person", &person.name);
        writes.extend([guard_write, Write::put(key.clone(), to_json(&person))]);
        let target = format!("person/{}", person.name);
        let record = done(actor, "person.add", target, describe(&person.grants));
        self.change(vec![guard, Compare::Absent(key)], writes, record).await?;
        Ok(CreatedPerson { person: self.shown(&person), link })
    }

    /// Gives a person a new link; the one before is no longer valid. The person's record is to be written with it.
    fn replace_link(&self, person: &mut PersonRecord) -> (String, Vec<Write>) {
        let (secret, digest) = secret::draw(Purpose::Link);
        let record = LinkRecord {
            person: person.name.clone(),
            uid: person.uid,
            expires_at: self.clock.now() + LINK_TTL,
        };
        let mut writes = vec![Write::put(self.link_key(&digest), to_json(&record))];
        if let Some(old) = person.link.replace(digest) {
            writes.push(Write::Delete { key: self.link_key(&old) });
        }
        (format!("/signin#link={secret}"), writes)
    }

    fn link_key(&self, digest: &Digest) -> String {
        self.keys.of("link", &digest.to_string())
    }

    /// Removes a person and ends their sessions and API tokens.
    ///
    /// # Errors
    /// When the caller may not, there is no such person, it is the last admin, or the store fails.
    pub async fn remove_person(&self, by: &Actor, name: &str) -> Result<(), AccessError> {
        self.require(by, Permission::ManagePeople, "person.remove").await?;
        let _turn = self.shared.turn.lock().await;
        let (guard, guard_write) = self.people_guard().await?;
        let person = self.person(name).await?.ok_or(AccessError::NotFound("person"))?;
        self.check_admin_left(name, &[]).await?;
        // The tokens end with the person's record: whoever bears one is held against it. Their records go as far as one
        // transaction takes them, the rest when they expire.
        let tokens = self.all::<TokenRecord>("api-token").await?;
        let owned = tokens.iter().filter(|token| is_owned_by(&token.record, &person));
        let mut writes: Vec<Write> = owned.map(Stored::delete).take(TOKENS_AT_ONCE).collect();
        writes.extend(
            person.record.sessions.iter().map(|digest| Write::Delete { key: self.session_key(digest) }),
        );
        writes.extend(person.record.link.iter().map(|link| Write::Delete { key: self.link_key(link) }));
        writes.extend([guard_write, person.delete()]);
        let detail = "their sessions and API tokens ended".to_owned();
        let record = done(&by.id, "person.remove", format!("person/{name}"), detail);
        self.change(vec![guard, person.unchanged()], writes, record).await
    }

    /// Sets a person's grants; live sessions see it at once.
    ///
    /// # Errors
    /// When the caller may not, there is no such person, it is the last admin, or the store fails.
    pub async fn set_grants(
        &self,
        by: &Actor,
        name: &str,
        grants: Vec<Grant>,
    ) -> Result<Person, AccessError> {
        self.require(by, Permission::ManagePeople, "person.grant").await?;
        self.check_grants(by, &grants, "person.grant").await?;
        let _turn = self.shared.turn.lock().await;
        let (guard, guard_write) = self.people_guard().await?;
        let mut person = self.person(name).await?.ok_or(AccessError::NotFound("person"))?;
        self.check_admin_left(name, &grants).await?;
        let detail = format!("{}; before: {}", describe(&grants), describe(&person.record.grants));
        person.record.grants = grants;
        let record = done(&by.id, "person.grant", format!("person/{name}"), detail);
        self.change(vec![guard, person.unchanged()], vec![guard_write, person.put()], record).await?;
        Ok(self.shown(&person.record))
    }

    /// Fails when nobody would be an admin once `name` has only `grants`.
    async fn check_admin_left(&self, name: &str, grants: &[Grant]) -> Result<(), AccessError> {
        let people = self.all::<PersonRecord>("person").await?;
        let others = people.iter().filter(|stored| stored.record.name != name);
        if is_admin(grants) || others.into_iter().any(|stored| is_admin(&stored.record.grants)) {
            return Ok(());
        }
        let text = format!("`{name}` is the last admin; make another person admin first");
        Err(AccessError::Invalid(text))
    }

    /// A new one-time link for a person (password forgotten).
    ///
    /// # Errors
    /// When the caller may not, there is no such person, or the store fails.
    pub async fn new_link(&self, by: &Actor, name: &str) -> Result<CreatedPerson, AccessError> {
        self.require(by, Permission::ManagePeople, "person.link").await?;
        let _turn = self.shared.turn.lock().await;
        self.issue_link(&by.id, name).await
    }

    async fn issue_link(&self, actor: &str, name: &str) -> Result<CreatedPerson, AccessError> {
        let mut person = self.person(name).await?.ok_or(AccessError::NotFound("person"))?;
        let (link, mut writes) = self.replace_link(&mut person.record);
        writes.push(person.put());
        let record = done(actor, "person.link", format!("person/{name}"), String::new());
        self.change(vec![person.unchanged()], writes, record).await?;
        Ok(CreatedPerson { person: self.shown(&person.record), link })
    }

    /// A one-time link, for whoever works on the aggregator's own machine. Adds the first person when there is none.
    ///
    /// # Errors
    /// When there is no such person, or the store fails.
    pub async fn issue_local_link(&self, name: &str) -> Result<CreatedPerson, AccessError> {
        if name == FIRST_PERSON
            && let Some(created) = self.add_first_person("local").await?
        {
            return Ok(created);
        }
        let _turn = self.shared.turn.lock().await;
        self.issue_link("local", name).await
    }

    /// Adds the person `admin`, with a one-time link, when there are no people; none when there are.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ensure_first_person(&self) -> Result<Option<CreatedPerson>, AccessError> {
        self.add_first_person("aggregator").await
    }

    async fn add_first_person(&self, actor: &str) -> Result<Option<CreatedPerson>, AccessError> {
        let _turn = self.shared.turn.lock().await;
        if !self.all::<PersonRecord>("person").await?.is_empty() {
            return Ok(None);
        }
        let grants = vec![Grant { role: AccessRole::Admin, selector: String::new() }];
        let request = PersonRequest { name: FIRST_PERSON.to_owned(), grants };
        match self.create_person(actor, request).await {
            // Another process was faster.
            Err(AccessError::Conflict) => Ok(None),
            result => result.map(Some),
        }
    }
}

fn is_owned_by(token: &TokenRecord, person: &Stored<PersonRecord>) -> bool {
    token.owner.as_ref().is_some_and(|owner| owner.uid == person.record.uid)
}
