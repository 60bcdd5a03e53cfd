//! Sources of readings, one file each.
//!
//! A collector reads its own files and turns their text into readings; it knows nothing of the others. What can
//! hang or takes long is asked on a thread of its own ([`seldom`]), so that a round only ever takes what is there.

pub mod cgroup;
pub mod clock;
pub mod cpu;
pub mod disk;
pub mod filesystem;
pub mod link;
pub mod load;
pub mod memory;
pub mod mount;
pub mod network;
pub mod pressure;
pub mod process;
pub mod readings;
pub mod seldom;
pub mod systemd;
pub mod temperature;
pub mod text;
pub mod zfs;

use std::time::Duration;

use crate::os::proc_fs::ReadError;
use readings::Readings;

/// What a collector is given besides its own state.
#[derive(Debug)]
pub struct Round<'a> {
    /// Time since the sampler began, on a clock that nobody sets.
    pub uptime: Duration,
    /// Threads that may still be started this round: rarely more than one, so that errands come one after the
    /// other and share one stack.
    pub starts: u32,
    /// Room for the text of a file, shared by all.
    pub buffer: &'a mut Vec<u8>,
}

/// How a collector's round went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was read.
    Complete,
    /// Part of it could not be read; what was read stands.
    Partial,
    /// This machine has nothing of the kind, or the first answer is still awaited.
    Absent,
}

/// Why a collector has nothing this round.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file does not look as the kernel writes it.
    #[error("{what} holds nothing that can be read")]
    Malformed {
        /// Which file.
        what: &'static str,
    },
    /// An answer is overdue.
    #[error("{what} has given no answer for {silent:?}")]
    Silent {
        /// Who was asked.
        what: &'static str,
        /// For how long.
        silent: Duration,
    },
    /// The source itself says that it failed.
    #[error("{what} failed: {reason}")]
    Failed {
        /// Who was asked.
        what: &'static str,
        /// What it said.
        reason: String,
    },
}

/// One source of readings.
pub trait Collector: Send {
    /// Its name in `campanile_agent_collector_success`.
    fn name(&self) -> &'static str;

    /// Gives this round's readings. Never waits for anything that may hang.
    ///
    /// # Errors
    /// When there are none; the sampler then also drops those given before the failure.
    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError>;

    /// Leaves out other mount points from now on. A collector that knows of none has nothing to do.
    fn exclude_mounts(&mut self, _exclude: &[String]) {}

    /// Gives up all places in the schema; asks for new ones from the next round on.
    fn forget(&mut self);
}

/// Absent where the machine has no such file, the error otherwise.
fn absent_if_missing(error: ReadError) -> Result<Outcome, CollectError> {
    if error.is_missing() { Ok(Outcome::Absent) } else { Err(error.into()) }
}
