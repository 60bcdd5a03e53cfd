//! People, sessions, API tokens and roles: who is asking, and what may they do.
//!
//! Secrets are handed out once and kept as digests. Every change is in the audit log with its outcome, in the same
//! transaction; failures and denials at a bounded rate, with a count of what was left out.
//! Invariants: a person's records carry the person's uid, so a later person of the same name inherits nothing; what an
//! API token may do never goes beyond what its maker may do now; there is always an admin.

mod api_token;
mod cache;
mod lockout;
mod password;
mod person;
mod record;
mod roles;
mod secret;
mod session;
mod sign_in;
#[cfg(test)]
mod tests;
mod throttle;
mod totp;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_common::api::{AuditOutcome, Grant};
use campanile_common::id::Digest;
use campanile_common::selector::Subject;
use campanile_common::time::Timestamp;

use self::cache::ActorCache;
use self::lockout::Lockout;
use self::password::Hasher;
use self::record::{PeopleGuard, PersonRecord, Stored};
use self::roles::Scope;
use self::throttle::Throttle;
use crate::audit::{self, Audit};
use crate::os::clock::Clock;
use crate::state::{Committed, Compare, Keys, Range, Record, StateError, Store, Write, from_json, read_json};

/// Most grants of one person or token.
const GRANTS_MAX: usize = 32;
/// Records read at a time.
const PAGE: usize = 256;

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
    /// All of these must permit: the caller's own grants, and for a token its owner's.
    scopes: Arc<[Scope]>,
    origin: Origin,
}

