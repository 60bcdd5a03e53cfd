//! The sockets, and the certificates that they serve with.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use campanile_common::fleet::FleetFile;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::StartHandshake;

use super::{certificate, secret};
use crate::http::AgentDoor;
use crate::identity::Ca;
use crate::listener::{self, Endpoint};
use crate::os::clock::Clock;
use crate::settings::Settings;

/// A certificate as it is renewed, and as it is served.
pub(super) type Leaf = (watch::Sender<Arc<rustls::ServerConfig>>, watch::Receiver<Arc<rustls::ServerConfig>>);

/// From the people's port to the listener: connections of agents whose networks drop UDP.
pub(super) type Door = (AgentDoor, mpsc::Receiver<StartHandshake<TcpStream>>);

/// Where agents and people come in: TCP, UDP, and the door between them.
pub(super) type Sockets = (TcpListener, Endpoint, Door);

/// The two sockets, both before anything runs, so that a port in use is an error and not a half-started daemon; and the
/// certificates of agents and of people.
pub(super) fn bind(
    settings: &Settings,
    ca: &Ca,
    fleet: &FleetFile,
    clock: &Clock,
) -> anyhow::Result<((Leaf, Leaf), Sockets)> {
    let (agents, people) = certificate::issue(ca, fleet, settings, clock)?;
    let socket = TcpListener::bind(settings.listen)
        .with_context(|| format!("cannot listen on TCP {}", settings.listen))?;
    let reset_key = secret(&settings.state_dir, "reset.key")?;
    let endpoint = Endpoint::bind(socket.local_addr()?, Arc::clone(&agents), &reset_key)?;
    let (sender, streams) = mpsc::channel(listener::STREAMS_WAITING_MAX);
    let door = (AgentDoor { protocols: listener::ALPN_AGENTS, sender }, streams);
    Ok(((watch::channel(agents), watch::channel(people)), (socket, endpoint, door)))
}
