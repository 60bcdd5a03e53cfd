//! Why a steward gives no answer.

use std::io;
use std::path::PathBuf;

use crate::steward::protocol::PacketError;

/// The steward gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum StewardError {
    /// It does not run, or does not let us in.
    #[error("the steward cannot be reached at {socket}")]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It closed the connection.
    #[error("the steward at {socket} closed the connection; it takes only the agent's user and its own")]
    Closed {
        /// Its socket.
        socket: PathBuf,
    },
    /// It took too long.
    #[error("the steward at {socket} does not answer")]
    Silent {
        /// Its socket.
        socket: PathBuf,
    },
    /// It is of another version.
    #[error("the steward speaks another protocol; restart it after an update")]
    Protocol(#[from] PacketError),
}
