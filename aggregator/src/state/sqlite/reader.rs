//! Connections that read, on blocking threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{failure, open};
use crate::state::StateError;

/// Reads at the same time. More would wait for the two cores anyway; past it callers wait their turn.
const READERS: usize = 4;

/// A few connections that take turns.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let idle = (0..READERS).map(|_| open::reader(path)).collect::<Result<Vec<_>, _>>()?;
        let turns = Arc::new(Semaphore::new(READERS));
        Ok(Self { path: path.to_owned(), idle: Mutex::new(idle), turns })
    }

    /// Runs one read.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let unavailable = |detail: String| StateError::Unavailable { detail };
        let turn =
            self.turns.clone().acquire_owned().await.map_err(|error| unavailable(error.to_string()))?;
        let readers = self.clone();
        let work = move || {
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            // Only a read that panicked takes its connection with it.
            let connection = idle.map_or_else(|| open::reader(&readers.path), Ok)?;
            let result = read(&connection);
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(turn);
            result.map_err(|error| failure::of_sql(&readers.path, "read", &error))
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| unavailable(error.to_string()))?
    }
}
