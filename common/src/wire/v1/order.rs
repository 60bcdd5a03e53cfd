//! Orders on their way to a node and what becomes of them: one bidirectional stream a run, opened by the aggregator.
//!
//! ```text
//! aggregator                       agent
//! Deliver            ->
//!                    <-  Received            the run is in the node's journal, or was already
//!                    <-  Output ...          as it comes, from the first byte kept
//!                    <-  Outcome             also the first answer, where nothing was started
//! Acknowledged       ->                      the outcome is on the aggregator's disk
//! ```
//!
//! A stream that breaks loses nothing: the aggregator delivers the same run again, and the steward answers from its
//! journal.

use serde::{Deserialize, Serialize};

use super::{MessageError, check_version, to_frame};
use crate::authority::{Delivery, Denial, RunId};
use crate::id::{Digest, JournalId};
use crate::time::Timestamp;
use crate::wire::codec::{self, CodecError};
use crate::wire::frame::Frame;

const STREAM: &str = "order";
/// Kind of the frame that opens an order stream, by which an agent tells it from a request.
pub const KIND_DELIVER: u8 = 80;
/// Most bytes of output in one message.
pub const OUTPUT_CHUNK_BYTES_MAX: usize = 16 * 1024;

/// What is wanted of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryMode {
    /// Carry it out, unless that was done already.
    Start,
    /// Tell what became of it; never start it.
    Report,
}

/// A point of a node's order journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalPosition {
    /// Which journal.
    pub journal: JournalId,
    /// Its newest record.
    pub sequence: u64,
}

/// A point of a node's audit chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPosition {
    /// Sequence of the entry.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

/// A run for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// The order.
    pub delivery: Delivery,
    /// What is wanted.
    pub mode: DeliveryMode,
    /// The newest point of the node's journal that the aggregator has heard of. A node whose journal is behind it
    /// was set back, and has forgotten what it did.
    pub journal: Option<JournalPosition>,
}

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputChunk {
    /// Bytes kept before it, of both streams together.
    pub offset: u64,
    /// Where it came from.
    pub stream: OutputStream,
    /// The bytes, at most [`OUTPUT_CHUNK_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunResult {
    /// It ran and ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended it that we did not send.
    Signalled {
        /// Which.
        signal: i32,
    },
    /// It took too long and was stopped, with everything it started.
    TimedOut,
    /// Another order stopped it.
    Cancelled,
    /// It could not be started, or not be finished.
    Failed {
        /// Why.
        reason: String,
    },
    /// The node does not carry it out.
    Denied(Denial),
    /// It was started and nobody knows how far it came.
    Indeterminate {
        /// What happened.
        reason: String,
    },
    /// Asked to report, the node knows nothing of it: it was never started.
    Unknown,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which.
    pub run: RunId,
    /// How it ended.
    pub result: RunResult,
    /// When it was started, by the node's clock.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// Bytes of output that it wrote.
    pub output_bytes: u64,
    /// Of them kept and sent.
    pub output_kept: u64,
    /// The node's journal with this outcome in it.
    pub journal: Option<JournalPosition>,
    /// The node's audit chain with this outcome in it.
    pub audit: Option<AuditPosition>,
}

/// What the aggregator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderRequest {
    /// First on the stream.
    Deliver(Deliver),
    /// Last: the outcome is durable, the node may forget its output.
    Acknowledged,
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderReply {
    /// The run is in the journal.
    Received(JournalPosition),
    /// Output.
    Output(OutputChunk),
    /// The end.
    Outcome(Outcome),
}

impl OrderRequest {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Deliver(deliver) => to_frame(KIND_DELIVER, codec::encode("Deliver", deliver)),
            Self::Acknowledged => to_frame(81, codec::encode("Acknowledged", &())),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no message of this stream.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        check_version(frame)?;
        let message = match frame.kind {
            KIND_DELIVER => codec::decode("Deliver", &frame.body).map(Self::Deliver),
            81 => codec::decode("Acknowledged", &frame.body).map(|()| Self::Acknowledged),
            kind => return Err(MessageError::Kind { kind, stream: STREAM }),
        };
        message.map_err(|source| MessageError::Body { stream: STREAM, source })
    }
}

impl OrderReply {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Received(position) => to_frame(82, codec::encode("Received", position)),
            Self::Output(chunk) => to_frame(83, codec::encode("Output", chunk)),
            Self::Outcome(outcome) => to_frame(84, codec::encode("Outcome", outcome)),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no message of this stream.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        check_version(frame)?;
        let message = match frame.kind {
            82 => codec::decode("Received", &frame.body).map(Self::Received),
            83 => codec::decode("Output", &frame.body).map(Self::Output),
            84 => codec::decode("Outcome", &frame.body).map(Self::Outcome),
            kind => return Err(MessageError::Kind { kind, stream: STREAM }),
        };
        let message = message.map_err(|source| MessageError::Body { stream: STREAM, source })?;
        match &message {
            Self::Output(chunk) if chunk.bytes.len() > OUTPUT_CHUNK_BYTES_MAX => {
                Err(MessageError::Invalid { stream: STREAM, rule: "a chunk of output longer than allowed" })
            }
            _ => Ok(message),
        }
    }
}
