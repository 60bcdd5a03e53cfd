//! Confines the daemons as the settings say, and keeps on disk how far that went, for `doctor`.

use std::path::Path;

use campanile_common::api::Confinement;
use campanile_daemon::confine::{self, Bounds};

use crate::os::file;

/// In the state folder.
const FILE: &str = "confinement.json";

/// Confines this process, which has one thread still, to `bounds`; where it is not to be, `Err` says why.
pub(crate) fn begin(state_dir: &Path, bounds: Result<Bounds, &str>) -> Confinement {
    let confinement = match bounds {
        Ok(bounds) => {
            let reached = confine::confine(&bounds);
            let Bounds { reads, writes, starts_programs, listens } = bounds;
            tracing::info!(
                level = %reached, ?reads, ?writes, starts_programs, ?listens,
                "confined: what is refused to this process for want of permission may be refused by that"
            );
            reached
        }
        Err(reason) => {
            let reached = confine::unconfined(reason);
            tracing::warn!(level = %reached, "not confined");
            reached
        }
    };
    let json = serde_json::to_vec(&confinement).expect("a level has no odd keys");
    if let Err(error) = file::replace(&state_dir.join(FILE), &json) {
        tracing::warn!(%error, "how far this process is confined is not kept for `doctor`");
    }
    confinement
}

/// How far the daemon with this state folder confined itself when it was started last.
pub(super) fn last(state_dir: &Path) -> Option<Confinement> {
    let json = file::read_secret(&state_dir.join(FILE), 64 * 1024).ok()??;
    serde_json::from_slice(&json).ok()
}
