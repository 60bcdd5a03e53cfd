//! The one exchange of an enrolment connection.

use serde::{Deserialize, Serialize};

use super::control::Facts;
use super::{MessageError, read_only, to_frame};
use crate::authority::SignedAuthority;
use crate::id::NodeId;
use crate::time::Timestamp;
use crate::token::TokenSecret;
use crate::wire::codec::{self, CodecError};
use crate::wire::frame::Frame;

const STREAM: &str = "enrolment";
const KIND_ENROLL: u8 = 32;
const KIND_ENROLLED: u8 = 33;

/// A new node asks for its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enroll {
    /// The token's secret.
    pub secret: TokenSecret,
    /// Certificate request (DER) for the key the node made. Only its key is used.
    pub request: Vec<u8>,
    /// Name the node would like.
    pub name: String,
    /// What the node is.
    pub facts: Facts,
}

/// The aggregator's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The new identity.
    pub node: NodeId,
    /// The name it got.
    pub name: String,
    /// Leaf certificate (DER).
    pub certificate: Vec<u8>,
    /// The CA's certificate (DER), already proven by the token's pin.
    pub ca: Vec<u8>,
    /// Until when the leaf is valid.
    pub not_after: Timestamp,
    /// The authority, from the version the token pins to the newest.
    pub authority: Vec<SignedAuthority>,
}

impl Enroll {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        to_frame(KIND_ENROLL, codec::encode("Enroll", self))
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        read_only(frame, KIND_ENROLL, "Enroll", STREAM)
    }
}

impl Enrolled {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        to_frame(KIND_ENROLLED, codec::encode("Enrolled", self))
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        read_only(frame, KIND_ENROLLED, "Enrolled", STREAM)
    }
}
