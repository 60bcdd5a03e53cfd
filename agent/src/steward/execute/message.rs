//! What the steward and a guard say to each other: one packet each way or two, both ends of one program.

use campanile_common::wire::codec::{self, CodecError};
use serde::{Deserialize, Serialize};

/// What a guard is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::steward) struct GuardSpec {
    /// Program and arguments.
    pub(in crate::steward) argv: Vec<String>,
    /// As whom; none for the steward's own user.
    pub(in crate::steward) user: Option<String>,
    /// What it reads from standard input.
    pub(in crate::steward) stdin: Vec<u8>,
    /// In its environment as `CAMPANILE_ORDER`; empty for what is no order.
    pub(in crate::steward) order: String,
    /// Milliseconds after which it is stopped; none for what is stopped by whoever asked.
    pub(in crate::steward) timeout_ms: Option<u32>,
    /// Limits that the guard sets itself; none where a unit sets them.
    pub(in crate::steward) limits: Option<GuardLimits>,
    /// It goes on when the steward is gone, where it has a unit of its own: how it ended is then found in a file.
    pub(in crate::steward) outlives_steward: bool,
}

/// Limits where there is no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::steward) struct GuardLimits {
    /// Memory of each process, in bytes.
    pub(in crate::steward) memory_bytes: u64,
    /// Processes of the user, where that is another than the steward's.
    pub(in crate::steward) tasks: u32,
}

/// To the guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToGuard {
    /// First: what to run.
    Run(GuardSpec),
    /// Stop it.
    Stop,
}

/// From the guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FromGuard {
    /// The command is started next: whoever hears no more does not know whether it was.
    Began,
    /// It is over, and nothing that it started is left, unless `is_clean` is false.
    Ended { end: GuardEnd, is_clean: bool },
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::steward) enum GuardEnd {
    /// By itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// By a signal that the guard did not send.
    Signalled {
        /// Which.
        signal: i32,
    },
    /// It took too long.
    TimedOut,
    /// The steward wanted it stopped.
    Stopped,
    /// It could not be started.
    NotStarted {
        /// Why.
        reason: String,
    },
}

macro_rules! packet {
    ($name:ident) => {
        impl $name {
            pub(super) fn to_packet(&self) -> Result<Vec<u8>, CodecError> {
                codec::encode(stringify!($name), self)
            }

            pub(super) fn from_packet(packet: &[u8]) -> Result<Self, CodecError> {
                codec::decode(stringify!($name), packet)
            }
        }
    };
}

packet!(ToGuard);
packet!(FromGuard);
