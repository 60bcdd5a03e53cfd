//! Identifiers: fixed-size random numbers, printed in lower-case hexadecimal, each in its own type.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is no identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: expected {digits} hexadecimal digits")]
pub struct IdError {
    kind: &'static str,
    digits: usize,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;

            /// The identifier with these bytes; whoever mints one draws them at random.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The bytes, as they are signed and hashed.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| IdError { kind: $kind, digits: $bytes * 2, text: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $bytes]>::deserialize(deserializer).map(Self)
                }
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                String::schema()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

id! {
    /// A fleet: everything one authority governs. In every key, frame handshake and signed byte string.
    FleetId, "fleet id", 16
}
id! {
    /// A node's identity, minted by the aggregator at enrolment and never reused: random, so that an
    /// aggregator restored from an older backup cannot mint one a second time.
    NodeId, "node id", 8
}
id! {
    /// One run of an agent process; sample sequence numbers count within it.
    InstanceId, "instance id", 8
}
id! {
    /// An order: drawn at random by whoever makes it, never used again.
    OrderId, "order id", 16
}
id! {
    /// One life of a node's order journal: a new one where the old was lost or set back.
    JournalId, "journal id", 8
}
id! {
    /// One aggregator of a fleet.
    AggregatorId, "aggregator id", 8
}
id! {
    /// A SHA-256 digest: of a key's SubjectPublicKeyInfo, a document or an audit entry.
    Digest, "SHA-256 digest", 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_and_parses() {
        let id = NodeId::from_bytes([0, 1, 2, 3, 4, 5, 0xfe, 0xff]);
        assert_eq!(id.to_string(), "000102030405feff");
        assert_eq!("000102030405FEFF".parse::<NodeId>().unwrap(), id);
    }

    #[test]
    fn text_of_the_wrong_length_is_refused_with_what_was_expected() {
        let error = "abcd".parse::<NodeId>().unwrap_err();
        assert_eq!(error.to_string(), "`abcd` is not a node id: expected 16 hexadecimal digits");
    }
}
