//! The agent: samples one node and holds its link to the aggregator. Listens on nothing; it dials out.

pub mod app;
pub mod backup;
pub mod cli;
pub mod config;
pub mod identity;
pub mod link;
pub mod metrics;
pub mod order;
pub mod os;
pub mod settings;
pub mod start;
pub mod steward;
