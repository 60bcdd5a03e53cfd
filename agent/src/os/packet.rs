//! Unix sockets that keep packets apart (`SOCK_SEQPACKET`), and waiting for several descriptors at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, chmod};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_peercred, socket_type};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recv, send, socket_with, socketpair,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Connections that wait to be accepted; the kernel turns further ones away.
const BACKLOG: i32 = 8;

/// One end of a connection.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at the start of the buffer.
    Packet(usize),
    /// A packet longer than the buffer; its end is gone.
    TooLong,
    /// Nothing yet.
    Nothing,
    /// The peer has closed its end.
    Closed,
}

/// Who is at the other end, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process.
    pub pid: Pid,
    /// User.
    pub uid: u32,
}

impl PacketSocket {
    /// Two ends of a new connection; neither is inherited by programs unless it is given to them.
    ///
    /// # Errors
    /// When the machine has no descriptor left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    /// Connects to a listener.
    ///
    /// # Errors
    /// When nobody listens there or it may not be used.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = new_socket()?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(socket))
    }

    /// The connection on standard input, which whoever started this process put there.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_standard_input() -> io::Result<Self> {
        let copy = io::stdin().as_fd().try_clone_to_owned()?;
        match socket_type(&copy)? {
            SocketType::SEQPACKET => Ok(Self(copy)),
            _ => Err(io::Error::other("standard input is no packet socket")),
        }
    }

    /// Sends one packet; false when there is no room for it now.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn send(&self, packet: &[u8]) -> io::Result<bool> {
        loop {
            match send(&self.0, packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(true),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes one packet, without waiting.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let room = buffer.len();
        loop {
            match recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                // An empty packet looks the same, and is none of ours either.
                Ok((_, 0)) | Err(Errno::CONNRESET) => return Ok(Received::Closed),
                Ok((_, length)) if length > room => return Ok(Received::TooLong),
                Ok((_, length)) => return Ok(Received::Packet(length)),
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn peer(&self) -> io::Result<Peer> {
        let found = socket_peercred(&self.0)?;
        Ok(Peer { pid: found.pid, uid: found.uid.as_raw() })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> Self {
        socket.0
    }
}

/// A socket that takes connections.
#[derive(Debug)]
pub struct PacketListener(OwnedFd);

impl PacketListener {
    /// The listening socket that the service manager handed over (`LISTEN_FDS`), if it did.
    ///
    /// # Errors
    /// When what was handed over is no such socket.
    pub fn inherited() -> io::Result<Option<Self>> {
        let Some(number) = sd_notify::listen_fds()?.next() else { return Ok(None) };
        // A number is no descriptor that may be owned; the kernel makes one that may.
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        let socket = pidfd_getfd(own, number, PidfdGetfdFlags::empty())?;
        if socket_type(&socket)? != SocketType::SEQPACKET || !socket_acceptconn(&socket)? {
            return Err(io::Error::other("the service manager handed over no listening packet socket"));
        }
        Ok(Some(Self(socket)))
    }

    /// Listens at `path`, whose folder is made. Whatever was there is removed: whoever listens holds the lock.
    ///
    /// # Errors
    /// When the socket cannot be made there.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = new_socket()?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        chmod(path, Mode::from_raw_mode(mode))?;
        listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// Hands the socket's file to the group `gid`, so that its members may connect.
    ///
    /// # Errors
    /// When this process may not.
    pub fn give_to_group(path: &Path, gid: u32) -> io::Result<()> {
        std::os::unix::fs::chown(path, None, Some(gid))
    }

    /// Takes a connection that is waiting. Call it when the descriptor is readable.
    ///
    /// # Errors
    /// When the one that waited is gone, or no descriptor is left.
    pub fn accept(&self) -> io::Result<PacketSocket> {
        Ok(PacketSocket(accept_with(&self.0, SocketFlags::CLOEXEC)?))
    }
}

impl AsFd for PacketListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// What is awaited of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Something to read, or the end.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// To read.
    pub const READ: Self = Self { read: true, write: false };
}

/// What a descriptor is ready for. An error or a peer that hung up counts as ready to read: reading tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// To be read.
    pub read: bool,
    /// To be written.
    pub write: bool,
}

/// Waits until a descriptor is ready, `timeout` has passed or a signal came. Answers in the order of `awaited`.
///
/// # Errors
/// When the kernel has no memory for it.
pub fn wait(awaited: &[(BorrowedFd<'_>, Interest)], timeout: Option<Duration>) -> io::Result<Vec<Readiness>> {
    let mut descriptors: Vec<PollFd<'_>> = awaited
        .iter()
        .map(|(descriptor, interest)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, interest.read);
            flags.set(PollFlags::OUT, interest.write);
            PollFd::from_borrowed_fd(*descriptor, flags)
        })
        .collect();
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    match poll(&mut descriptors, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let broken = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let ready = descriptors.iter().map(|descriptor| {
        let found = descriptor.revents();
        Readiness {
            read: found.intersects(PollFlags::IN | broken),
            write: found.intersects(PollFlags::OUT | broken),
        }
    });
    Ok(ready.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_stay_apart_and_long_ones_are_told() {
        let (one, other) = PacketSocket::pair().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(other.receive(&mut buffer).unwrap(), Received::Nothing);
        for packet in [b"abc".as_slice(), b"defg", b"123456789"] {
            assert!(one.send(packet).unwrap());
        }
        assert_eq!(other.receive(&mut buffer).unwrap(), Received::Packet(3));
        assert_eq!(other.receive(&mut buffer).unwrap(), Received::Packet(4));
        assert_eq!(&buffer[..4], b"defg");
        assert_eq!(other.receive(&mut buffer).unwrap(), Received::TooLong);
        drop(one);
        assert_eq!(other.receive(&mut buffer).unwrap(), Received::Closed);
    }

    #[test]
    fn a_full_connection_takes_no_more() {
        let (one, _other) = PacketSocket::pair().unwrap();
        let sent = (0..10_000).take_while(|_| one.send(&[0; 4096]).unwrap()).count();
        assert!((1..10_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_listener_knows_its_peer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/steward.sock");
        let listener = PacketListener::bind(&path, 0o660).unwrap();
        let _client = PacketSocket::connect(&path).unwrap();
        let ready = wait(&[(listener.as_fd(), Interest::READ)], Some(Duration::from_secs(5))).unwrap();
        assert!(ready[0].read);
        let peer = listener.accept().unwrap().peer().unwrap();
        assert_eq!((peer.pid, peer.uid), (getpid(), rustix::process::getuid().as_raw()));
    }
}
