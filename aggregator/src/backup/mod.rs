//! Backups as the aggregator judges them: which policies each node has, and whether their snapshots are fresh.

pub mod freshness;
pub mod policies;
