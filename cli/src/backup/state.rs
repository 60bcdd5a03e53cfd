//! How a state of backups is shown, and the exit code it has in a monitoring plug-in. Pure.

use campanile_common::api::{BackupState, PolicyBackup};
use serde::Serialize;

use crate::exit::Exit;
use crate::render::{Cell, Tone};

/// A state with its tone.
pub(super) fn cell(state: BackupState) -> Cell {
    let tone = match state {
        BackupState::Fresh => Tone::Good,
        BackupState::Waiting | BackupState::Unknown => Tone::Plain,
        BackupState::Late => Tone::Warning,
        BackupState::Critical => Tone::Bad,
    };
    Cell::new(state.as_str()).toned(tone)
}

/// The code of the worst; of no node at all, which a slip in a selector names, nothing is known. Plug-ins have codes of
/// their own, only the numbers are shared.
pub(super) fn exit(states: impl Iterator<Item = BackupState>) -> Exit {
    match states.max().unwrap_or(BackupState::Unknown) {
        BackupState::Fresh | BackupState::Waiting => Exit::Fine,
        BackupState::Late => Exit::Failed,
        BackupState::Critical => Exit::Usage,
        BackupState::Unknown => Exit::SomeFailed,
    }
}

/// A policy beside its node's name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyRow {
    /// The node.
    pub(super) node: String,
    /// Its policy.
    #[serde(flatten)]
    pub(super) policy: PolicyBackup,
}

/// Late or worse: somebody should look.
pub(super) fn is_late(policy: &PolicyBackup) -> bool {
    policy.state >= BackupState::Late
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_state_decides_the_code_waiting_is_fine_and_no_node_at_all_is_unknown() {
        use BackupState::*;
        for (states, code) in [
            (&[][..], 3),
            (&[Fresh, Waiting], 0),
            (&[Fresh, Unknown], 3),
            (&[Unknown, Late], 1),
            (&[Late, Critical, Unknown], 2),
        ] {
            assert_eq!(exit(states.iter().copied()) as u8, code, "{states:?}");
        }
    }
}
