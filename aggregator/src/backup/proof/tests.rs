//! Invented reports at invented times.

use std::sync::Arc;

use campanile_common::backup::{Keep, Policy};
use campanile_common::config::Backup;
use serde_json::json;

use super::super::standing::Standing;
use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn etc() -> PolicyName {
    "etc".parse().unwrap()
}

/// A policy `etc` that is drilled each week.
fn policies() -> BTreeMap<PolicyName, Booked> {
    let said: Backup = serde_json::from_value(json!({
        "paths": ["/etc"], "schedule": "@daily", "keep": {"last": 9}, "drill": {"schedule": "@weekly"},
        "escrow": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],
    }))
    .unwrap();
    let policy = Policy::read(etc(), &said).unwrap();
    [(etc(), Booked { policy, schedule: "@daily".to_owned() })].into()
}

fn end(result: ProofResult, detail: &str) -> Option<ProofEnd> {
    Some(ProofEnd { time: START, result, detail: detail.to_owned() })
}

fn drilled(last: Option<ProofEnd>, succeeded: Option<Timestamp>) -> ProofReport {
    let drill = DrillReport { policy: "etc".to_owned(), last, succeeded, took_ms: 1500 };
    ProofReport { drills: vec![drill], checks: Vec::new() }
}

fn checked(findings: u64, complete_since: Option<Timestamp>) -> ProofReport {
    let check = CheckReport {
        target: "aggregator".to_owned(),
        since: START,
        cycle_s: 30 * 86_400,
        shares: 30,
        read: 30,
        complete_since,
        findings,
        last: end(ProofResult::Failed, "pack 4f0c is damaged"),
    };
    // Of a place that no policy names any more: nobody minds.
    let old = CheckReport { target: "dir:/old".to_owned(), findings: 9, ..check.clone() };
    ProofReport { drills: drilled(None, Some(START + DAY * 100)).drills, checks: vec![check, old] }
}

fn found(report: &ProofReport, days: u32) -> Vec<(BackupState, String)> {
    let standing = Standing { since: START, keep: Keep::default(), former: None, gone: None };
    let standings = [(etc(), standing)].into();
    let flaws = flaws(report, &policies(), &standings, START + DAY * days);
    flaws.into_iter().map(|flaw| (flaw.state, flaw.reason)).collect()
}

#[test]
fn a_drill_that_failed_is_critical_until_one_goes_well_and_one_that_was_cut_is_not() {
    let failed = drilled(end(ProofResult::Failed, "2 files"), Some(START));
    assert_eq!(
        found(&failed, 1),
        [(BackupState::Critical, "etc: the last drill failed: 2 files".to_owned())]
    );
    assert_eq!(found(&drilled(end(ProofResult::Stopped, "cut"), Some(START)), 1), []);
    assert_eq!(found(&drilled(end(ProofResult::Fine, ""), Some(START)), 1), []);
}

#[test]
fn a_drill_that_is_promised_and_does_not_come_is_missed_also_of_a_node_that_says_nothing() {
    let silent = ProofReport::default();
    assert_eq!(found(&silent, 15), []);
    assert_eq!(found(&silent, 16).first().map(|(state, _)| *state), Some(BackupState::Late));
    let told = drilled(end(ProofResult::Fine, ""), Some(START + DAY));
    assert_eq!(found(&told, 16), []);
    let reason = "etc: no drill went well for 16 d, one is promised every 7d".to_owned();
    assert_eq!(found(&told, 17), [(BackupState::Late, reason)]);
    assert_eq!(found(&silent, 31).first().map(|(state, _)| *state), Some(BackupState::Critical));
}

#[test]
fn what_decrypting_finds_is_critical_and_what_is_not_decrypted_in_time_is_late() {
    let damaged = found(&checked(2, Some(START)), 1);
    let reason = "aggregator: decrypting found 2 things wrong: pack 4f0c is damaged";
    assert_eq!(damaged, [(BackupState::Critical, reason.to_owned())]);
    assert_eq!(found(&checked(0, Some(START + DAY)), 46), []);
    let late = found(&checked(0, Some(START + DAY)), 47);
    assert_eq!(late.len(), 1);
    assert!(late[0].0 == BackupState::Late && late[0].1.ends_with("is promised"), "{late:?}");
    assert_eq!(found(&checked(0, None), 46).len(), 1, "it never was");
}

#[test]
fn what_a_node_says_is_cut_and_no_time_lies_ahead() {
    let mut report = checked(1, Some(START + DAY * 999));
    report.drills[0].last = end(ProofResult::Failed, &format!("\x1b[2J{}", "x".repeat(5000)));
    report.drills.push(DrillReport { policy: "../etc".to_owned(), last: None, succeeded: None, took_ms: 0 });
    report.checks[0].read = 200;
    let report = clean(report, START);
    assert_eq!((report.drills.len(), report.checks[0].read), (1, 30));
    assert_eq!((report.drills[0].succeeded, report.checks[0].complete_since), (Some(START), Some(START)));
    let detail = &report.drills[0].last.as_ref().unwrap().detail;
    assert!(detail.len() == TEXT_BYTES_MAX && !detail.contains(char::is_control), "{detail}");
}

#[test]
fn each_failure_is_for_the_audit_log_once() {
    let before = drilled(end(ProofResult::Fine, ""), Some(START));
    let failed = drilled(end(ProofResult::Failed, "2 files"), Some(START));
    assert_eq!(notes(&before, &failed), [("backup.drill-failed", "policy=etc 2 files".to_owned())]);
    assert_eq!(notes(&failed, &failed), []);
    let damaged = checked(2, None);
    let told = notes(&before, &damaged);
    assert_eq!(told.len(), 2, "each place: {told:?}");
    assert_eq!(notes(&damaged, &damaged), []);
}

#[test]
fn how_a_node_stands_names_the_drill_and_the_places_that_are_used() {
    let report = checked(2, None);
    let standing = drill_standing(&report, &etc()).unwrap();
    assert_eq!((standing.result, standing.restored_ms), (None, Some(1500)));
    let shown = check_standings(&report, Some(&Ok(Arc::new(policies()))));
    assert_eq!((shown.len(), shown[0].shares, shown[0].findings), (1, 30, 2));
    assert!(check_standings(&report, None).is_empty());
}
