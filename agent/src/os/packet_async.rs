//! A `SOCK_SEQPACKET` Unix socket under the async runtime: keeps the bounds of messages, and says at once when the other end is gone.
//!
//! An idle one costs a descriptor: packets are read into memory of their own size.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// A connected socket. The runtime has no type for this kind; to send and to receive, it is one of datagrams.
#[derive(Debug)]
pub struct AsyncPacketSocket(UnixDatagram);

impl AsyncPacketSocket {
    /// Connects to the socket at `path`. Call it within a runtime.
    ///
    /// # Errors
    /// When nobody listens there, or whoever does has too many that wait.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &address)?;
        Self::new(socket)
    }

    /// Takes a connected socket that does not block. Call it within a runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(UnixDatagram::from_std(socket.into())?))
    }

    /// The next packet, or none when the other end is gone. Losing the future loses nothing.
    ///
    /// # Errors
    /// When the socket fails, or a packet is longer than `bytes_max`; the connection is of no use then.
    pub async fn receive(&self, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        self.0
            .async_io(Interest::READABLE, || {
                let length = self.next_length()?;
                if length > bytes_max {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet longer than allowed"));
                }
                let mut packet = vec![0; length.max(1)];
                let (_, length) = recv(&self.0, &mut packet[..], RecvFlags::empty())?;
                packet.truncate(length);
                Ok((length > 0).then_some(packet))
            })
            .await
    }

    /// Length of the next packet; 0 at the end. A peer that ended before it read everything shows as an error once;
    /// what it had said before is still to be read.
    fn next_length(&self) -> io::Result<usize> {
        loop {
            match recv(&self.0, &mut [0_u8; 0][..], RecvFlags::PEEK | RecvFlags::TRUNC) {
                Ok((_, length)) => return Ok(length),
                Err(Errno::CONNRESET | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a packet, waiting for room. Losing the future sends nothing.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn send(&self, packet: &[u8]) -> io::Result<()> {
        let sent = self.0.async_io(Interest::WRITABLE, || Ok(send(&self.0, packet, SendFlags::NOSIGNAL)?));
        sent.await.map(drop)
    }
}
