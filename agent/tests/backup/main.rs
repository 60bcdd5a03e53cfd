//! The real program on real files, with stock restic as the judge of what it wrote.

#![expect(clippy::disallowed_methods, reason = "tests lay out files and start processes")]
#![expect(clippy::unwrap_used, reason = "what a test lays out is there")]

mod bucket;
mod cutting;
mod hooks;
mod keeping;
mod keys;
mod killing;
mod many;
mod proving;
mod running;
mod s3;
mod sftp;
mod ssh_server;
mod support;
