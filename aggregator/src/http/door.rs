//! Whose connection it is: the port is shared with agents whose networks drop UDP. What a peer offers to speak, the
//! first thing that it says, tells; agents' connections are handed on before anything else is done with them.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

/// Where agents' connections go.
#[derive(Debug, Clone)]
pub struct AgentDoor {
    /// What agents speak.
    pub protocols: &'static [&'static [u8]],
    /// Takes them. Full means that more come at once than shake hands: the newest is closed, and dials again.
    pub sender: mpsc::Sender<StartHandshake<TcpStream>>,
}

impl AgentDoor {
    fn is_agent(&self, hello: &ClientHello<'_>) -> bool {
        hello.alpn().is_some_and(|mut offered| offered.any(|name| self.protocols.contains(&name)))
    }
}

/// Shakes hands with a person's client.
///
/// # Errors
/// When the handshake fails, or it is an agent's connection, which is somebody else's now.
pub(super) async fn enter(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    agents: &AgentDoor,
) -> io::Result<TlsStream<TcpStream>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    if !agents.is_agent(&start.client_hello()) {
        return start.into_stream(config).await;
    }
    if agents.sender.try_send(start).is_err() {
        tracing::warn!("an agent's TCP connection was closed: too many come at once");
    }
    Err(io::Error::other("an agent's"))
}
