//! The backup store: a connection of its own, one bidirectional stream a request, opened by the node.
//!
//! The node sends one [`StoreRequest`], behind it the bytes that the request announces and nothing else, and ends its
//! side. The store answers with one [`StoreReply`], or several of [`StoreReply::Listed`]; behind [`StoreReply::Bytes`]
//! come the bytes. An answer may come before the node has sent everything: the store then stops the stream.
//!
//! Bytes are not framed: a pack has 16 MiB, and each is hashed as it comes. Lists of names are their 32 bytes each, in
//! rising order, so that both ends take them in pieces.

use serde::{Deserialize, Serialize};

use super::{MessageError, read_only, to_frame};
use crate::backup::{PolicyName, StoredKind, StoredObject};
use crate::id::{Digest, NodeId};
use crate::time::Timestamp;
use crate::wire::codec::{self, CodecError};
use crate::wire::frame::Frame;

const STREAM: &str = "store";
const KIND_REQUEST: u8 = 112;
const KIND_REPLY: u8 = 113;

/// Most streams a node has open at once; further ones wait.
pub const STREAMS_MAX: u8 = 4;
/// Largest object: a pack has 16 MiB and what its last blob adds; an index that lists very many blobs is larger.
pub const OBJECT_BYTES_MAX: u64 = 256 << 20;
/// Largest snapshot, key or config.
pub const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
/// Most packs that a snapshot needs: 16 TiB.
pub const CLOSURE_PACKS_MAX: u64 = 1 << 20;
/// Most objects of one proposal; more go in several.
pub const PROPOSED_MAX: u32 = 65_536;
/// Most objects in one piece of a list.
pub const LISTED_MAX: usize = 1024;
/// Most refusals that an answer to a proposal names; the rest is counted.
pub const NAMED_MAX: usize = 256;

/// Node to store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreRequest {
    /// Store an object that is not there yet; `size` bytes follow.
    Put {
        /// Which; a snapshot is appended.
        object: StoredObject,
        /// Its length.
        size: u64,
    },
    /// Store a snapshot; `packs` names follow, then its `size` bytes.
    Append {
        /// Its name.
        snapshot: Digest,
        /// Its length.
        size: u64,
        /// How many packs it needs.
        packs: u64,
        /// The policy that made it: what is kept, and how old the newest may be, is asked of each policy alone.
        policy: Option<PolicyName>,
    },
    /// Send an object.
    Get {
        /// Which.
        object: StoredObject,
        /// First byte and the one behind the last; all of it without.
        range: Option<(u64, u64)>,
    },
    /// List the objects of a kind in the order of their names.
    List {
        /// Which kind.
        kind: StoredKind,
        /// Only those behind this one.
        after: Option<Digest>,
    },
    /// Let go of objects: the names of so many snapshots, indexes and packs follow, each list in rising order.
    Propose {
        /// Snapshots.
        snapshots: u32,
        /// Indexes.
        indexes: u32,
        /// Packs.
        packs: u32,
    },
    /// Send an object of another node: for as long as an order is at work here that has this node read it.
    GetOf {
        /// Whose.
        source: NodeId,
        /// Which.
        object: StoredObject,
        /// As for one's own.
        range: Option<(u64, u64)>,
    },
    /// List objects of another node, likewise.
    ListOf {
        /// Whose.
        source: NodeId,
        /// Which kind.
        kind: StoredKind,
        /// As for one's own.
        after: Option<Digest>,
    },
}

/// Why a request was not carried out. Codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StoreFailure {
    /// There is no such object.
    Missing,
    /// The object is shorter than what was asked for.
    Short,
    /// No room within the quota or on the disk.
    Full,
    /// Too many objects in this hour.
    TooMany,
    /// The store does not do that.
    Refused,
    /// The bytes are not those that the name stands for.
    Mismatch,
    /// A pack that a snapshot needs is not there.
    Incomplete,
    /// The request breaks the protocol.
    Malformed,
    /// The store cannot do it now.
    Unavailable,
    /// The object is damaged in the store.
    Damaged,
}

impl StoreFailure {
    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Short => "short",
            Self::Full => "full",
            Self::TooMany => "too-many",
            Self::Refused => "refused",
            Self::Mismatch => "mismatch",
            Self::Incomplete => "incomplete",
            Self::Malformed => "malformed",
            Self::Unavailable => "unavailable",
            Self::Damaged => "damaged",
        }
    }

    /// Whether the same request may go well later, with nothing changed on the node.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::TooMany | Self::Unavailable => true,
            Self::Missing
            | Self::Short
            | Self::Full
            | Self::Refused
            | Self::Mismatch
            | Self::Incomplete
            | Self::Malformed
            | Self::Damaged => false,
        }
    }
}

/// Why an object of a proposal stays. Codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StayReason {
    /// It is the newest of its kind.
    Newest,
    /// It was received within the floor.
    Floor,
    /// The policy keeps it.
    Kept,
    /// A snapshot that stays needs it.
    Needed,
    /// Objects of this kind are never let go by a node.
    Never,
}

/// What came of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// So many objects were let go.
    pub deleted: u32,
    /// Until when they can be brought back.
    pub recoverable_until: Option<Timestamp>,
    /// What stays, at most [`NAMED_MAX`].
    pub stays: Vec<(StoredObject, StayReason)>,
    /// So many stay.
    pub stays_count: u32,
    /// The proposal waits for a person, for this reason; nothing was let go.
    pub held: Option<String>,
}

/// Store to node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreReply {
    /// The object is durable.
    Stored {
        /// When it was received.
        received: Timestamp,
        /// False when it was there already.
        is_new: bool,
    },
    /// So many bytes follow.
    Bytes {
        /// How many.
        length: u64,
    },
    /// Some names and lengths, at most [`LISTED_MAX`].
    Listed(Vec<(Digest, u64)>),
    /// The list is at its end.
    End,
    /// What came of a proposal.
    Decided(Decided),
    /// It was not carried out.
    Failed {
        /// The stable code.
        code: StoreFailure,
        /// For a person.
        reason: String,
    },
}

impl StoreRequest {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        to_frame(KIND_REQUEST, codec::encode("StoreRequest", self))
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        read_only(frame, KIND_REQUEST, "StoreRequest", STREAM)
    }
}

impl StoreReply {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        to_frame(KIND_REPLY, codec::encode("StoreReply", self))
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        read_only(frame, KIND_REPLY, "StoreReply", STREAM)
    }
}
