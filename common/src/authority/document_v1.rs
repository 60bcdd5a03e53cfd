//! Format 1 of the authority document, which knew no recovery keys. Never changes; read, not written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::document::{Document, Operator, Role};
use crate::id::{Digest, FleetId};
use crate::time::Timestamp;

/// As it was written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DocumentV1 {
    format: u16,
    fleet: FleetId,
    fleet_name: String,
    version: u64,
    previous: Option<Digest>,
    issued: Timestamp,
    expires: Timestamp,
    operators: Vec<Operator>,
    thresholds: BTreeMap<Role, u16>,
}

impl From<DocumentV1> for Document {
    /// The same content; nobody can recover such a fleet without its operators.
    fn from(old: DocumentV1) -> Self {
        Self {
            format: Self::FORMAT,
            fleet: old.fleet,
            fleet_name: old.fleet_name,
            version: old.version,
            previous: old.previous,
            issued: old.issued,
            expires: old.expires,
            operators: old.operators,
            thresholds: old.thresholds,
            recovery: Vec::new(),
        }
    }
}
