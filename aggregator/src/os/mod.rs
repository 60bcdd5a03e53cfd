//! Every touch of the machine: clock and randomness; files are added beside them.

pub mod clock;
pub mod disk;
pub mod random;
