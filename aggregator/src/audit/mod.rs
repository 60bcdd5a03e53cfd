//! skeleton of the audit log

use campanile_common::api::{AuditEntry, AuditOutcome, AuditVerification};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::Checkpoint;

use crate::state::{Committed, Compare, StateError, Write};

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct Record {
    /// Who: `person:NAME`, `token:ID`, `node:ID`, `local`, `aggregator`.
    pub actor: String,
    /// What, `noun.verb`.
    pub action: &'static str,
    /// To what.
    pub target: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Anything else, never a secret.
    pub detail: String,
}

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only entries after this sequence.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
    /// Only of this actor.
    pub actor: Option<String>,
    /// Only of this action.
    pub action: Option<String>,
    /// Only since.
    pub since: Option<Timestamp>,
    /// The newest `limit` matching entries instead of the oldest (still returned in ascending order).
    pub newest: bool,
}

/// Handle of the audit log.
#[derive(Debug, Clone)]
pub struct Audit {}

impl Audit {
    /// Carries out `writes` if `compares` hold, and appends the record, in one transaction.
    pub async fn commit(
        &self,
        _compares: Vec<Compare>,
        _writes: Vec<Write>,
        _record: Record,
    ) -> Result<Committed, StateError> {
        unimplemented!()
    }

    /// Appends a record alone.
    pub async fn record(&self, _record: Record) -> Result<(), StateError> {
        unimplemented!()
    }

    /// Lists entries.
    pub async fn list(&self, _query: AuditQuery) -> Result<Vec<AuditEntry>, StateError> {
        unimplemented!()
    }

    /// Verifies the whole chain.
    pub async fn verify(&self) -> Result<AuditVerification, StateError> {
        unimplemented!()
    }

    /// A signed point at the newest entry; none while the log is empty.
    pub async fn checkpoint(&self) -> Result<Option<Checkpoint>, StateError> {
        unimplemented!()
    }
}
