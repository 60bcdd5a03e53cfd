//! What a daemon owes its machine: it confines itself, and tells the service manager that it lives.
//!
//! `confine` gives up what a process never needs; `watchdog` reports for as long as every loop goes round. Both touch
//! this process and nothing else. What a daemon needs, and which loops it has, each daemon says itself.

pub mod confine;
pub mod watchdog;
