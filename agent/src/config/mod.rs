//! Makes this node what its configuration says.
//!
//! Runs as a program of its own beneath a guard of the steward (`campanile-agent guard config`), so that its time limit
//! and its end are those of any order. The steward holds the parts of generations and says which one; this program
//! merges, renders, plans, and executes exactly the plan that it printed. Every change is undone from a snapshot when a
//! later one fails, when the program is killed, or when the node does not reach its aggregator afterwards.

mod batches;
mod changing;
pub mod confirm;
mod drift;
mod execute;
mod guardian;
pub mod host;
mod load;
mod output;
mod planning;
pub mod resource;
pub mod sealing;
pub mod state;
pub mod step;
pub mod task;
mod undo;

pub use drift::{HANDS_FILE, Hand};
