//! Parts of a generation on their way to a node: one bidirectional stream, opened by the aggregator for an offer.
//!
//! The node says what it wants, the aggregator sends it in pieces, until the node has everything it needs or refuses.
//! The first thing that a node wants is the generation itself, under its own digest; everything else goes by
//! [`crate::config::part_digest`]. The node checks every digest.

use serde::{Deserialize, Serialize};

use super::{MessageError, read_only, to_frame};
use crate::config::ResourceId;
use crate::id::Digest;
use crate::label::Labels;
use crate::time::Timestamp;
use crate::wire::codec::{self, CodecError};
use crate::wire::frame::Frame;

const STREAM: &str = "config";
const KIND_DOWN: u8 = 96;
const KIND_UP: u8 = 97;

/// Most bytes of one piece of a part.
pub const PIECE_BYTES_MAX: usize = 48 * 1024;
/// Most parts that are wanted in one message.
pub const WANTED_MAX: usize = 1024;
/// Most drifted resources in one report; the rest is counted.
pub const DRIFTED_MAX: usize = 256;

/// A generation for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigOffer {
    /// Its digest.
    pub generation: Digest,
    /// The node's name and labels, as the roster has them: they count where the generation does not list the node.
    pub name: String,
    /// See `name`.
    pub labels: Labels,
    /// The node goes to it by itself, once it has everything, without an order.
    pub is_followed: bool,
}

/// A piece of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartPiece {
    /// Of which.
    pub digest: Digest,
    /// Where it begins.
    pub offset: u64,
    /// At most [`PIECE_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// The part ends with it.
    pub is_last: bool,
}

/// Aggregator to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigDown {
    /// Opens the stream.
    Offer(ConfigOffer),
    /// Answers a want, in the order of the wanted.
    Piece(PartPiece),
    /// A wanted part that the aggregator does not have.
    Missing(Digest),
}

/// Agent to aggregator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigUp {
    /// Send these, at most [`WANTED_MAX`]; the next want comes when the last of them is there.
    Want(Vec<Digest>),
    /// Everything is there and synced.
    Ready,
    /// The offer is not acceptable; why.
    Refused(String),
}

/// How a node stands to its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ConfigPhase {
    /// Never configured.
    #[default]
    Unconfigured,
    /// As `current` says.
    Applied,
    /// Being changed.
    Applying,
    /// Changed, and not confirmed yet.
    Confirming,
    /// The last attempt failed, and what it had changed was undone: as `current` says.
    Failed,
    /// The last attempt was not confirmed and was undone: as `current` says.
    Reverted,
}

/// A resource that differs from the current generation by another hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drifted {
    /// Which.
    pub resource: ResourceId,
    /// When it was found.
    pub found: Timestamp,
    /// What differs, in a line, and by whom where the kernel tells. Never content.
    pub detail: String,
    /// It was put right.
    pub is_enforced: bool,
}

/// A node's configuration, told when a session begins and when it changes. Nothing in it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigReport {
    /// Recipient (age, X25519) to which secrets of this node are sealed; none before the steward has its key.
    pub sealing_key: Option<String>,
    /// Number and digest of the generation that is applied.
    pub current: Option<(u64, Digest)>,
    /// Since when.
    pub applied: Option<Timestamp>,
    /// How it stands.
    pub phase: ConfigPhase,
    /// The generation that was tried last, where it is not the current one.
    pub tried: Option<(u64, Digest)>,
    /// It was undone twice and is tried no more without an order.
    pub is_given_up: bool,
    /// What went wrong last, in a line.
    pub detail: String,
    /// What differs by another hand, at most [`DRIFTED_MAX`].
    pub drifted: Vec<Drifted>,
    /// How many resources differ.
    pub drifted_count: u32,
    /// Why this node follows no generations; empty when it does.
    pub denied: String,
}

impl ConfigDown {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        to_frame(KIND_DOWN, codec::encode("ConfigDown", self))
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        read_only(frame, KIND_DOWN, "ConfigDown", STREAM)
    }
}

impl ConfigUp {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        to_frame(KIND_UP, codec::encode("ConfigUp", self))
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        read_only(frame, KIND_UP, "ConfigUp", STREAM)
    }
}
