//! Gives objects out, and notices at once what is not what it was: a node that checks or restores reads whole packs, and
//! need not wait for the cycle of reading back to have damage told, and mended from a second place.

use campanile_common::backup::StoredObject;
use campanile_common::id::NodeId;
use campanile_common::wire::v1::store::StoreFailure;

use super::Failure;
use super::handle::{BackupStore, blocking};
use super::vault::Reading;

impl BackupStore {
    /// Opens an object of a node, or a range of it.
    ///
    /// # Errors
    /// When it is not there, is shorter, or cannot be read: told apart.
    pub async fn get(
        &self,
        node: NodeId,
        object: StoredObject,
        range: Option<(u64, u64)>,
    ) -> Result<Reading, Failure> {
        let vault = self.vault(node).await?;
        let opened = blocking(move || vault.open_object(object, range)).await;
        if opened.as_ref().is_err_and(|failure| failure.code == StoreFailure::Damaged) {
            self.doubt(node, object).await;
        }
        opened
    }

    /// The next piece of an object; empty at its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn piece(&self, mut reading: Reading) -> Result<(Reading, Vec<u8>), Failure> {
        let (node, object) = reading.of();
        let read = blocking(move || {
            let piece = reading.piece()?;
            Ok((reading, piece))
        })
        .await;
        let is_doubtful = match &read {
            Ok((reading, _)) => reading.is_altered(),
            Err(failure) => failure.code == StoreFailure::Damaged,
        };
        if is_doubtful {
            self.doubt(node, object).await;
        }
        read
    }

    /// Reads an object back out of turn, and tells what is wrong with it. Whoever asked for it is answered all the same.
    async fn doubt(&self, node: NodeId, object: StoredObject) {
        let Ok(vault) = self.vault(node).await else { return };
        let now = self.shared.clock.now();
        match blocking(move || vault.doubt(object, now)).await {
            Ok(notes) => self.tell(node, "aggregator", notes).await,
            Err(failure) => {
                tracing::error!(%node, %object, %failure, "what is wrong with it is not on record")
            }
        }
    }
}
