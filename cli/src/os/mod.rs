//! Every touch of the machine: files, clock, randomness, terminal, processes, signals.

pub mod clock;
pub mod file;
pub mod process;
pub mod random;
pub mod signal;
pub mod socket;
pub mod terminal;
