//! The real steward process, spoken to as a `run` process would, and as a hostile one.

#![expect(clippy::disallowed_methods, reason = "tests lay out files and start processes")]
#![expect(clippy::unwrap_used, reason = "what a test lays out is there")]

mod backup;
mod config;
mod crash;
mod hostile;
mod running;
mod schedules;
mod support;
mod trust;
mod units;
