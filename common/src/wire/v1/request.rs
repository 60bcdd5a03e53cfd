//! Requests of tier 0 from the aggregator to an agent: one bidirectional stream each, one frame to the agent. One
//! frame comes back, or several of [`Reply::Journal`]; then the stream ends.

use serde::{Deserialize, Serialize};

use super::control::Checkpoint;
use super::order::{AuditPosition, JournalPosition};
use super::{MessageError, read_only, to_frame};
use crate::authority::{Denial, Policy};
use crate::time::Timestamp;
use crate::wire::codec::{self, CodecError};
use crate::wire::frame::Frame;

const STREAM: &str = "request";
const KIND_REQUEST: u8 = 48;
const KIND_REPLY: u8 = 49;

/// Most processes one reply holds.
pub const PROCESSES_MAX: u16 = 100;

/// Most entries of a node's audit chain in one reply.
pub const AUDIT_ENTRIES_MAX: u16 = 64;
/// Most checkpoints in one reply.
pub const CHECKPOINTS_MAX: u16 = 128;
/// Most bytes of a journal in one reply.
pub const JOURNAL_CHUNK_BYTES_MAX: usize = 16 * 1024;
/// Most lines of a journal that are shown from before the request.
pub const JOURNAL_LINES_MAX: u32 = 10_000;

/// What the aggregator wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The processes that use most, by processor time over a short interval, then memory.
    TopProcesses {
        /// How many, at most [`PROCESSES_MAX`].
        count: u16,
    },
    /// An answer, as soon as it can be.
    Ping,
    /// What the node's steward would accept and why.
    Describe,
    /// State of a unit.
    Unit {
        /// Full name.
        unit: String,
    },
    /// The journal of a unit, in the form of journalctl's `short-iso`.
    Journal {
        /// Full name of the unit.
        unit: String,
        /// Only lines from the last so many seconds.
        since_s: Option<u32>,
        /// At most so many lines from before now, the newest, at most [`JOURNAL_LINES_MAX`].
        lines: u32,
        /// Go on with new lines until the stream is stopped.
        is_followed: bool,
    },
    /// Entries of the steward's audit chain.
    Audit {
        /// Those after this sequence, oldest first.
        after: u64,
        /// At most so many, at most [`AUDIT_ENTRIES_MAX`].
        limit: u16,
    },
    /// Checkpoints of the aggregator's audit chain that this node keeps.
    Checkpoints {
        /// At most so many, spread evenly over all, the newest among them, at most [`CHECKPOINTS_MAX`].
        limit: u16,
    },
}

/// What a node's steward would accept and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StewardDescription {
    /// The policy in force.
    pub policy: Policy,
    /// Where it was read, or why the built-in one is in force.
    pub policy_source: String,
    /// Authority version that the steward has reached.
    pub authority_version: u64,
    /// Version of the catalogue in force, if there is one.
    pub catalogue_version: Option<u64>,
    /// As whom commands run that name nobody.
    pub user: String,
    /// True when commands run in transient units of systemd; else in process groups with limits.
    pub has_units: bool,
    /// Its journal; none when it cannot be written.
    pub journal: Option<JournalPosition>,
    /// Its audit chain.
    pub audit: Option<AuditPosition>,
    /// Orders that run now.
    pub running: u32,
}

/// State of a unit, as the service manager tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// Full name.
    pub unit: String,
    /// For people.
    pub description: String,
    /// `loaded`, `not-found`, `masked`...
    pub load: String,
    /// `active`, `inactive`, `failed`...
    pub active: String,
    /// `running`, `dead`, `exited`...
    pub sub: String,
    /// `enabled`, `disabled`, `static`...; empty when it is unknown.
    pub enabled: String,
    /// Main process, if there is one.
    pub main_pid: Option<u32>,
    /// Automatic restarts since it was started.
    pub restarts: u32,
    /// Since when it is in this state.
    pub since: Option<Timestamp>,
    /// How its last run ended: `success`, `exit-code`, `signal`...
    pub result: String,
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
    /// The answer to a ping.
    Pong,
    /// What the steward would accept.
    Description(Box<StewardDescription>),
    /// State of a unit.
    Unit(UnitState),
    /// A piece of a journal.
    Journal(Vec<u8>),
    /// Entries of the steward's audit chain, each in JSON.
    Audit(Vec<String>),
    /// Checkpoints, oldest first.
    Checkpoints(Vec<Checkpoint>),
    /// The node's policy forbids it.
    Denied(Denial),
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
