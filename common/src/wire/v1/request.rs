//! Requests of tier 0 from the aggregator to an agent: one bidirectional stream each, one frame each way.

use serde::{Deserialize, Serialize};

use super::{MessageError, read_only, to_frame};
use crate::time::Timestamp;
use crate::wire::codec::{self, CodecError};
use crate::wire::frame::Frame;

const STREAM: &str = "request";
const KIND_REQUEST: u8 = 48;
const KIND_REPLY: u8 = 49;

/// Most processes one reply holds.
pub const PROCESSES_MAX: u16 = 100;

/// What the aggregator wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The processes that use most, by processor time over a short interval, then memory.
    TopProcesses {
        /// How many, at most [`PROCESSES_MAX`].
        count: u16,
    },
}

/// One process. Its arguments stay on the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// The kernel's name for it (`comm`), at most 15 bytes.
    pub name: String,
    /// Effective user id.
    pub uid: u32,
    /// State letter as in `ps`.
    pub state: char,
    /// Processor use in hundredths of a per cent of one core.
    pub cpu_centipercent: u32,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// When it started.
    pub started: Timestamp,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The processes, heaviest first.
    TopProcesses(Vec<Process>),
    /// It cannot be had; why.
    Failed(String),
}

impl Request {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        to_frame(KIND_REQUEST, codec::encode("Request", self))
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        read_only(frame, KIND_REQUEST, "Request", STREAM)
    }
}

impl Reply {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        to_frame(KIND_REPLY, codec::encode("Reply", self))
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        read_only(frame, KIND_REPLY, "Reply", STREAM)
    }
}
