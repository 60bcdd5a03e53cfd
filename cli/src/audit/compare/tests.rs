//! Each kind of tampering is found, and named.

use campanile_common::api::AuditOutcome;
use campanile_common::audit::{AuditKey, CHAIN_START, entry_hash};
use campanile_common::time::Timestamp;

use super::*;
use crate::order::tests::{node_id, order, target};

const FLEET: FleetId = FleetId::from_bytes([1; 16]);

fn audit_key() -> AuditKey {
    AuditKey::from_seed(&[5; 32])
}

fn chain(targets: &[String]) -> Vec<AuditEntry> {
    let mut entries: Vec<AuditEntry> = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let mut entry = AuditEntry {
            sequence: u64::try_from(index).unwrap() + 1,
            previous: entries.last().map_or(CHAIN_START, |entry| entry.hash),
            time: Timestamp::from_millis(1),
            actor: "person:ada".to_owned(),
            action: "order.finished".to_owned(),
            target: target.clone(),
            outcome: AuditOutcome::Ok,
            detail: String::new(),
            hash: CHAIN_START,
        };
        entry.hash = entry_hash(&entry);
        entries.push(entry);
    }
    entries
}

fn log_of(entries: &[AuditEntry]) -> Log {
    Log {
        found: verify_entries(entries, &[]),
        last: entries.last().map_or(Head::START, |e| Head { sequence: e.sequence, hash: e.hash }),
        hashes: entries.iter().map(|entry| (entry.sequence, entry.hash)).collect(),
    }
}

fn checkpoint(entry: &AuditEntry) -> AuditCheckpoint {
    let head = Head { sequence: entry.sequence, hash: entry.hash };
    let signed = audit_key().checkpoint(FLEET, head, Timestamp::from_millis(7));
    AuditCheckpoint {
        sequence: signed.sequence,
        hash: signed.hash,
        time: signed.time,
        signature: BASE64.encode(&signed.signature),
    }
}

fn id() -> OrderId {
    order(Vec::new()).order_id
}

/// A log of five entries, and a node that ended an order and keeps two checkpoints.
fn whole() -> (Vec<AuditEntry>, Reading, Vec<Ended>) {
    let entries = chain(&["a", "b", "c", "d", "e"].map(str::to_owned));
    let own = chain(&[format!("order:{}", id()), "x".to_owned(), "y".to_owned()]);
    let witnessed = own.get(1).map(|entry| AuditPoint { sequence: entry.sequence, hash: entry.hash });
    let checkpoints = vec![checkpoint(&entries[1]), checkpoint(&entries[4])];
    let ended = ended(&order(vec![target(1, TargetState::Ok)]));
    (entries, Reading { checkpoints, entries: own, witnessed }, ended)
}

fn report(entries: &[AuditEntry], reading: &Reading, ended: &[Ended]) -> NodeReport {
    let log = log_of(entries);
    node((FLEET, &audit_key().public()), &log, (node_id(1), "node-1"), reading, ended)
}

#[track_caller]
fn assert_problem(report: &NodeReport, words: &[&str]) {
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    for word in words {
        assert!(report.problems[0].contains(word), "{word}: {:?}", report.problems);
    }
}

#[test]
fn a_whole_log_and_a_whole_node_agree() {
    let (entries, reading, ended) = whole();
    let found = report(&entries, &reading, &ended);
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!((found.checkpoints, found.entries, found.orders), (2, 3, 1));
}

#[test]
fn a_log_that_was_written_anew_is_found_by_the_checkpoint_that_differs() {
    let (_, reading, ended) = whole();
    let rewritten = chain(&["a", "b", "c", "D", "e"].map(str::to_owned));
    let found = report(&rewritten, &reading, &ended);
    assert_problem(&found, &["entry 5 of the aggregator's log", "rewritten"]);
    assert_eq!(found.checkpoints, 1, "the one before still holds");
}

#[test]
fn a_log_whose_end_was_cut_off_is_found() {
    let (entries, reading, ended) = whole();
    let found = report(&entries[..3], &reading, &ended);
    assert_problem(&found, &["entry 5", "missing", "ends with entry 3"]);
}

#[test]
fn a_checkpoint_of_another_key_or_altered_is_named() {
    let (entries, mut reading, ended) = whole();
    reading.checkpoints[1].time = Timestamp::from_millis(8);
    assert_problem(&report(&entries, &reading, &ended), &["checkpoint of entry 5", "not signed"]);
    reading.checkpoints[1].signature = "!".to_owned();
    assert_problem(&report(&entries, &reading, &ended), &["checkpoint of entry 5", "not signed"]);
}

#[test]
fn an_entry_of_a_nodes_own_chain_that_was_altered_is_named() {
    let (entries, mut reading, ended) = whole();
    reading.entries[1].detail = "nothing happened".to_owned();
    assert_problem(&report(&entries, &reading, &ended), &["its own chain", "entry 2 was altered"]);
}

#[test]
fn a_nodes_chain_that_was_written_anew_or_cut_off_misses_what_the_aggregator_saw() {
    let (entries, reading, ended) = whole();
    let mut anew = reading.clone();
    anew.entries = chain(&[format!("order:{}", id()), "z".to_owned(), "y".to_owned()]);
    assert_problem(&report(&entries, &anew, &ended), &["entry 2", "rewritten"]);
    let mut cut = reading;
    cut.entries.truncate(1);
    assert_problem(&report(&entries, &cut, &ended), &["entry 2 is missing"]);
}

#[test]
fn an_order_that_the_node_does_not_know_was_invented() {
    let (entries, mut reading, ended) = whole();
    reading.entries = chain(&["order:ff".to_owned(), "x".to_owned(), "y".to_owned()]);
    reading.witnessed = None;
    assert_problem(&report(&entries, &reading, &ended), &[&id().to_string(), "does not tell of it"]);
}

#[test]
fn a_run_of_a_standing_order_counts_for_its_order() {
    let (entries, mut reading, ended) = whole();
    reading.entries = chain(&[format!("order:{}@2026-05-03T10:14:00.000Z", id())]);
    reading.witnessed = None;
    assert_eq!(report(&entries, &reading, &ended).orders, 1);
}

#[test]
fn only_what_the_node_itself_answered_is_expected_of_it() {
    let denied = |detail: &str| {
        let mut denied = target(1, TargetState::Denied);
        denied.result = Some("denied".to_owned());
        denied.detail = detail.to_owned();
        denied
    };
    let expected = |target| ended(&order(vec![target])).len();
    assert_eq!(expected(target(1, TargetState::Failed)), 1);
    assert_eq!(expected(denied("this node's policy does not allow class `shell` (policy_class)")), 1);
    assert_eq!(expected(denied("role")), 0);
    assert_eq!(expected(denied("the steward cannot be reached (no_steward)")), 0);
    for state in [TargetState::Silent, TargetState::Skipped, TargetState::Queued, TargetState::Running] {
        assert_eq!(expected(target(1, state)), 0);
    }
}