/// How a caller came in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// With a session of this person.
    Session { person: String, session: Digest },
    /// With this API token.
    Token { token_id: String },
    /// Made by the program itself.
    Program,
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// See nodes, health, values, events, connections. (every role)
    Read,
    /// Name and label nodes. (operator, security, admin)
    EditNode,
    /// List processes, units and journals of a node, orders and their output. (operator, deployer, backup, security,
    /// admin)
    Observe,
    /// Submit orders of tier 1: named commands and units of the catalogue; run a schedule now. (operator, deployer,
    /// security, admin)
    Routine,
    /// Submit signed orders and signatures; cancel; hand in catalogues, authorities and schedules. What they may do
    /// is for the signatures to say. (operator, deployer, admin)
    Command,
    /// Hand in parts and generations of the configuration, and settle releases. (operator, deployer, admin)
    Config,
    /// Freeze and unfreeze the fleet. (operator, security, admin)
    Freeze,
    /// Bring back what was let go of a backup, and settle what waits for a person. (backup, admin)
    Backup,
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
#[derive(Clone)]
pub struct Access {
    store: Store,
    keys: Keys,
    audit: Audit,
    clock: Clock,
    hasher: Hasher,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lockout: Mutex<Lockout>,
    throttle: Mutex<Throttle>,
    cache: Mutex<ActorCache>,
    /// Changes take turns here, or all but one of those at the same moment would conflict.
    turn: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Access {
    /// Opens the records.
    ///
    /// # Errors
    /// When the store fails, or a person's record cannot be read.
    pub async fn open(store: Store, keys: Keys, audit: Audit, clock: Clock) -> Result<Self, AccessError> {
        let shared = Arc::default();
        let access = Self { store, keys, audit, clock, hasher: Hasher::new(), shared };
        // A damaged record is found now, not when that person wants to sign in.
        access.all::<PersonRecord>("person").await?;
        Ok(access)
    }

    /// Audits a denial, at a bounded rate.
    pub async fn audit_denial(&self, actor: &str, action: &'static str, target: &str) {
        self.audit_refusal(actor, action, target, AuditOutcome::Denied, "").await;
    }

    /// Records how many failures and denials were left out of the audit log; to be called each minute and at the end.
    pub async fn audit_suppressed(&self) {
        let counts = lock(&self.shared.throttle).take_suppressed();
        for (action, count) in counts {
            let detail = format!("{count} more were not recorded one by one");
            self.audit_best_effort("aggregator", action, "", AuditOutcome::Denied, detail).await;
        }
    }

    async fn audit_refusal(
        &self,
        actor: &str,
        action: &'static str,
        target: &str,
        outcome: AuditOutcome,
        detail: &str,
    ) {
        let admitted = lock(&self.shared.throttle).admit(self.clock.now(), action);
        let detail = match admitted {
            None => return,
            Some(0) => detail.to_owned(),
            Some(count) => format!("{detail}; {count} more before it were not recorded"),
        };
        self.audit_best_effort(actor, action, target, outcome, detail).await;
    }

    /// A refusal stays one when it cannot be recorded.
    async fn audit_best_effort(
        &self,
        actor: &str,
        action: &'static str,
        target: &str,
        outcome: AuditOutcome,
        detail: String,
    ) {
        let record =
            audit::Record { actor: actor.to_owned(), action, target: target.to_owned(), outcome, detail };
        if let Err(error) = self.audit.record(record).await {
            tracing::error!(error = %error, action, "a refusal cannot be recorded in the audit log");
        }
    }

    /// Fails, and records it, unless the caller may do this for the whole fleet.
    async fn require(
        &self,
        by: &Actor,
        permission: Permission,
        action: &'static str,
    ) -> Result<(), AccessError> {
        if by.may(permission, None) {
            return Ok(());
        }
        self.audit_denial(&by.id, action, "").await;
        Err(AccessError::Denied { actor: by.id.clone() })
    }

    /// Carries out a change with its record; whoever was verified before is verified anew.
    async fn change(
        &self,
        compares: Vec<Compare>,
        writes: Vec<Write>,
        record: audit::Record,
    ) -> Result<(), AccessError> {
        let committed = self.audit.commit(compares, writes, record).await;
        // Even after an error: what came of it is then unknown.
        lock(&self.shared.cache).forget();
        match committed? {
            Committed::Done(_) => Ok(()),
            Committed::Conflict => Err(AccessError::Conflict),
        }
    }

    async fn read<T: Record>(&self, kind: &str, id: &str) -> Result<Option<Stored<T>>, AccessError> {
        let key = self.keys.of(kind, id);
        let found = read_json(&*self.store, &key).await?;
        Ok(found.map(|(record, revision)| Stored { key, record, revision }))
    }

    async fn person(&self, name: &str) -> Result<Option<Stored<PersonRecord>>, AccessError> {
        // What is no name is in no key.
        if person::check_name(name).is_err() {
            return Ok(None);
        }
        self.read("person", name).await
    }

    async fn all<T: Record>(&self, kind: &str) -> Result<Vec<Stored<T>>, AccessError> {
        let (prefix, mut found, mut after) = (self.keys.prefix(kind), Vec::new(), None);
        loop {
            let range = Range { prefix: prefix.clone(), after, limit: PAGE, descending: false };
            let page = self.store.range(range).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|entry| entry.key.clone());
            for entry in page {
                let record = from_json(&entry.key, &entry.value)?;
                found.push(Stored { key: entry.key, record, revision: entry.revision });
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// What orders changes of people: its comparison and its write.
    async fn people_guard(&self) -> Result<(Compare, Write), AccessError> {
        let stored = self.read::<PeopleGuard>("access", "people").await?;
        let key = self.keys.of("access", "people");
        let changes = stored.as_ref().map_or(0, |stored| stored.record.changes);
        let next = crate::state::to_json(&PeopleGuard { changes: changes + 1 });
        let compare = stored.map_or_else(|| Compare::Absent(key.clone()), |stored| stored.unchanged());
        Ok((compare, Write::put(key, next)))
    }
}

/// An audit record of something that was done.
fn done(actor: &str, action: &'static str, target: String, detail: String) -> audit::Record {
    audit::Record { actor: actor.to_owned(), action, target, outcome: AuditOutcome::Ok, detail }
}

/// Grants as they are written into the audit log.
fn describe(grants: &[Grant]) -> String {
    let text = |grant: &Grant| {
        let over = if grant.selector.is_empty() { "all nodes" } else { &grant.selector };
        format!("{:?} over {over}", grant.role).to_lowercase()
    };
    if grants.is_empty() {
        "no grants".to_owned()
    } else {
        grants.iter().map(text).collect::<Vec<_>>().join("; ")
    }
}

/// Reads grants that somebody asks for.
fn parse_grants(grants: &[Grant]) -> Result<Scope, AccessError> {
    if grants.len() > GRANTS_MAX {
        return Err(AccessError::Invalid(format!("at most {GRANTS_MAX} grants")));
    }
    Scope::parse(grants).map_err(|error| AccessError::Invalid(error.to_string()))
}

impl Actor {
    /// A caller that the program itself vouches for.
    pub fn new(id: String, name: String, grants: Vec<Grant>, expires_at: Timestamp) -> Self {
        let scopes = Arc::from([Scope::of_stored(&grants)]);
        Self { id, name, grants, expires_at, scopes, origin: Origin::Program }
    }

    /// True when a grant permits this on the node; without a node, when a grant over all nodes does.
    pub fn may(&self, permission: Permission, subject: Option<&Subject<'_>>) -> bool {
        self.scopes.iter().all(|scope| scope.may(permission, subject))
    }

    /// True when any grant permits this on some node: lists are then filtered node by node.
    pub fn may_somewhere(&self, permission: Permission) -> bool {
        self.scopes.iter().all(|scope| scope.may_somewhere(permission))
    }

    /// True when whatever `scope` permits, this caller may do.
    fn covers(&self, scope: &Scope) -> bool {
        self.scopes.iter().all(|own| own.covers(scope))
    }
}
