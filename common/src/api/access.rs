//! People, sessions, API tokens, audit.

use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::time::Timestamp;

/// What a person or API token may do. Granted over a selector; deny is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum AccessRole {
    /// Reads.
    Viewer,
    /// Reads, names and labels nodes, orders routine work.
    Operator,
    /// Reads, rolls out.
    Deployer,
    /// Reads, backs up and restores.
    Backup,
    /// Reads, sees the audit log, enrols and retires nodes.
    Security,
    /// Everything, people and tokens included.
    Admin,
}

/// A role over the nodes that a selector names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// The role.
    pub role: AccessRole,
    /// Over which nodes; empty for all.
    #[serde(default)]
    pub selector: String,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// Sign-in name.
    pub name: String,
    /// What they may do.
    pub grants: Vec<Grant>,
    /// True once a password is set.
    pub has_password: bool,
    /// True once a second factor is confirmed.
    pub has_totp: bool,
    /// When they were added.
    pub created_at: Timestamp,
    /// Until when sign-in is locked after too many failures.
    pub locked_until: Option<Timestamp>,
}

/// Request to add a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PersonRequest {
    /// Sign-in name.
    pub name: String,
    /// What they may do.
    #[serde(default)]
    pub grants: Vec<Grant>,
}

/// A new person with the one-time link with which they sign in first and set a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatedPerson {
    /// The person.
    pub person: Person,
    /// Path and query of the link, e.g. `/signin#link=...`; valid once, for a day.
    pub link: String,
}

/// Sign-in with a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignIn {
    /// Sign-in name.
    pub name: String,
    /// Password.
    pub password: String,
    /// The six digits of the second factor, where one is set.
    #[serde(default)]
    pub totp: Option<String>,
}

/// Sign-in with a one-time link.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkSignIn {
    /// The secret in the link.
    pub link: String,
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// `person:NAME` or `token:ID`.
    pub actor: String,
    /// Sign-in name; the token's name for a token.
    pub name: String,
    /// What they may do.
    pub grants: Vec<Grant>,
    /// When the session or token ends.
    pub expires_at: Timestamp,
}

/// Request to set a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordChange {
    /// The password in force; may be left out right after signing in with a link.
    #[serde(default)]
    pub current: Option<String>,
    /// The new one, at least 12 characters.
    pub new: String,
}

/// A second factor that is being set up.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TotpSetup {
    /// Base32 secret for an authenticator.
    pub secret: String,
    /// The same as an `otpauth://` address.
    pub uri: String,
}

/// Proof that the authenticator works.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TotpConfirm {
    /// The six digits.
    pub code: String,
}

/// Request for an API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiTokenRequest {
    /// What it is for.
    pub name: String,
    /// What it may do; never more than its maker.
    pub grants: Vec<Grant>,
    /// Seconds until it expires, 60 to 31,622,400 (366 days).
    pub ttl_seconds: u64,
}

/// An API token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    /// Its id.
    pub token_id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

/// A new API token; the only time its text is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatedApiToken {
    /// The bearer token.
    pub token: String,
    /// Everything else about it.
    #[serde(flatten)]
    pub details: ApiToken,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// From 1, without a hole.
    pub sequence: u64,
    /// Hash of the entry before; 64 zeros for the first.
    pub previous: Digest,
    /// When.
    pub time: Timestamp,
    /// Who: `person:NAME`, `token:ID`, `node:ID`, `local` or `aggregator`.
    pub actor: String,
    /// What, as `noun.verb`, e.g. `node.retire`.
    pub action: String,
    /// To what, e.g. `node/00ff...`.
    pub target: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Anything else worth keeping, never a secret.
    pub detail: String,
    /// Hash over all the above.
    pub hash: Digest,
}

/// How an audited action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// Done.
    Ok,
    /// Not permitted.
    Denied,
    /// Tried and failed.
    Failed,
}

/// Result of verifying the audit chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditVerification {
    /// True when every entry is as it was written.
    pub intact: bool,
    /// How many entries were checked.
    pub entries: u64,
    /// Sequence of the first bad entry.
    pub bad_sequence: Option<u64>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// Level of the log, while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLevel {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,campanile_aggregator::http=debug`.
    pub level: String,
}
