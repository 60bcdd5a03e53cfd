//! The aggregator: takes what agents report, judges the fleet, serves people.

pub mod access;
pub mod app;
pub mod audit;
pub mod authority;
pub mod backup;
pub mod cli;
pub mod config;
pub mod event;
pub mod freeze;
pub mod http;
pub mod identity;
pub mod listener;
pub mod node;
pub mod order;
pub mod os;
pub mod packages;
pub mod schedule;
pub mod self_backup;
pub mod series;
pub mod settings;
pub mod state;
