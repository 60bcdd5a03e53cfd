//! A copy of the store as of one commit, while it is in use.

use std::path::Path;

use super::{SqliteStore, failure, open};
use crate::state::StateError;

impl SqliteStore {
    /// Writes what the store in `path` holds as of one commit into the new file `to`. Whoever uses the store, in this
    /// process or another, goes on reading and writing meanwhile. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read, or the copy not be written.
    pub fn snapshot(path: &Path, to: &Path) -> Result<(), StateError> {
        let failed = |doing| move |error| failure::of_sql(path, doing, &error);
        let Some(target) = to.to_str() else {
            return Err(StateError::Unavailable { detail: format!("{} is not UTF-8", to.display()) });
        };
        let connection = open::connect(path).map_err(failed("open"))?;
        // Not the online backup: it would begin anew at every commit of another process.
        connection
            .execute("VACUUM INTO ?1", [target])
            .map_err(|error| failure::of_sql(to, "copy", &error))?;
        Ok(())
    }
}
