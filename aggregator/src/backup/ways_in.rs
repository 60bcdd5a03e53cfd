//! The key files of a repository, for whoever has an identity that opens one. The aggregator has none.

use std::sync::Arc;

use campanile_common::api::StoredKey;
use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::NodeId;
use data_encoding::BASE64;

use super::handle::{BackupStore, blocking};
use super::vault::Vault;
use super::{Failure, Receipt};

/// Longest key file that is given out: one for ten recipients has 3 KiB, and a node may store what it likes.
const KEY_BYTES_MAX: u64 = 64 * 1024;

impl BackupStore {
    /// The key files of a node, without their bytes.
    pub fn keys(&self, node: NodeId) -> Vec<StoredKey> {
        let shown = |(key, receipt): (_, &Receipt)| StoredKey {
            key,
            received: receipt.received,
            size: receipt.size,
            content: None,
        };
        let all = |vault: Arc<Vault>| {
            vault.with(|account| account.of_kind(StoredKind::Key, None).map(shown).collect())
        };
        self.known(node).map_or_else(Vec::new, all)
    }

    /// The same with their bytes, where they can be read: one that is damaged hides no other.
    ///
    /// # Errors
    /// When the node's part of the store cannot be used.
    pub async fn read_keys(&self, node: NodeId, mut keys: Vec<StoredKey>) -> Result<Vec<StoredKey>, Failure> {
        let vault = self.vault(node).await?;
        blocking(move || {
            for key in keys.iter_mut().filter(|key| key.size <= KEY_BYTES_MAX) {
                match read(&vault, StoredObject::new(StoredKind::Key, key.key)) {
                    Ok(bytes) => key.content = Some(BASE64.encode(&bytes)),
                    Err(error) => tracing::warn!(%node, key = %key.key, %error, "a key file cannot be read"),
                }
            }
            Ok(keys)
        })
        .await
    }
}

fn read(vault: &Vault, object: StoredObject) -> Result<Vec<u8>, Failure> {
    let (mut reading, mut bytes) = (vault.open_object(object, None)?, Vec::new());
    while reading.left() > 0 {
        bytes.extend(reading.piece()?);
    }
    Ok(bytes)
}
