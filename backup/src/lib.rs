//! The backup engine: restic's repository format, version 2, so that stock `restic` reads, checks and restores what is
//! written here, and the other way round (<https://restic.readthedocs.io/en/stable/100_references.html>).
//!
//! Synchronous and without a network: where objects lie is behind [`Backend`](backend::Backend). It runs in a process
//! of its own that ends with its work, so that the resident agent stays small. Memory is bounded by design: queues have
//! a length, a pack has a size, content is streamed.
//!
//! An object's name is the hash of its bytes. Nothing that is read is believed before its hash and its authenticator
//! have been compared; damaged is never read as missing.

pub mod backend;
mod beneath;
pub mod choose;
pub mod chunker;
pub mod config;
pub mod diff;
pub mod dump;
#[cfg(test)]
mod fixture;
pub mod id;
pub mod index;
pub mod key;
pub mod key_file;
pub mod list;
pub mod name;
pub mod pack;
pub mod polynomial;
mod random;
pub mod repository;
pub mod save;
pub mod restore;
pub mod snapshot;
pub mod tree;
pub mod writer;
