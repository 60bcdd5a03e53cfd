//! What is stored of people, sessions, links and API tokens. Secrets only as their digest, but for that of the second
//! factor, which is needed to check a code: the store's file is its owner's alone.

use campanile_common::api::{ApiToken, Grant, Person};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::password::PasswordHash;
use super::totp::SecondFactor;
use crate::state::{Compare, Record, Revision, Write, to_json};

/// Tells a person from a later one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PersonUid(pub(super) Digest);

/// A person.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PersonRecord {
    pub(super) name: String,
    pub(super) uid: PersonUid,
    pub(super) grants: Vec<Grant>,
    pub(super) password: Option<PasswordHash>,
    pub(super) totp: Option<SecondFactor>,
    /// Being set up, since then.
    pub(super) pending_totp: Option<(SecondFactor, Timestamp)>,
    /// The one link that is valid.
    pub(super) link: Option<Digest>,
    /// Their sessions, oldest first.
    pub(super) sessions: Vec<Digest>,
    pub(super) created_at: Timestamp,
}

/// A session.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    pub(super) person: String,
    pub(super) uid: PersonUid,
    pub(super) created_at: Timestamp,
    /// To within [`super::session::TOUCH_EVERY`].
    pub(super) used_at: Timestamp,
    /// Signed in with a link: a password may be set without the old one for a while.
    pub(super) is_from_link: bool,
}

/// A one-time sign-in link.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct LinkRecord {
    pub(super) person: String,
    pub(super) uid: PersonUid,
    pub(super) expires_at: Timestamp,
}

/// Whose grants bound an API token's for as long as it lives.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TokenOwner {
    pub(super) person: String,
    pub(super) uid: PersonUid,
}

/// An API token.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) secret: Digest,
    pub(super) details: ApiToken,
    /// None when it was made on the aggregator's own machine.
    pub(super) owner: Option<TokenOwner>,
    /// The token that made it: it ends with that one.
    pub(super) parent: Option<String>,
}

/// Written with every change of who there is and what they may do, so that such changes are made one after the other.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct PeopleGuard {
    pub(super) changes: u64,
}

impl Record for PersonRecord {}
impl Record for SessionRecord {}
impl Record for LinkRecord {}
impl Record for TokenRecord {}
impl Record for PeopleGuard {}

impl PersonRecord {
    /// As the API shows them.
    pub(super) fn to_person(&self, locked_until: Option<Timestamp>) -> Person {
        Person {
            name: self.name.clone(),
            grants: self.grants.clone(),
            has_password: self.password.is_some(),
            has_totp: self.totp.is_some(),
            created_at: self.created_at,
            locked_until,
        }
    }
}

/// A record with its key and the commit that wrote it.
#[derive(Clone)]
pub(super) struct Stored<T> {
    pub(super) key: String,
    pub(super) record: T,
    pub(super) revision: Revision,
}

impl<T: Record> Stored<T> {
    /// Holds when nobody changed it since.
    pub(super) fn unchanged(&self) -> Compare {
        Compare::At(self.key.clone(), self.revision)
    }

    /// Writes it back.
    pub(super) fn put(&self) -> Write {
        Write::put(self.key.clone(), to_json(&self.record))
    }

    /// Removes it.
    pub(super) fn delete(&self) -> Write {
        Write::Delete { key: self.key.clone() }
    }
}
