//! An object on its way from the network into a vault: gathered into pieces that are written where blocking is allowed.

use std::sync::Arc;

use campanile_common::backup::StoredObject;
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::store::StoreFailure;
use tokio::sync::OwnedSemaphorePermit;

use super::Failure;
use super::handle::{BackupStore, blocking};
use super::limits::Limits;
use super::note::Note;
use super::vault::{Appending, Begun, Incoming};

/// Bytes that are written at once; a multiple of a name's length.
const PIECE_BYTES: usize = 256 * 1024;

/// What becomes of an object that a node wants to store.
#[derive(Debug)]
pub enum Opened {
    /// It is there, since then.
    Exists(Timestamp),
    /// It may come.
    Intake(Intake),
}

/// An object that comes in. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub struct Intake {
    store: BackupStore,
    node: NodeId,
    incoming: Box<Incoming>,
    buffer: Vec<u8>,
    expected: u64,
    _place: OwnedSemaphorePermit,
}

impl BackupStore {
    /// Begins to take in an object of a node; `appending` is what comes with a snapshot.
    ///
    /// # Errors
    /// When it is refused or finds no room.
    pub async fn begin(
        &self,
        node: NodeId,
        object: StoredObject,
        size: u64,
        appending: Option<Appending>,
    ) -> Result<Opened, Failure> {
        let place = Arc::clone(&self.shared.places).acquire_owned().await;
        let place =
            place.map_err(|_| Failure::new(StoreFailure::Unavailable, "the store is stopping".to_owned()))?;
        let vault = self.vault(node).await?;
        let limits = Limits { quota: self.quota(node), ..self.shared.settings.limits };
        let now = self.shared.clock.now();
        let begun = blocking(move || Ok(vault.begin(object, size, appending, &limits, now))).await?;
        match self.unwrap(node, begun).await? {
            Begun::Exists(at) => Ok(Opened::Exists(at)),
            Begun::Open(incoming) => Ok(Opened::Intake(Intake {
                store: self.clone(),
                node,
                expected: incoming.expected(),
                incoming,
                buffer: Vec::new(),
                _place: place,
            })),
        }
    }

    /// Tells of an alarm and passes the failure on.
    async fn unwrap<T>(&self, node: NodeId, done: Result<T, (Failure, Option<Note>)>) -> Result<T, Failure> {
        match done {
            Ok(done) => Ok(done),
            Err((failure, alarm)) => {
                self.tell(node, "aggregator", alarm).await;
                Err(failure)
            }
        }
    }
}

impl Intake {
    /// How many bytes are to come.
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// Takes some bytes.
    ///
    /// # Errors
    /// When they cannot be taken; nothing of the object stays then.
    pub async fn push(mut self, mut bytes: &[u8]) -> Result<Self, Failure> {
        while !bytes.is_empty() {
            let length = (PIECE_BYTES - self.buffer.len()).min(bytes.len());
            self.buffer.extend_from_slice(&bytes[..length]);
            bytes = &bytes[length..];
            if self.buffer.len() == PIECE_BYTES {
                self = self.flush().await?;
            }
        }
        Ok(self)
    }

    async fn flush(self) -> Result<Self, Failure> {
        let Self { store, node, mut incoming, mut buffer, expected, _place: place } = self;
        let written = blocking(move || {
            incoming.write(&buffer)?;
            buffer.clear();
            Ok((incoming, buffer))
        });
        let (incoming, buffer) = written.await?;
        Ok(Self { store, node, incoming, buffer, expected, _place: place })
    }

    /// Everything has come.
    ///
    /// # Errors
    /// When it is not what it was named for, or cannot be stored.
    pub async fn finish(self) -> Result<(Timestamp, bool), Failure> {
        let flushed = self.flush().await?;
        let Self { store, node, incoming, _place: place, .. } = flushed;
        let now = store.shared.clock.now();
        let received = blocking(move || Ok(incoming.finish(now))).await?;
        drop(place);
        let received = store.unwrap(node, received).await?;
        store.tell(node, &format!("node:{node}"), received.notes).await;
        Ok((received.at, received.is_new))
    }
}
