//! What agent, aggregator and command line must agree on byte for byte, and the state machines that both
//! ends of the link run.
//!
//! Everything here is pure: no clock, no I/O, no async runtime, no randomness. Time and random numbers are
//! arguments, so that tests and the simulation choose them.

pub mod api;
pub mod audit;
pub mod authority;
pub mod backoff;
pub mod backup;
pub mod checkup;
pub mod config;
pub mod connection;
pub mod fleet;
pub mod health;
pub mod id;
pub mod label;
pub mod pulse;
pub mod recurrence;
pub mod sample;
pub mod selector;
pub mod suggest;
pub mod time;
pub mod token;
pub mod unit;
pub mod wire;
