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
pub mod check;
pub mod choose;
pub mod chunker;
pub mod closure;
pub mod compare;
pub mod config;
pub mod copy;
pub mod diff;
pub mod dump;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod fixture_repository;
pub mod forget;
pub mod id;
pub mod index;
mod index_batch;
pub mod key;
pub mod key_file;
pub mod list;
pub mod lock;
pub mod name;
pub mod opener;
pub mod pack;
pub mod pack_table;
pub mod polynomial;
pub mod prune;
mod random;
pub mod rebuild;
pub mod repository;
pub mod restore;
mod runs;
pub mod save;
pub mod snapshot;
mod transfer;
pub mod tree;
pub mod walk;
pub mod writer;
