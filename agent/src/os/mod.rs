//! Every touch of the machine: files of `/proc` and `/sys`, file systems, threads, children, clocks.
//!
//! Nothing here decides anything; parts that do are given what was read.

#![expect(
    clippy::disallowed_methods,
    reason = "the machine is touched here so that it is touched nowhere else"
)]

pub mod background;
pub mod beneath;
pub mod child;
pub mod clock;
pub mod dialogue;
pub mod errand;
pub mod fanotify;
pub mod file;
pub mod folder;
pub mod group;
pub mod inotify;
pub mod lock;
pub mod log;
pub mod packet;
pub mod packet_async;
pub mod proc_fs;
pub mod process_tree;
pub mod program;
pub mod random;
pub mod release;
pub mod settings_file;
pub mod statvfs;
pub mod stopwatch;
pub mod terminal;
pub mod termination;
pub mod user;
pub mod watch;
pub mod zone;
