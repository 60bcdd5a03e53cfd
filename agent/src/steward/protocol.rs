//! What `run` and the steward say to each other: one frame a packet over a `SOCK_SEQPACKET` Unix socket.
//!
//! The steward treats every packet as hostile: unknown kinds, oversized and malformed packets end the connection and
//! go to its audit chain. `run` may connect again at any time; runs and outcomes outlive connections, requests to
//! observe do not.

use campanile_common::authority::RunId;
use campanile_common::authority::{Denial, SignedAuthority, SignedCatalogue};
use campanile_common::id::Digest;
use campanile_common::wire::codec::{self, CodecError};
use campanile_common::wire::frame::{self, Frame, FrameDecoder, FrameError};
use campanile_common::wire::v1::config::{ConfigOffer, ConfigReport, PartPiece};
use campanile_common::wire::v1::order::{Deliver, JournalPosition, Outcome, OutputChunk};
use campanile_common::wire::v1::proof::ProofReport;
use campanile_common::wire::v1::request::{StewardDescription, UnitState};
use serde::{Deserialize, Serialize};

/// Version of this protocol, in every frame's header. Both ends come with one package and are restarted together.
pub const VERSION: u8 = 1;
/// Largest packet: one frame.
pub const PACKET_BYTES_MAX: usize = frame::FRAME_BYTES_MAX;
const KIND_REQUEST: u8 = 1;
const KIND_EVENT: u8 = 2;

/// Told apart by whoever asks; the answers carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag(pub u64);

/// The steward's verbs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StewardRequest {
    /// What would be accepted and why. Answer: `Description`.
    Describe(Tag),
    /// Carry out a run, or tell what became of it. Answers: `Received` and `Output` unless it is denied or unknown,
    /// and in the end `Outcome`, all naming the run. A run that is known already is told from its beginning.
    Deliver(Box<Deliver>),
    /// The outcome is durable in the aggregator: its output may be forgotten.
    Reported(RunId),
    /// The authority's next version. Answer: `Followed` or `Refused`.
    Authority(Tag, SignedAuthority),
    /// A newer catalogue. Answer: `Followed` or `Refused`.
    Catalogue(Tag, SignedCatalogue),
    /// State of a unit. Answer: `Unit`, `Denied` or `Refused`.
    Unit(Tag, String),
    /// A unit's journal. Answers: `Journal` pieces, then `Ended`; or `Denied` or `Refused`.
    Journal(Tag, JournalQuery),
    /// No more of it. No answer.
    Stop(Tag),
    /// Entries of the audit chain after a sequence. Answer: `Audit`.
    Audit(Tag, u64, u16),
    /// A generation for this node. Answers: `Want` as often as it takes, then `Ready` or `Refused`.
    Offer(Tag, ConfigOffer),
    /// A piece of a wanted part. No answer of its own.
    Piece(Tag, PartPiece),
    /// The aggregator was reached by a session that began after `Reach` with this number. No answer.
    Reached(u64),
}

/// Which part of a unit's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalQuery {
    /// Full name of the unit.
    pub unit: String,
    /// Only lines from the last so many seconds.
    pub since_s: Option<u32>,
    /// At most so many lines from before now.
    pub lines: u32,
    /// Go on with new lines until stopped.
    pub is_followed: bool,
}

/// The steward's answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StewardEvent {
    /// What would be accepted.
    Description(Tag, Box<StewardDescription>),
    /// The run is in the journal.
    Received(RunId, JournalPosition),
    /// Output of a run.
    Output(RunId, OutputChunk),
    /// The end of a run, or why it was not started.
    Outcome(Outcome),
    /// The authority and the catalogue in force after a change that was accepted.
    Followed(Tag, u64, Option<u64>),
    /// It cannot be done; why.
    Refused(Tag, String),
    /// State of a unit.
    Unit(Tag, UnitState),
    /// A piece of a journal.
    Journal(Tag, Vec<u8>),
    /// The journal's end.
    Ended(Tag),
    /// The node's policy forbids it.
    Denied(Tag, Denial),
    /// Entries of the audit chain, each in JSON.
    Audit(Tag, Vec<String>),
    /// Parts of an offered generation that are not here, at most [`WANTED_MAX`].
    ///
    /// [`WANTED_MAX`]: campanile_common::wire::v1::config::WANTED_MAX
    Want(Tag, Vec<Digest>),
    /// All parts of an offered generation are here.
    Ready(Tag),
    /// How this node stands to its configuration: told to every connection when it begins and when it changes.
    Config(Box<ConfigReport>),
    /// End the session and begin a new one; answer with `Reached` and this number once it stands.
    Reach(u64),
    /// How this node proved that its backups restore: told to every connection when it begins and when it changes.
    Proof(Box<ProofReport>),
}

/// A packet that is none of this protocol.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// No frame.
    #[error("not a frame")]
    Frame(#[from] FrameError),
    /// Not exactly one frame.
    #[error("a packet is one frame, no less and no more")]
    Count,
    /// Another protocol version or kind.
    #[error("packet of version {version} kind {kind}")]
    Unknown {
        /// Version in the header.
        version: u8,
        /// Kind in the header.
        kind: u8,
    },
    /// The body is malformed.
    #[error("malformed packet")]
    Body(#[from] CodecError),
}

fn only_frame(packet: &[u8], kind: u8) -> Result<Frame, PacketError> {
    let mut decoder = FrameDecoder::default();
    decoder.push(packet);
    let frame = decoder.next()?.ok_or(PacketError::Count)?;
    decoder.finish().map_err(|_| PacketError::Count)?;
    if (frame.version, frame.kind) != (VERSION, kind) {
        return Err(PacketError::Unknown { version: frame.version, kind: frame.kind });
    }
    if packet.len() != frame::HEADER_BYTES + frame.body.len() {
        return Err(PacketError::Count);
    }
    Ok(frame)
}

fn packet(kind: u8, body: Result<Vec<u8>, CodecError>) -> Result<Vec<u8>, CodecError> {
    body.map(|body| frame::encode(VERSION, kind, &body).expect("the codec's limit is a frame's"))
}

impl StewardRequest {
    /// One packet.
    ///
    /// # Errors
    /// When it is longer than a packet may be.
    pub fn to_packet(&self) -> Result<Vec<u8>, CodecError> {
        packet(KIND_REQUEST, codec::encode("StewardRequest", self))
    }

    /// Reads one packet.
    ///
    /// # Errors
    /// When it is none of this protocol.
    pub fn from_packet(packet: &[u8]) -> Result<Self, PacketError> {
        Ok(codec::decode("StewardRequest", &only_frame(packet, KIND_REQUEST)?.body)?)
    }
}

impl StewardEvent {
    /// One packet.
    ///
    /// # Errors
    /// When it is longer than a packet may be.
    pub fn to_packet(&self) -> Result<Vec<u8>, CodecError> {
        packet(KIND_EVENT, codec::encode("StewardEvent", self))
    }

    /// Reads one packet.
    ///
    /// # Errors
    /// When it is none of this protocol.
    pub fn from_packet(packet: &[u8]) -> Result<Self, PacketError> {
        Ok(codec::decode("StewardEvent", &only_frame(packet, KIND_EVENT)?.body)?)
    }
}
