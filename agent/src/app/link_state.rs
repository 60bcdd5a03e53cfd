//! Whether the running agent has a session, in a small file: for `enroll`, which waits for it, and `doctor`.
//!
//! It is what the agent last said; an agent that was killed says nothing any more. Whoever reads it asks for the lock of
//! the state folder too.

use std::path::Path;

use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

/// In the state folder.
const FILE: &str = "link.json";

/// How the link stood when it last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LinkState {
    pub(super) is_connected: bool,
    /// By this node's clock.
    pub(super) since: Timestamp,
}

impl LinkState {
    /// Says how it stands. Best effort: nothing depends on it but what people are told.
    pub(super) fn store(self, state_dir: &Path) {
        let text = serde_json::json!(self).to_string();
        let path = state_dir.join(FILE);
        let staged = path.with_extension("json.new");
        let written = std::fs::write(&staged, text).and_then(|()| std::fs::rename(&staged, &path));
        if let Err(error) = written {
            tracing::debug!(%error, "state of the link not written");
        }
    }

    /// What was last said; none when nothing was, or it cannot be read.
    pub(super) fn load(state_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(state_dir.join(FILE)).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_is_read_and_a_torn_file_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(LinkState::load(folder.path()), None);
        let state = LinkState { is_connected: true, since: Timestamp::from_millis(5) };
        LinkState { is_connected: false, ..state }.store(folder.path());
        state.store(folder.path());
        assert_eq!(LinkState::load(folder.path()), Some(state));
        std::fs::write(folder.path().join(FILE), "{\"isConn").unwrap();
        assert_eq!(LinkState::load(folder.path()), None);
    }
}
