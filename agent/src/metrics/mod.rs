//! What this node measures: a round of readings each tick, and its processes on demand.

pub mod collector;
pub mod custody;
pub mod own;
pub mod sampler;
pub mod spool;
pub mod task;
pub mod top;
