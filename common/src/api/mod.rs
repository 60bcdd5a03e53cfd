//! The JSON of the HTTPS API: what the aggregator serves and the command line and the page read.
//!
//! Fields are camelCase, times RFC 3339 in UTC, a figure without a source is null.

mod access;
mod backup;
mod backup_store;
mod config;
mod confinement;
mod health;
mod node;
mod order;
mod problem;
mod schedule;
mod stewardship;
mod trust;

pub use access::*;
pub use backup::*;
pub use backup_store::*;
pub use config::*;
pub use confinement::*;
pub use health::*;
pub use node::*;
pub use order::*;
pub use problem::*;
pub use schedule::*;
pub use stewardship::*;
pub use trust::*;
