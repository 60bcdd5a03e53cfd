//! Ways to a QUIC connection: over UDP, and where a network drops that, its packets in TLS over TCP.
//!
//! One library multiplexes both ways, and it is QUIC's. Over TCP each packet of QUIC is a frame in a TLS stream, so
//! streams, their order of importance, resets, flow control, limits, keep-alives and closes are the same on either way,
//! tested once. Over a channel that loses nothing and keeps the order QUIC declares nothing lost: it sends at most a
//! probe now and then. What it costs is a second encryption of a few hundred bytes a second, and one round trip more
//! when it is dialled.
//!
//! `packet` frames packets, `socket` is the stream as quinn's socket, `carry` keeps a connection going over it;
//! `server` takes a stream, `client` dials one, `proxy` has an HTTP proxy reach the other end. `race` decides which way
//! is tried when, without a clock; `dial` carries that out.
//!
//! Invariants: both layers shake hands with the same certificates, so neither way is weaker than the other; nothing is
//! resumed; a frame longer than [`PACKET_BYTES_MAX`] ends the stream before it is read; at most [`socket::PACKETS_MAX`]
//! packets wait in either direction.

mod carry;
pub mod client;
pub mod dial;
mod packet;
pub mod proxy;
pub mod race;
pub mod server;
mod socket;

use std::fmt;

pub use client::Target;
pub use dial::{DialError, Dialed, Dialing};
pub use packet::PACKET_BYTES_MAX;
pub use proxy::Proxy;
pub use race::{Hint, TransportChoice};

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// QUIC's packets in TLS over TCP.
    Tcp,
    /// The same, through an HTTP proxy.
    TcpViaProxy,
}

impl Transport {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::TcpViaProxy => "tcp via proxy",
        }
    }

    /// It runs over TCP.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::TcpViaProxy)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which ways may be gone.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// QUIC, TCP, or whichever works.
    pub choice: TransportChoice,
    /// TCP goes through it.
    pub proxy: Option<Proxy>,
}
