//! What became of an order, for people and for the exit code. Every target is accounted for.

use campanile_common::api::{Order, OrderState, OrderTarget, TargetCounts, TargetState};

use crate::exit::Exit;
use crate::render::{Cell, Tone};

/// The exit code of an order: the worst of its targets in the documented order.
pub fn exit(order: &Order) -> Exit {
    if order.state == OrderState::Proposed {
        return Exit::Waiting;
    }
    let counts = &order.counts;
    let kinds = [
        // Left out because of failures, or withdrawn: either way it did not happen there.
        (counts.failed + counts.skipped, Exit::SomeFailed),
        (counts.silent, Exit::SomeSilent),
        (counts.denied, Exit::Denied),
        (counts.queued + counts.pending, Exit::Waiting),
    ];
    Exit::of_all(kinds.into_iter().filter(|(count, _)| *count > 0).map(|(_, exit)| exit))
}

/// `28 targeted: 26 ok, 1 failed, 1 silent`.
pub fn counts(counts: &TargetCounts) -> String {
    let kinds = [
        (counts.failed, "failed"),
        (counts.silent, "silent"),
        (counts.denied, "denied"),
        (counts.skipped, "skipped"),
        (counts.queued, "queued"),
        (counts.pending, "pending"),
    ];
    let mut text = format!("{} targeted: {} ok", counts.targeted, counts.ok);
    for (count, name) in kinds.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {name}"));
    }
    text
}

/// Counts made here, from the targets themselves.
pub fn count(targets: &[OrderTarget]) -> TargetCounts {
    let mut counts = TargetCounts::default();
    for target in targets {
        counts.targeted += 1;
        *match target.state {
            TargetState::Ok => &mut counts.ok,
            TargetState::Failed => &mut counts.failed,
            TargetState::Silent => &mut counts.silent,
            TargetState::Denied => &mut counts.denied,
            TargetState::Skipped => &mut counts.skipped,
            TargetState::Queued => &mut counts.queued,
            TargetState::Waiting | TargetState::Sent | TargetState::Running => &mut counts.pending,
        } += 1;
    }
    counts
}

/// A line for every target that did not end well: name, state, why.
pub fn problems(targets: &[OrderTarget]) -> Vec<String> {
    let bad: Vec<_> = targets.iter().filter(|target| target.state != TargetState::Ok).collect();
    let width = bad.iter().map(|target| target.name.chars().count()).max().unwrap_or(0);
    bad.into_iter()
        .map(|target| {
            let why = why(target);
            let line = format!("  {:width$}  {:<7}  {why}", target.name, target.state.as_str());
            plain(line.trim_end())
        })
        .collect()
}

/// Why a target ended as it did.
pub fn why(target: &OrderTarget) -> String {
    let result = match (&target.result, target.exit_code) {
        (_, Some(code)) if target.state != TargetState::Ok => format!("exit code {code}"),
        // The state says it already.
        (Some(result), None) if result != target.state.as_str() => result.clone(),
        _ => String::new(),
    };
    if target.detail.is_empty() || target.detail == result {
        result
    } else if result.is_empty() || target.detail.starts_with(&result) {
        target.detail.clone()
    } else {
        format!("{result}: {}", target.detail)
    }
}

/// A state with its tone.
pub fn state_cell(state: TargetState) -> Cell {
    let tone = match state {
        TargetState::Ok => Tone::Good,
        TargetState::Failed | TargetState::Silent => Tone::Bad,
        TargetState::Denied | TargetState::Skipped | TargetState::Queued => Tone::Warning,
        TargetState::Waiting | TargetState::Sent | TargetState::Running => Tone::Plain,
    };
    Cell::new(state.as_str()).toned(tone)
}

/// Without what a terminal would obey: texts come from nodes.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::tests::{order, target};

    fn exit_of(states: &[TargetState]) -> Exit {
        exit(&order(states.iter().enumerate().map(|(i, state)| target(i, *state)).collect()))
    }

    #[test]
    fn every_mixture_has_the_documented_code() {
        use TargetState::*;
        for (state, code) in [
            (Ok, Exit::Fine),
            (Queued, Exit::Waiting),
            (Running, Exit::Waiting),
            (Denied, Exit::Denied),
            (Silent, Exit::SomeSilent),
            (Skipped, Exit::SomeFailed),
            (Failed, Exit::SomeFailed),
        ] {
            assert_eq!(exit_of(&[state]), code);
            assert_eq!(exit_of(&[Ok, state, Ok]), code);
        }
        // In the order of precedence: each wins over all that come before it.
        let rising = [Ok, Queued, Denied, Silent, Failed];
        let codes = [Exit::Fine, Exit::Waiting, Exit::Denied, Exit::SomeSilent, Exit::SomeFailed];
        for (low, _) in rising.iter().enumerate() {
            for (high, code) in codes.iter().enumerate().skip(low) {
                assert_eq!(exit_of(&[rising[low], rising[high]]), *code, "{low} {high}");
                assert_eq!(exit_of(&[rising[high], rising[low]]), *code, "{high} {low}");
            }
        }
    }

    #[test]
    fn a_proposed_order_waits() {
        let mut proposed = order(vec![target(0, TargetState::Waiting)]);
        proposed.state = OrderState::Proposed;
        assert_eq!(exit(&proposed), Exit::Waiting);
    }

    #[test]
    fn the_counts_name_what_there_is_and_add_up() {
        use TargetState::*;
        let targets: Vec<_> = [Ok, Ok, Failed, Silent, Denied, Skipped, Queued, Sent]
            .into_iter()
            .map(|s| target(0, s))
            .collect();
        let all = count(&targets);
        assert_eq!(
            counts(&all),
            "8 targeted: 2 ok, 1 failed, 1 silent, 1 denied, 1 skipped, 1 queued, 1 pending"
        );
        let sum = all.ok + all.failed + all.silent + all.denied + all.skipped + all.queued + all.pending;
        assert_eq!(all.targeted, sum);
        assert_eq!(counts(&count(&targets[..2])), "2 targeted: 2 ok");
    }

    #[test]
    fn a_target_that_did_not_end_well_says_why() {
        let mut denied = target(1, TargetState::Denied);
        denied.result = Some("denied".to_owned());
        denied.detail = "this node's policy does not allow class `shell` (policy_class)\u{1b}[2J".to_owned();
        let mut failed = target(2, TargetState::Failed);
        failed.result = Some("exited".to_owned());
        failed.exit_code = Some(3);
        failed.detail = "exit code 3".to_owned();
        let lines = problems(&[target(0, TargetState::Ok), denied, failed]);
        assert_eq!(
            lines,
            [
                "  node-1  denied   this node's policy does not allow class `shell` (policy_class)\u{fffd}[2J",
                "  node-2  failed   exit code 3"
            ]
        );
    }
}
