//! Invented nodes at invented times.

use std::sync::Arc;

use campanile_common::backup::{Keep, Policy, StoredObject};
use campanile_common::config::Backup;
use campanile_common::id::Digest;
use serde_json::json;

use super::super::record::{Bound, Closure, Flaw, Record, Suspicion};
use super::super::standing::Standing;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn at(hours: u32) -> Timestamp {
    START + HOUR * hours
}

fn booked(name: &str, target: &str) -> (PolicyName, Booked) {
    let said: Backup = serde_json::from_value(json!({
        "paths": ["/a"], "schedule": "@every 6h", "keep": {"last": 9}, "target": target, "max_age": "10h",
        "escrow": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],
    }))
    .unwrap();
    let name: PolicyName = name.parse().unwrap();
    let policy = Policy::read(name.clone(), &said).unwrap();
    (name, Booked { policy, schedule: "@every 6h".to_owned() })
}

fn policies(named: &[(&str, &str)]) -> Policies {
    Ok(Arc::new(named.iter().map(|(name, target)| booked(name, target)).collect()))
}

fn standings() -> Standings {
    let standing = Standing { since: START, keep: Keep::default(), former: None, gone: None };
    ["etc", "db"].map(|name| (name.parse().unwrap(), standing)).into()
}

fn snapshot(number: u8, policy: Option<&str>, hours: u32) -> Record {
    let policy = policy.map(|name| name.parse().unwrap());
    let closure = Closure { packs: 0, bytes: 50, new_bytes: 5, digest: Digest::from_bytes([0; 32]), policy };
    let object = StoredObject::new(StoredKind::Snapshot, Digest::from_bytes([number; 32]));
    Record::Stored { object, size: 7, at: at(hours), bound: Some(Bound::Closure(closure)) }
}

fn judged(records: &[Record], policies: Option<&Policies>, hours: u32) -> Judged {
    let account = Account::replay(records);
    let standings = standings();
    let proof = ProofReport::default();
    let known = Known {
        account: Some(&account),
        proof: &proof,
        is_unusable: false,
        policies,
        standings: &standings,
        now: at(hours),
    };
    judge_node(&known)
}

fn states(judged: &Judged) -> Vec<(&str, BackupState)> {
    judged.policies.iter().map(|policy| (policy.policy.as_str(), policy.state)).collect()
}

#[test]
fn each_policy_is_judged_by_its_own_snapshots_and_the_node_by_the_worst() {
    let both = policies(&[("etc", "aggregator"), ("db", "aggregator")]);
    let records = [snapshot(1, Some("etc"), 1), snapshot(2, Some("db"), 8), snapshot(3, None, 12)];
    let found = judged(&records, Some(&both), 9);
    assert_eq!((found.state, found.reasons.len()), (BackupState::Fresh, 0));
    let found = judged(&records, Some(&both), 12);
    assert_eq!(states(&found), [("db", BackupState::Fresh), ("etc", BackupState::Late)]);
    assert_eq!(found.state, BackupState::Late);
    assert_eq!(found.reasons, ["etc: the newest snapshot is 11 h old, at most 10h is promised"]);
    assert!(matches!(&found.troubles[..], [BackupTrouble::Late { policy, .. }] if policy == "etc"));
    assert_eq!(judged(&records, Some(&both), 22).state, BackupState::Critical);
}

#[test]
fn a_policy_without_a_snapshot_waits_and_is_then_missed() {
    let one = policies(&[("etc", "aggregator")]);
    assert_eq!(judged(&[], Some(&one), 10).state, BackupState::Waiting);
    let found = judged(&[snapshot(1, Some("other"), 10)], Some(&one), 11);
    assert_eq!(found.state, BackupState::Late);
    assert_eq!(found.reasons, ["etc: no snapshot for 11 h, one was due within 10h"]);
    assert!(matches!(found.troubles[..], [BackupTrouble::Missing { .. }]));
}

#[test]
fn what_is_saved_elsewhere_is_unknown_and_hides_nothing() {
    let elsewhere = policies(&[("etc", "dir:/mnt/b")]);
    assert_eq!(judged(&[], Some(&elsewhere), 99).state, BackupState::Unknown);
    let both = policies(&[("db", "dir:/mnt/b"), ("etc", "aggregator")]);
    let found = judged(&[snapshot(1, Some("etc"), 1)], Some(&both), 2);
    assert_eq!((found.state, found.reasons.len()), (BackupState::Fresh, 0));
    assert_eq!(states(&found), [("db", BackupState::Unknown), ("etc", BackupState::Fresh)]);
}

#[test]
fn without_a_configuration_nothing_is_known_and_nobody_is_blamed() {
    let found = judged(&[snapshot(1, Some("etc"), 1)], None, 999);
    assert_eq!((found.state, found.troubles.len()), (BackupState::Unknown, 0));
    assert_eq!(judged(&[], Some(&policies(&[])), 1).reasons, ["it has no policy"]);
}

#[test]
fn damage_and_holds_are_critical_however_young_the_newest_is() {
    let one = policies(&[("etc", "aggregator")]);
    let object = StoredObject::new(StoredKind::Pack, Digest::from_bytes([9; 32]));
    let pack = Record::Stored { object, size: 5, at: at(1), bound: None };
    let found = Record::Found { object, at: at(2), flaw: Flaw::Damaged };
    let held = Record::Held {
        id: 0,
        at: at(2),
        reasons: vec![Suspicion::Newest],
        detail: "all".to_owned(),
        proposed: 4,
    };
    let fine = [pack, snapshot(1, Some("etc"), 1)];
    let damaged = judged(&[&fine[..], &[found]].concat(), Some(&one), 2);
    assert_eq!((damaged.state, damaged.troubles.len()), (BackupState::Critical, 1));
    let held = judged(&[&fine[..], &[held]].concat(), Some(&one), 2);
    assert_eq!(held.reasons, ["deletions wait for a person: newest"]);
    assert_eq!(held.state, BackupState::Critical);
}

#[test]
fn snapshots_are_listed_newest_first_and_deleted_ones_on_demand() {
    let trashed = StoredObject::new(StoredKind::Snapshot, Digest::from_bytes([1; 32]));
    let account = Account::replay(&[
        snapshot(1, Some("etc"), 1),
        snapshot(2, None, 2),
        snapshot(3, Some("etc"), 3),
        Record::Trashed { object: trashed, at: at(4), until: at(50) },
    ]);
    let listed = |has_deleted| {
        let found = snapshots(&account, has_deleted).into_iter();
        found.map(|snapshot| (snapshot.received, snapshot.policy, snapshot.deleted_until)).collect::<Vec<_>>()
    };
    let etc = || Some("etc".to_owned());
    let stored = [(at(3), etc(), None), (at(2), None, None)];
    assert_eq!(listed(false), stored);
    assert_eq!(listed(true)[..2], stored);
    assert_eq!(listed(true)[2], (at(1), etc(), Some(at(50))));
}
