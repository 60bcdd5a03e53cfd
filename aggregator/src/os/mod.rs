//! Every touch of the machine.

pub mod clock;
pub mod disk;
pub mod file;
pub mod folder;
pub mod log;
pub mod parts;
pub mod process;
pub mod random;
pub mod settings_file;
pub mod shelf;
pub mod watch;
