//! The exchange that opens every session, and that every version of the protocol understands.
//!
//! The agent says what it can speak, the aggregator picks the highest version both know, or refuses with a
//! stable code and a reason an operator can act on. These messages are frozen: a later version may add new
//! kinds, never change these.

use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::frame::{self, Frame};
use crate::id::{AggregatorId, FleetId, InstanceId, NodeId};
use crate::time::Timestamp;

/// Oldest protocol version this build still speaks.
pub const VERSION_MIN: u8 = 1;
/// Newest protocol version this build speaks.
pub const VERSION_MAX: u8 = 1;

/// Header version of the frames in this module, whatever version is picked afterwards.
const HELLO_VERSION: u8 = 0;
const KIND_HELLO: u8 = 1;
const KIND_WELCOME: u8 = 2;
const KIND_REFUSAL: u8 = 3;

/// Capability in a welcome: the certificate has expired, and the session may renew it and nothing else.
pub const CAPABILITY_RENEW_ONLY: &str = "renew-only";

/// Capability of both: the agent tells what carries its session, and why.
pub const CAPABILITY_TRANSPORT: &str = "transport";

/// First frame of the agent on its control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Fleet the agent belongs to.
    pub fleet: FleetId,
    /// Who it says it is; must be who its certificate says it is.
    pub node: NodeId,
    /// This run of the agent.
    pub instance: InstanceId,
    /// Oldest protocol version it speaks.
    pub version_min: u8,
    /// Newest protocol version it speaks.
    pub version_max: u8,
    /// Names of optional abilities, e.g. `top`.
    pub capabilities: Vec<String>,
    /// Version of the agent's program.
    pub agent_version: String,
    /// Authority version it has reached.
    pub authority_version: u64,
    /// Milliseconds between two samples.
    pub interval_ms: u32,
    /// The agent's clock, to tell a wrong one.
    pub clock: Timestamp,
}

/// The aggregator's answer when the session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Which aggregator answers.
    pub aggregator: AggregatorId,
    /// Protocol version of every frame from here on.
    pub version: u8,
    /// Abilities both ends have.
    pub capabilities: Vec<String>,
    /// Milliseconds between two samples that the aggregator wants.
    pub interval_ms: u32,
    /// All samples of this instance up to here are durable, if any are.
    pub durable: Option<u64>,
    /// Authority version the aggregator has.
    pub authority_version: u64,
    /// The aggregator's clock.
    pub clock: Timestamp,
}

/// Why a session or an enrolment was refused. Codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RefusalCode {
    /// No protocol version in common.
    Version,
    /// The agent belongs to another fleet.
    ForeignFleet,
    /// The node's key is not, or no longer, in the roster.
    NotInRoster,
    /// Another live session has this identity.
    IdentityInUse,
    /// The certificate has expired: the session may renew it and nothing else.
    CertificateExpired,
    /// The token is unknown, used up, expired or revoked.
    TokenInvalid,
    /// A node of this name exists.
    NameTaken,
    /// The request cannot be understood.
    Malformed,
    /// A limit was reached; try again later.
    Busy,
    /// The aggregator cannot store what it must; try again later.
    Unavailable,
}

impl RefusalCode {
    /// True when the same request may succeed later without anybody acting.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::IdentityInUse | Self::Busy | Self::Unavailable => true,
            Self::Version
            | Self::ForeignFleet
            | Self::NotInRoster
            | Self::CertificateExpired
            | Self::TokenInvalid
            | Self::NameTaken
            | Self::Malformed => false,
        }
    }

    /// The code as it is logged and documented.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::ForeignFleet => "foreign_fleet",
            Self::NotInRoster => "not_in_roster",
            Self::IdentityInUse => "identity_in_use",
            Self::CertificateExpired => "certificate_expired",
            Self::TokenInvalid => "token_invalid",
            Self::NameTaken => "name_taken",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A refusal: the peer closes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("refused ({}): {reason}", code.as_str())]
pub struct Refusal {
    /// Stable code.
    pub code: RefusalCode,
    /// What an operator can do about it.
    pub reason: String,
}

/// One of the opening messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// From the agent.
    Hello(Hello),
    /// From the aggregator.
    Welcome(Welcome),
    /// From the aggregator.
    Refusal(Refusal),
}

/// A frame that is no opening message.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// Another kind of frame came first.
    #[error("frame of version {version} kind {kind} before the session was opened")]
    Unexpected {
        /// Version in the header.
        version: u8,
        /// Kind in the header.
        kind: u8,
    },
    /// The body cannot be decoded.
    #[error("opening message cannot be decoded")]
    Body(#[from] CodecError),
}

impl Opening {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        let (kind, body) = match self {
            Self::Hello(hello) => (KIND_HELLO, codec::encode("Hello", hello)?),
            Self::Welcome(welcome) => (KIND_WELCOME, codec::encode("Welcome", welcome)?),
            Self::Refusal(refusal) => (KIND_REFUSAL, codec::encode("Refusal", refusal)?),
        };
        Ok(frame::encode(HELLO_VERSION, kind, &body).expect("the codec's limit is a frame's"))
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When the frame is of another kind or its body malformed.
    pub fn from_frame(frame: &Frame) -> Result<Self, OpeningError> {
        match (frame.version, frame.kind) {
            (HELLO_VERSION, KIND_HELLO) => Ok(Self::Hello(codec::decode("Hello", &frame.body)?)),
            (HELLO_VERSION, KIND_WELCOME) => Ok(Self::Welcome(codec::decode("Welcome", &frame.body)?)),
            (HELLO_VERSION, KIND_REFUSAL) => Ok(Self::Refusal(codec::decode("Refusal", &frame.body)?)),
            (version, kind) => Err(OpeningError::Unexpected { version, kind }),
        }
    }
}

/// Highest version that both ranges hold.
pub fn choose_version(theirs: (u8, u8), ours: (u8, u8)) -> Option<u8> {
    let highest = theirs.1.min(ours.1);
    (highest >= theirs.0.max(ours.0)).then_some(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(choose_version((1, 3), (2, 5)), Some(3));
        assert_eq!(choose_version((4, 6), (2, 5)), Some(5));
        assert_eq!(choose_version((1, 1), (2, 5)), None);
        assert_eq!(choose_version((6, 9), (2, 5)), None);
    }
}
