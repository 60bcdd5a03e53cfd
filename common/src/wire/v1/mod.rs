//! Version 1 of the protocol. Frozen once released: a change is a new version with a conversion.

pub mod config;
pub mod control;
pub mod enroll;
pub mod order;
pub mod proof;
pub mod request;
pub mod sample;
pub mod store;

use super::codec::{self, CodecError};
use super::frame::{self, Frame};

/// Version in the header of every frame of this module.
pub const VERSION: u8 = 1;

/// A frame that is no message of the stream it came on.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The header names another version than the session's.
    #[error("frame of version {found} in a session of version {VERSION}")]
    Version {
        /// Version in the header.
        found: u8,
    },
    /// No such message on this stream.
    #[error("frame of unknown kind {kind} on a {stream} stream")]
    Kind {
        /// Kind in the header.
        kind: u8,
        /// What the stream carries.
        stream: &'static str,
    },
    /// The body is malformed.
    #[error("malformed message on a {stream} stream")]
    Body {
        /// What the stream carries.
        stream: &'static str,
        /// What is wrong.
        source: CodecError,
    },
    /// The message breaks a rule that its form cannot express.
    #[error("invalid message on a {stream} stream: {rule}")]
    Invalid {
        /// What the stream carries.
        stream: &'static str,
        /// The rule.
        rule: &'static str,
    },
}

fn to_frame(kind: u8, body: Result<Vec<u8>, CodecError>) -> Result<Vec<u8>, CodecError> {
    body.map(|body| frame::encode(VERSION, kind, &body).expect("the codec's limit is a frame's"))
}

fn check_version(frame: &Frame) -> Result<(), MessageError> {
    if frame.version == VERSION { Ok(()) } else { Err(MessageError::Version { found: frame.version }) }
}

/// Reads a message where the stream carries no other.
fn read_only<T: serde::de::DeserializeOwned>(
    frame: &Frame,
    kind: u8,
    what: &'static str,
    stream: &'static str,
) -> Result<T, MessageError> {
    check_version(frame)?;
    if frame.kind != kind {
        return Err(MessageError::Kind { kind: frame.kind, stream });
    }
    codec::decode(what, &frame.body).map_err(|source| MessageError::Body { stream, source })
}
