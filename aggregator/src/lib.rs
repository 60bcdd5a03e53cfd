//! The aggregator: takes what agents report, judges the fleet, serves people.

pub mod access;
pub mod app;
pub mod audit;
pub mod cli;
pub mod event;
pub mod http;
pub mod identity;
pub mod listener;
pub mod node;
pub mod order;
pub mod os;
pub mod series;
pub mod settings;
pub mod state;
