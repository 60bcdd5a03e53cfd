//! skeleton of people, sessions, API tokens and roles

use campanile_common::api::{
    ApiToken, ApiTokenRequest, CreatedApiToken, CreatedPerson, Grant, PasswordChange, Person, PersonRequest,
    SignIn, TotpSetup,
};
use campanile_common::selector::Subject;
use campanile_common::time::Timestamp;

use crate::state::StateError;

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Actor {
    /// `person:NAME` or `token:ID`; as audited.
    pub id: String,
    /// For people to read.
    pub name: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// When the session or token ends.
    pub expires_at: Timestamp,
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// See nodes, health, values, events, connections. (every role)
    Read,
    /// Name and label nodes. (operator, security, admin)
    EditNode,
    /// List processes of a node. (operator, deployer, backup, security, admin)
    Observe,
    /// Retire nodes. (security, admin)
    RetireNode,
    /// Make, list and revoke enrolment tokens. (security, admin)
    Enroll,
    /// Read and verify the audit log. (security, admin)
    ReadAudit,
    /// Add, change and remove people; see and revoke others' API tokens. (admin)
    ManagePeople,
    /// Change the aggregator's log level. (admin)
    Administer,
}

/// Why access was refused. Texts never tell whether a name exists.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No or wrong credentials.
    #[error("not signed in, or the credentials are wrong")]
    Unauthenticated,
    /// The second factor is missing or wrong.
    #[error("a current code of the second factor is needed")]
    SecondFactor,
    /// Too many failures.
    #[error("locked after too many failures; try again in {seconds} s")]
    Locked {
        /// Seconds.
        seconds: u64,
    },
    /// Signed in, not permitted.
    #[error("{actor} has no role that permits this")]
    Denied {
        /// Who.
        actor: String,
    },
    /// The request is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// No such person or token.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// Somebody else changed it at the same moment.
    #[error("changed by somebody else at the same moment; try again")]
    Conflict,
    /// The store failed.
    #[error("access records cannot be reached")]
    State(#[from] StateError),
}

/// A new session: the secret goes into the cookie and nowhere else.
#[derive(Debug)]
pub struct NewSession {
    /// Value of the cookie.
    pub secret: String,
    /// Who signed in.
    pub actor: Actor,
}

/// Handle of access records.
#[derive(Debug, Clone)]
pub struct Access {}

impl Access {
    /// Who bears this API token.
    pub async fn bearer(&self, _token: &str) -> Result<Actor, AccessError> {
        unimplemented!()
    }
    /// Who has this session cookie.
    pub async fn session(&self, _secret: &str) -> Result<Actor, AccessError> {
        unimplemented!()
    }
    /// Signs in with a password and second factor. `source` is the caller's address, for lock-out and audit.
    pub async fn sign_in(&self, _request: SignIn, _source: &str) -> Result<NewSession, AccessError> {
        unimplemented!()
    }
    /// Signs in with a one-time link's secret.
    pub async fn sign_in_with_link(&self, _link: &str, _source: &str) -> Result<NewSession, AccessError> {
        unimplemented!()
    }
    /// Ends a session.
    pub async fn sign_out(&self, _secret: &str) -> Result<(), AccessError> {
        unimplemented!()
    }
    /// All people.
    pub async fn people(&self) -> Result<Vec<Person>, AccessError> {
        unimplemented!()
    }
    /// Adds a person.
    pub async fn add_person(
        &self,
        _by: &Actor,
        _request: PersonRequest,
    ) -> Result<CreatedPerson, AccessError> {
        unimplemented!()
    }
    /// Removes a person and ends their sessions and API tokens.
    pub async fn remove_person(&self, _by: &Actor, _name: &str) -> Result<(), AccessError> {
        unimplemented!()
    }
    /// Sets a person's grants; live sessions see it at once.
    pub async fn set_grants(
        &self,
        _by: &Actor,
        _name: &str,
        _grants: Vec<Grant>,
    ) -> Result<Person, AccessError> {
        unimplemented!()
    }
    /// A new one-time link for a person (password forgotten).
    pub async fn new_link(&self, _by: &Actor, _name: &str) -> Result<CreatedPerson, AccessError> {
        unimplemented!()
    }
    /// Sets the caller's own password; ends their other sessions.
    pub async fn set_password(&self, _by: &Actor, _change: PasswordChange) -> Result<(), AccessError> {
        unimplemented!()
    }
    /// Begins setting up the caller's second factor.
    pub async fn begin_totp(&self, _by: &Actor) -> Result<TotpSetup, AccessError> {
        unimplemented!()
    }
    /// Confirms it with a first code.
    pub async fn confirm_totp(&self, _by: &Actor, _code: &str) -> Result<(), AccessError> {
        unimplemented!()
    }
    /// API tokens: the caller's own, or everybody's with `ManagePeople`.
    pub async fn api_tokens(&self, _by: &Actor) -> Result<Vec<ApiToken>, AccessError> {
        unimplemented!()
    }
    /// Makes an API token with at most the caller's own grants.
    pub async fn create_api_token(
        &self,
        _by: &Actor,
        _request: ApiTokenRequest,
    ) -> Result<CreatedApiToken, AccessError> {
        unimplemented!()
    }
    /// Revokes one.
    pub async fn revoke_api_token(&self, _by: &Actor, _token_id: &str) -> Result<(), AccessError> {
        unimplemented!()
    }
    /// Audits a denial, at a bounded rate.
    pub async fn audit_denial(&self, _actor: &str, _action: &'static str, _target: &str) {
        unimplemented!()
    }
}

impl Actor {
    /// True when a grant permits this on the node; without a node, when a grant over all nodes does.
    pub fn may(&self, _permission: Permission, _subject: Option<&Subject<'_>>) -> bool {
        unimplemented!()
    }

    /// True when any grant permits this on some node: lists are then filtered node by node.
    pub fn may_somewhere(&self, _permission: Permission) -> bool {
        unimplemented!()
    }
}
