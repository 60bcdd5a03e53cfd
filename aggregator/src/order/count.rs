//! Accounting: every target of an order is counted once, in exactly one kind.

use campanile_common::api::{TargetCounts, TargetState};

/// Counts targets by what has become of them.
pub(super) fn count(states: impl IntoIterator<Item = TargetState>) -> TargetCounts {
    let mut counts = TargetCounts::default();
    for state in states {
        counts.targeted += 1;
        *match state {
            TargetState::Waiting | TargetState::Sent | TargetState::Running => &mut counts.pending,
            TargetState::Queued => &mut counts.queued,
            TargetState::Ok => &mut counts.ok,
            TargetState::Failed => &mut counts.failed,
            TargetState::Silent => &mut counts.silent,
            TargetState::Denied => &mut counts.denied,
            TargetState::Skipped => &mut counts.skipped,
        } += 1;
    }
    counts
}

/// One line for the audit log: what is not none.
pub(super) fn describe(counts: &TargetCounts) -> String {
    let parts = [
        ("ok", counts.ok),
        ("failed", counts.failed),
        ("silent", counts.silent),
        ("denied", counts.denied),
        ("skipped", counts.skipped),
        ("queued", counts.queued),
        ("pending", counts.pending),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name}={count}")).collect();
    format!("targeted={} {}", counts.targeted, parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_kinds_add_up_to_what_was_targeted(picks in proptest::collection::vec(0..TargetState::ALL.len(), 0..50)) {
            let counts = count(picks.iter().map(|pick| TargetState::ALL[*pick]));
            let sum = counts.ok + counts.failed + counts.silent + counts.denied + counts.skipped
                + counts.queued + counts.pending;
            prop_assert_eq!(counts.targeted, sum);
            prop_assert_eq!(counts.targeted as usize, picks.len());
            let is_pending =
                |state| matches!(state, TargetState::Waiting | TargetState::Sent | TargetState::Running);
            let pending = picks.iter().filter(|pick| is_pending(TargetState::ALL[**pick])).count();
            prop_assert_eq!(counts.pending as usize, pending);
        }
    }

    #[test]
    fn the_audit_line_leaves_out_what_is_none() {
        let counts = count([TargetState::Ok, TargetState::Ok, TargetState::Denied]);
        assert_eq!(describe(&counts), "targeted=3 ok=2 denied=1");
    }
}
