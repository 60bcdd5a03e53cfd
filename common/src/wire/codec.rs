//! The only user of the body codec (bincode 2, standard configuration: little-endian variable-length integers).
//!
//! Lengths inside a body are checked against the frame limit before anything is allocated, and a body must be
//! used up to its last byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::BODY_BYTES_MAX;

/// Most bytes that decoding a long document may claim.
const LONG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A body that cannot be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value does not fit a frame.
    #[error("cannot encode a {what}")]
    Encode {
        /// Name of the message.
        what: &'static str,
        /// What the codec said.
        source: bincode::error::EncodeError,
    },
    /// The bytes are no such value.
    #[error("cannot decode a {what}")]
    Decode {
        /// Name of the message.
        what: &'static str,
        /// What the codec said.
        source: bincode::error::DecodeError,
    },
    /// The encoding is longer than a frame's body may be.
    #[error("a {what} of {length} bytes does not fit a frame")]
    TooLong {
        /// Name of the message.
        what: &'static str,
        /// Encoded length.
        length: usize,
    },
    /// Bytes were left over.
    #[error("{left} bytes left over behind a {what}")]
    Trailing {
        /// Name of the message.
        what: &'static str,
        /// How many.
        left: usize,
    },
}

fn configuration() -> bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<BODY_BYTES_MAX>,
> {
    bincode::config::standard().with_limit::<BODY_BYTES_MAX>()
}

/// Encodes `value`; `what` names it in errors.
///
/// # Errors
/// When the encoding is longer than a frame may be.
pub fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(value, configuration())
        .map_err(|source| CodecError::Encode { what, source })?;
    // The codec's own limit holds for decoding alone.
    if bytes.len() > BODY_BYTES_MAX {
        return Err(CodecError::TooLong { what, length: bytes.len() });
    }
    Ok(bytes)
}

/// Encodes `value` for a document that travels in pieces, of at most `bytes_max` bytes.
///
/// # Errors
/// When the encoding is longer.
pub fn encode_long<T: Serialize>(
    what: &'static str,
    value: &T,
    bytes_max: usize,
) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|source| CodecError::Encode { what, source })?;
    if bytes.len() > bytes_max { Err(CodecError::TooLong { what, length: bytes.len() }) } else { Ok(bytes) }
}

/// Decodes a document that travelled in pieces. Nothing is allocated beyond a small multiple of its length: the codec
/// claims at most [`LONG_BYTES_MAX`].
///
/// # Errors
/// When it has more than `bytes_max` bytes, is no such value, or goes on behind it.
pub fn decode_long<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    bytes_max: usize,
) -> Result<T, CodecError> {
    if bytes.len() > bytes_max {
        return Err(CodecError::TooLong { what, length: bytes.len() });
    }
    let configuration = bincode::config::standard().with_limit::<LONG_BYTES_MAX>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, configuration)
        .map_err(|source| CodecError::Decode { what, source })?;
    if used == bytes.len() { Ok(value) } else { Err(CodecError::Trailing { what, left: bytes.len() - used }) }
}

/// Decodes one value that takes up all of `bytes`; `what` names it in errors.
///
/// # Errors
/// When the bytes are not such a value, or go on behind it.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, configuration())
        .map_err(|source| CodecError::Decode { what, source })?;
    if used == bytes.len() { Ok(value) } else { Err(CodecError::Trailing { what, left: bytes.len() - used }) }
}
