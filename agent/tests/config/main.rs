//! The real program behind `guard config`, on a node that is a folder.

#![expect(clippy::disallowed_methods, reason = "tests lay out files and start processes")]
#![expect(clippy::unwrap_used, reason = "what a test lays out is there")]

mod applying;
mod confirming;
mod drifting;
mod killing;
mod property;
mod support;
