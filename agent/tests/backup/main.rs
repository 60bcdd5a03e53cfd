//! The real program on real files, with stock restic as the judge of what it wrote.

#![expect(clippy::disallowed_methods, reason = "tests lay out files and start processes")]
#![expect(clippy::unwrap_used, reason = "what a test lays out is there")]

mod cutting;
mod hooks;
mod keeping;
mod keys;
mod killing;
mod many;
mod running;
mod support;
