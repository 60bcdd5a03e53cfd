//! Watches: read the history whenever the writer says that it grew.

use std::sync::Arc;

use tokio::sync::watch::Receiver;

use super::reader::Readers;
use super::row::{self, HistoryPart};
use crate::state::{BoxFuture, Change, Revision, StateError, Watch};

/// One watcher's place in the history.
#[derive(Debug)]
pub(super) struct SqliteWatch {
    prefix: String,
    after: Revision,
    readers: Arc<Readers>,
    newest: Receiver<Revision>,
}

impl SqliteWatch {
    pub(super) fn new(
        prefix: &str,
        after: Revision,
        readers: Arc<Readers>,
        newest: Receiver<Revision>,
    ) -> Self {
        Self { prefix: prefix.to_owned(), after, readers, newest }
    }

    /// Fails when the watcher comes too late.
    pub(super) async fn check(&self) -> Result<(), StateError> {
        self.read().await.map(drop)
    }

    async fn read(&self) -> Result<HistoryPart, StateError> {
        let (prefix, after) = (self.prefix.clone(), self.after);
        let part = self.readers.run(move |connection| row::history(connection, &prefix, after)).await?;
        if part.compacted > after {
            return Err(StateError::Compacted { oldest: part.compacted });
        }
        Ok(part)
    }
}

impl Watch for SqliteWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Change>, StateError>> {
        Box::pin(async move {
            loop {
                // Marked as seen before the read, so that a commit during the read wakes us again.
                self.newest.borrow_and_update();
                let part = self.read().await?;
                self.after = self.after.max(part.through);
                if !part.changes.is_empty() {
                    return Ok(part.changes);
                }
                let closed = |_| StateError::Unavailable { detail: "the store is closed".to_owned() };
                self.newest.changed().await.map_err(closed)?;
            }
        })
    }
}
