//! Keeps what is remembered of networks in the agent's state folder. A convenience: what cannot be read or written is
//! told once, and costs a head start.

use std::path::{Path, PathBuf};

use campanile_common::time::Timestamp;
use campanile_tunnel::{Hint, Transport, dial};

use super::network::{self, Network, Networks};
use crate::os::file;

/// File name within the agent's state folder.
const FILE: &str = "networks.json";
/// Longest file: 32 networks with long names.
const BYTES_MAX: u64 = 64 * 1024;

/// What is remembered, and where it is kept.
#[derive(Debug, Default)]
pub(super) struct Memory {
    path: Option<PathBuf>,
    networks: Networks,
}

impl Memory {
    /// What the state folder holds; without one nothing is kept.
    pub(super) fn open(state_dir: Option<&Path>) -> Self {
        let path = state_dir.map(|folder| folder.join(FILE));
        let networks = path.as_deref().and_then(read).unwrap_or_default();
        Self { path, networks }
    }

    /// The network that leads to `address` now, and how to begin on it.
    pub(super) async fn network(&self, address: &str) -> (String, Hint) {
        let network = network::network(dial::local_address(address).await, address);
        let hint = self.networks.hint(&network);
        (network, hint)
    }

    /// Notes what won on a network.
    pub(super) async fn note(&mut self, network: &str, transport: Transport, now: Timestamp) {
        if !self.networks.note(network, transport, now) {
            return;
        }
        let Some(path) = self.path.clone() else { return };
        let text = self.networks.to_text();
        let written = tokio::task::spawn_blocking(move || file::replace(&path, &text)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "not kept which transport works on this network");
        }
    }
}

fn read(path: &Path) -> Option<Networks> {
    let text = match file::read_secret(path, BYTES_MAX) {
        Ok(text) => text?,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what is known of networks cannot be read: forgotten");
            return None;
        }
    };
    let networks = Networks::parse(&text);
    if networks.is_none() {
        tracing::warn!(path = %path.display(), "what is known of networks is damaged: forgotten");
    }
    networks
}

/// The network that the agent with this state folder used last, for `doctor`.
pub fn newest_network(state_dir: &Path) -> Option<Network> {
    read(&state_dir.join(FILE))?.newest().cloned()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test damages a file")]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[tokio::test]
    async fn a_network_is_known_after_a_restart_and_forgotten_with_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(Some(folder.path()));
        let (network, hint) = memory.network("127.0.0.1:7443").await;
        assert_eq!((network.as_str(), hint), ("127.0.0.0/24 to 127.0.0.1:7443", Hint::Unknown));
        memory.note(&network, Transport::Tcp, NOW).await;
        let memory = Memory::open(Some(folder.path()));
        assert_eq!(memory.network("127.0.0.1:7443").await.1, Hint::TcpWon);
        assert_eq!(newest_network(folder.path()).unwrap().network, network);
        std::fs::write(folder.path().join(FILE), "{\"format\":1,").unwrap();
        let mut memory = Memory::open(Some(folder.path()));
        assert_eq!(memory.network("127.0.0.1:7443").await.1, Hint::Unknown);
        memory.note(&network, Transport::Tcp, NOW).await;
        assert!(newest_network(folder.path()).is_some(), "and written anew");
    }
}
