//! Names of objects and blobs: the SHA-256 of their bytes.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The SHA-256 of an object's bytes as stored, or of a blob's bytes as they were before compression.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 32]);

/// Text that is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an object's name: 64 hexadecimal digits in lower case are")]
pub struct NotAnId(pub String);

impl ObjectId {
    /// The identifier of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_digest(&ring::digest::digest(&ring::digest::SHA256, bytes))
    }

    /// The identifier of what a SHA-256 was made of, piece by piece.
    pub(crate) fn of_digest(digest: &ring::digest::Digest) -> Self {
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The first eight digits, as restic prints it.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({})", self.short())
    }
}

impl FromStr for ObjectId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let mut bytes = [0; 32];
        let is_right = text.len() == 64
            && HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).is_ok_and(|length| length == 32);
        if is_right { Ok(Self(bytes)) } else { Err(NotAnId(text.chars().take(80).collect())) }
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut text);
        serializer.serialize_str(std::str::from_utf8(&text).expect("hexadecimal digits are text"))
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ObjectId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ObjectId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_printed_and_read_in_hexadecimal() {
        let id = ObjectId::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse::<ObjectId>().unwrap(), id);
        assert_eq!(serde_json::from_str::<ObjectId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn what_is_no_identifier_is_refused() {
        let upper = ObjectId::of(b"abc").to_string().to_uppercase();
        for text in ["", "ba78", &upper, &"g".repeat(64), "../../etc/passwd"] {
            assert!(text.parse::<ObjectId>().is_err(), "{text}");
        }
    }
}
