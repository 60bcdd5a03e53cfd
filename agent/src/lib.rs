//! Samples one node and holds its link to the aggregator.

pub mod metrics;
pub mod os;
