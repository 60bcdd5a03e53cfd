//! Checks of a repository, from the cheap to the thorough.
//!
//! - [`bytes`]: without a key, every object's bytes are those that it was named for. What a store does by itself.
//! - [`structure`]: everything that snapshots need is named by an index and lies in a pack of the right length.
//! - [`content`]: every blob of every pack is decrypted and compared with its name.
//!
//! What is wrong is a value, never an error: a [`Finding`] says what, and which snapshots and paths it hurts. Errors are
//! for a store that cannot be reached or refuses. `bytes` and `content` take a [`Share`] of the objects, so that a store
//! too large for one night is covered over several.

mod affected;
mod bytes;
mod content;
mod finding;
mod share;
mod structure;

pub use bytes::bytes;
pub use content::{WORKERS, content};
pub use finding::{
    Affected, Coverage, FINDINGS_MAX, Fault, Finding, PATHS_MAX, Report, SNAPSHOTS_MAX, Subject,
};
pub use share::{NotAShare, Share};
pub use structure::structure;

#[cfg(test)]
mod tests;
