//! The backup store: keeps what nodes back up, and lets none of them take anything away.
//!
//! A node may add, read and list its own objects, append snapshots, and propose to let go of some; [`retention`] decides.
//! The aggregator has no key: an object's name is its hash, and that is all the store needs to verify it, on arrival and
//! on the rotating schedule of [`verify`]. [`account`] is what a node has, told by the receipts of `journal`; `vault` is a
//! node's folder; `limits` is what finds room; `task` reads back, empties the trash and judges, `replica` keeps all of it in a
//! second place. [`policies`] is what the
//! signed configuration says of each node's backups, `standing` what is remembered of it (kept in `ledger`), [`freshness`]
//! whether they are what it promises, `proof` what nodes prove of them, `floor` what nobody lowers alone, `overview` how a
//! node stands in all, and `status` tells others; `ways_in` are the key files. `serving` gives objects out and notices damage.
//!
//! Invariants: who a node is, its certificate said; what adds, appends or proposes names no other, and what reads another's
//! is for `listener` to permit; times are the aggregator's; nothing is
//! acknowledged before it is durable; a deletion is a move to the trash, and while anything waits for a person nothing
//! moves or goes.

mod account;
mod floor;
pub mod freshness;
mod handle;
mod intake;
mod journal;
mod layout;
mod ledger;
mod limits;
mod note;
mod overview;
pub mod policies;
mod proof;
mod record;
mod replica;
mod retention;
mod serving;
mod standing;
mod status;
mod task;
mod vault;
mod verify;
mod ways_in;

use std::path::PathBuf;

use campanile_common::backup::Retention;
use campanile_common::wire::v1::store::StoreFailure;

pub use account::{Account, Finding, Hold, Progress, Receipt, SnapshotFacts, Trashed};
pub use floor::FloorError;
pub use handle::{BackupStore, OpenError};
pub use intake::{Intake, Opened};
pub use journal::JournalError;
pub use limits::Limits;
pub use note::Note;
pub use record::{Bound, Closure, Flaw, Settlement, Suspicion};
pub use replica::{Replica, ReplicaSettings, Replicated};
pub use retention::{Decision, Proposal, Rules, decide, staying, unusual_snapshot};
pub use standing::{Standing, Standings};
pub use status::Troubles;
pub use task::BackupTask;
pub use vault::{Appending, Begun, Copied, Incoming, LoadError, Reading, Vault};
pub use verify::VerifySettings;

/// Settings of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// Where the nodes' folders are.
    pub dir: PathBuf,
    /// Limits of every node.
    pub limits: Limits,
    /// What every node keeps.
    pub retention: Retention,
    /// How everything is read back.
    pub verify: VerifySettings,
    /// A second place, if there is one.
    pub replica: Option<ReplicaSettings>,
}

/// A request that was not carried out, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// The stable code.
    pub code: StoreFailure,
    /// For a person.
    pub reason: String,
}

impl Failure {
    /// Of this code.
    pub fn new(code: StoreFailure, reason: String) -> Self {
        Self { code, reason }
    }
}
