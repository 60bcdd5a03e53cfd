//! Who may speak to the steward, and the connections there are.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use super::connection::Connection;
use crate::os::packet::{PacketListener, Peer};
use crate::os::user::{self, User};

/// Connections at once. A new one makes the oldest go: the newest `run` is the one that counts.
const CONNECTIONS_MAX: usize = 4;
/// The owner and the group of `run` may connect, nobody else; who they are is checked again on each connection.
const SOCKET_MODE: u32 = 0o660;

/// There is nowhere to listen.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    /// The socket cannot be made.
    #[error("cannot listen on {path}: {source}")]
    Listen { path: String, source: io::Error },
    /// The setting names nobody.
    #[error("this node has no user `{0}`: correct steward.run_user")]
    NoUser(String),
}

/// What came of a new connection.
pub(super) enum Arrival {
    /// It may speak.
    Welcome,
    /// It may not, and is closed.
    Refused(Peer),
    /// It is gone again.
    Gone,
}

/// The listener and its connections by number; the highest is the newest.
#[derive(Debug)]
pub(super) struct Server {
    listener: PacketListener,
    /// Users that may connect.
    users: Vec<u32>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

impl Server {
    /// Takes over the service manager's socket, or listens at `path`.
    pub(super) fn listen(path: &Path, own: &User, run_user: Option<&str>) -> Result<Self, ServerError> {
        let error = |source| ServerError::Listen { path: path.display().to_string(), source };
        let run_user = run_user
            .map(|name| user::named(name).ok_or_else(|| ServerError::NoUser(name.to_owned())))
            .transpose()?;
        let listener = match PacketListener::inherited().map_err(error)? {
            Some(listener) => listener,
            None => {
                let listener = PacketListener::bind(path, SOCKET_MODE).map_err(error)?;
                if let Some(user) = run_user.as_ref().filter(|user| user.uid != own.uid) {
                    PacketListener::give_to_group(path, user.gid).map_err(error)?;
                }
                listener
            }
        };
        let users = [Some(own.uid), Some(0), run_user.map(|user| user.uid)].into_iter().flatten().collect();
        Ok(Self { listener, users, connections: BTreeMap::new(), next: 1 })
    }

    /// The listener, to be waited for.
    pub(super) fn listener(&self) -> std::os::fd::BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes a connection that is waiting.
    pub(super) fn accept(&mut self) -> Arrival {
        let Ok(socket) = self.listener.accept() else { return Arrival::Gone };
        match socket.peer() {
            Err(_) => return Arrival::Gone,
            Ok(peer) if !self.users.contains(&peer.uid) => return Arrival::Refused(peer),
            Ok(_) => {}
        }
        while self.connections.len() >= CONNECTIONS_MAX {
            self.connections.pop_first();
        }
        self.connections.insert(self.next, Connection::new(socket));
        self.next += 1;
        Arrival::Welcome
    }

    /// All connections.
    pub(super) fn connections(&self) -> &BTreeMap<u64, Connection> {
        &self.connections
    }

    /// One of them, if it is still there.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Connection> {
        self.connections.get_mut(&number)
    }

    /// Closes one.
    pub(super) fn close(&mut self, number: u64) {
        self.connections.remove(&number);
    }
}
