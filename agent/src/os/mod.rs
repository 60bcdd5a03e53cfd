//! Every touch of the machine: files of `/proc` and `/sys`, file systems, threads, children, clocks.
//!
//! Nothing here decides anything; parts that do are given what was read.

pub mod child;
pub mod errand;
pub mod proc_fs;
pub mod statvfs;
pub mod stopwatch;
