//! What this node tells the aggregator of its proofs. Pure.

use campanile_common::api::BackupResult;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::proof::{
    CHECKS_MAX, CheckReport, DRILLS_MAX, DrillReport, ProofEnd, ProofReport, ProofResult, TEXT_BYTES_MAX,
};

use crate::backup::rounds::Rounds;
use crate::backup::runs::{History, RunEnd, Runs};

/// The report of what is on record.
pub(super) fn report(runs: &Runs, now: Timestamp) -> ProofReport {
    let mut drills: Vec<DrillReport> = runs
        .drills
        .iter()
        .filter(|(_, history)| history.next.is_some() || !history.runs.is_empty())
        .map(|(name, history)| drill(name.as_str(), history))
        .collect();
    drills.sort_by_key(|drill| is_fine(drill.last.as_ref()));
    drills.truncate(DRILLS_MAX);
    let checks = runs.checks.iter();
    let mut checks: Vec<CheckReport> = checks.map(|(target, rounds)| check(target, rounds, now)).collect();
    checks.sort_by_key(|check| (check.findings == 0, is_fine(check.last.as_ref())));
    checks.truncate(CHECKS_MAX);
    ProofReport { drills, checks }
}

fn is_fine(last: Option<&ProofEnd>) -> bool {
    last.is_none_or(|last| last.result == ProofResult::Fine)
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn ended(end: &RunEnd) -> ProofEnd {
    let result = match end.result {
        BackupResult::Ok => ProofResult::Fine,
        BackupResult::Partial | BackupResult::Failed => ProofResult::Failed,
        BackupResult::Stopped => ProofResult::Stopped,
    };
    ProofEnd { time: end.time, result, detail: cut(&end.detail) }
}

fn drill(policy: &str, history: &History) -> DrillReport {
    let success = history.last_success();
    DrillReport {
        policy: policy.to_owned(),
        last: history.last_end().map(ended),
        succeeded: success.map(|end| end.time),
        took_ms: success.map_or(0, |end| end.duration_ms),
    }
}

fn check(target: &str, rounds: &Rounds, now: Timestamp) -> CheckReport {
    let coverage = rounds.coverage(now);
    let last = rounds.runs.iter().rev().find_map(|run| run.end.as_ref());
    CheckReport {
        target: cut(target),
        since: rounds.since,
        cycle_s: rounds.cycle_s,
        shares: coverage.shares,
        read: coverage.read,
        complete_since: coverage.complete_since,
        findings: coverage.findings,
        last: rounds.damage().or_else(|| rounds.failure()).or(last).map(ended),
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::backup::PolicyName;
    use campanile_common::wire::v1::control::Control;

    use super::*;
    use crate::backup::runs::StartedBy;

    const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn end(result: BackupResult, detail: String) -> RunEnd {
        RunEnd { time: NOON, result, snapshot: Some("s".to_owned()), duration_ms: 1500, detail }
    }

    #[test]
    fn the_last_drill_and_the_last_that_went_well_are_told_whoever_began_them() {
        let (mut runs, etc) = (Runs::default(), "etc".parse().unwrap());
        assert!(report(&runs, NOON).is_empty());
        for (result, detail) in [(BackupResult::Ok, ""), (BackupResult::Failed, "2 files")] {
            runs.begin_drill(&etc, StartedBy::Order, NOON);
            runs.finish_drill(&etc, NOON, end(result, detail.to_owned()));
        }
        let told = report(&runs, NOON).drills.remove(0);
        assert_eq!((told.succeeded, told.took_ms), (Some(NOON), 1500));
        let last = told.last.unwrap();
        assert_eq!((last.result, last.detail.as_str()), (ProofResult::Failed, "2 files"));
    }

    #[test]
    fn the_longest_report_fits_a_frame_and_names_failures_first() {
        let mut runs = Runs::default();
        for number in 0..100 {
            let name: PolicyName = format!("{}{number:04}", "p".repeat(59)).parse().unwrap();
            let result = if number == 99 { BackupResult::Failed } else { BackupResult::Ok };
            runs.begin_drill(&name, StartedBy::Schedule, NOON);
            runs.finish_drill(&name, NOON, end(result, "\u{e4}".repeat(5000)));
            let target = format!("dir:/{}{number}", "\u{e4}".repeat(2000));
            runs.keep_checks(
                &[(target.clone(), std::time::Duration::from_secs(86_400))]
                    .into_iter()
                    .chain(
                        runs.checks
                            .keys()
                            .map(|known| (known.clone(), std::time::Duration::from_secs(86_400))),
                    )
                    .collect(),
                NOON,
            );
        }
        let report = report(&runs, NOON);
        assert!(report.drills[0].policy.ends_with("0099"), "{:?}", report.drills[0]);
        assert_eq!((report.drills.len(), report.checks.len()), (DRILLS_MAX, CHECKS_MAX));
        assert!(Control::Proof(Box::new(report)).to_bytes().is_ok());
    }
}
