//! Saves, lists, verifies and restores files of this node.
//!
//! Runs as a program of its own (`campanile-agent backup`), started by the steward beneath a guard or by a person, does
//! one thing and ends, so that the resident agent stays small. What is saved and where to is in a policy, which came
//! with the signed config; the engine is the crate `campanile-backup`. What it does it says in lines of JSON.
//!
//! Invariants: the key is durable before the repository is; whoever the policy names can open the repository before
//! the first file is saved; hooks that follow a save run whatever became of it.

mod cache;
mod check;
mod confined;
mod drill;
mod dump;
mod entries;
mod error;
mod escrow;
mod foreign;
mod hook;
mod job;
mod keep;
mod key;
pub mod ledger;
mod limit;
mod list;
mod output;
mod pace;
mod place;
mod record;
mod remote;
mod restore;
pub mod rounds;
pub mod runs;
mod runs_text;
mod save;
mod target;
pub mod task;
mod text;
pub mod watch;

pub use dump::Dumped;
pub use foreign::Foreign;
pub use place::{Of, Place};
pub use record::{Manner, RUN_LOCK_FILE};
pub use restore::Wanted;
pub use runs_text::table;
pub use target::{Connect, ConnectTo};
