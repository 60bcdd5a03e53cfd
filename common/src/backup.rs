//! Backups, as far as both ends must agree on them: what a policy says, when it is due, and the file it is kept in on a
//! node; and what the backup store holds and keeps. Pure.
//!
//! A policy is written in a bundle as `[backup.NAME]` and read into [`Policy`] once; past that nothing is checked again.

mod file;
mod keep;
mod policy;
mod read;
mod schedule;
mod stored;
mod target;

pub use file::{POLICY_BYTES_MAX, PolicyFileError, policy_from_file, policy_to_file};
pub use policy::{Drill, Files, Hooks, Keep, Policy, PolicyName, PolicyNameError, Source};
pub use read::PolicyError;
pub use schedule::{Past, Schedule, Seat, UtcOffset, When, Window};
pub use stored::{Retention, StoredKind, StoredObject};
pub use target::{Access, PlaceError, S3Place, SftpLogin, SftpPlace, Target};
