//! Frees what no snapshot needs any more.
//!
//! [`Facts::load`] reads what is there, [`plan`](plan()) decides, [`execute`] writes what must be written and returns what
//! may be removed then, as a value: [`Removals`]. [`apply`] removes it; a store that decides by itself gets it with [`propose`](propose()).
//!
//! Cut at any moment, the repository stays whole: blobs are packed anew and indexed before anything goes; snapshots go
//! before indexes, and indexes before the packs that only they name. What a cut leaves are packs that no index names or
//! blobs that are there twice; the next run frees them. The caller holds the exclusive lock.

mod execute;
mod facts;
mod plan;
mod propose;
mod removals;

pub use execute::{PruneError, Step, execute};
pub use facts::{Facts, FactsError};
pub use plan::{Figures, Plan, PlanError, Policy, plan};
pub use propose::{Proposed, propose};
pub use removals::{Removals, apply};

#[cfg(test)]
mod tests;
