//! What the command line and the key agent say to each other: one request and one answer a connection, each JSON
//! behind its length. The seed is in none of them.

use std::io::{self, Read, Write};

use campanile_common::api::SignatureText;
use campanile_common::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::signer::Subject;

/// Longest message: the bytes of a generation of 4 MiB in base64.
const MESSAGE_BYTES_MAX: u32 = 6 * 1024 * 1024;

/// What is wanted of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Request {
    /// Whose key it holds, and for how long.
    Describe,
    /// A signature.
    Sign {
        /// What the bytes are.
        subject: Subject,
        /// The bytes, in standard base64.
        bytes: String,
    },
    /// Forget the key and end.
    Lock,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Reply {
    /// Whose key it holds.
    Key {
        /// The public half, as text.
        public: String,
        /// Until when.
        until: Timestamp,
    },
    /// The signature.
    Signed(SignatureText),
    /// It is gone.
    Locked,
    /// It will not be done.
    Refused {
        /// Why.
        reason: String,
    },
}

pub(super) fn write<T: Serialize>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&body)?;
    stream.flush()
}

pub(super) fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut body = Vec::new();
    stream.take(length.into()).read_to_end(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_and_a_false_length_allocates_nothing() {
        let mut bytes = Vec::new();
        let request = Request::Sign { subject: Subject::Order, bytes: "AA==".to_owned() };
        write(&mut bytes, &request).unwrap();
        assert_eq!(read::<Request>(&mut bytes.as_slice()).unwrap(), request);
        assert!(read::<Request>(&mut &u32::MAX.to_be_bytes()[..]).is_err());
        assert!(read::<Request>(&mut &bytes[..bytes.len() - 1]).is_err());
    }
}
