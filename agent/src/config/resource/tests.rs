//! Each kind planned on a root of its own: what is missing, what is there, what another hand changed, what is to go.
//! A small model executes the steps on paths, and fake programs answer and record what they are asked.

#![expect(clippy::disallowed_methods, reason = "tests lay out machines")]

mod backups;
mod machine;
mod paths;
mod programs;
mod properties;
