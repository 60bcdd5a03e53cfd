//! How a node proved that its backups restore: its drills and its checks that decrypt.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Most drills in one report; those that failed come first.
pub const DRILLS_MAX: usize = 48;
/// Most repositories in one report; those that are damaged come first.
pub const CHECKS_MAX: usize = 8;
/// Longest text in a report, in bytes.
pub const TEXT_BYTES_MAX: usize = 400;

/// How one of them ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProofResult {
    /// Everything is as it should be.
    Fine,
    /// Something is not, or it could not be done.
    Failed,
    /// It was cut.
    Stopped,
}

/// The last one that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofEnd {
    /// When.
    pub time: Timestamp,
    /// How.
    pub result: ProofResult,
    /// What is wrong, in a line.
    pub detail: String,
}

/// The drills of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillReport {
    /// Name of the policy.
    pub policy: String,
    /// The last; none before the first.
    pub last: Option<ProofEnd>,
    /// When one last went well.
    pub succeeded: Option<Timestamp>,
    /// How long that took until everything was back and tried, in milliseconds.
    pub took_ms: u64,
}

/// The checks of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Where it is: `aggregator`, or a place that only the node knows.
    pub target: String,
    /// Since when it is looked after.
    pub since: Timestamp,
    /// Within so many seconds everything is to be decrypted once.
    pub cycle_s: u64,
    /// Of how many shares it consists.
    pub shares: u8,
    /// How many were read within the cycle when this was told.
    pub read: u8,
    /// Everything was read since; none before each share was.
    pub complete_since: Option<Timestamp>,
    /// How much is wrong.
    pub findings: u64,
    /// The last that could not be done, or found something; else the last.
    pub last: Option<ProofEnd>,
}

/// What a node proved, told when a session begins and when it changes. Nothing in it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProofReport {
    /// By policy.
    pub drills: Vec<DrillReport>,
    /// By repository.
    pub checks: Vec<CheckReport>,
}

impl ProofReport {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.drills.is_empty() && self.checks.is_empty()
    }
}
