//! The steward: the only part of Campanile that changes a node.
//!
//! A process of its own, root on an installed node, that takes bytes from the unprivileged `run` process over a Unix
//! socket and believes none of it: it verifies every signature against its own copy of the authority, and asks the
//! node's policy. What it was told, what it did and how it ended is in its own journal and its own audit chain before
//! anything else happens.
//!
//! `config` keeps what the node should be, `backup` starts what is due; `task` owns everything and waits.

mod audit;
mod backup;
mod config;
mod connection;
pub mod execute;
mod journal;
mod observe;
mod orders;
mod output;
pub mod pin;
mod policy;
pub mod protocol;
mod server;
pub mod task;
