//! Drills and checks as the steward starts them: on record, and alone.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_agent::backup::RUN_LOCK_FILE;
use campanile_agent::backup::ledger::Ledger;
use campanile_agent::backup::runs::{Runs, StartedBy};
use campanile_agent::os::{clock, folder};
use campanile_common::api::BackupResult;

use crate::support::Node;

const CYCLE: Duration = Duration::from_secs(86_400);

fn ledger(node: &Node) -> Ledger {
    Ledger::new(&node.path("steward/backup"))
}

fn runs(node: &Node) -> Runs {
    ledger(node).read().unwrap()
}

fn target(node: &Node) -> String {
    format!("dir:{}", node.path("repository").display())
}

/// As the steward does, when it finds a policy.
fn look_after(node: &Node) {
    let cycles: BTreeMap<String, Duration> = [(target(node), CYCLE)].into();
    ledger(node).update(|runs| runs.keep_checks(&cycles, clock::now())).unwrap();
}

fn check(node: &Node) -> crate::support::Ended {
    node.backup(&["check", "--share", "1/1", "--policy", "files", "--scheduled"])
}

#[test]
fn a_check_by_schedule_counts_as_read_and_damage_is_named_until_it_is_mended() {
    let node = Node::new();
    node.run().fine();
    look_after(&node);
    check(&node).fine();
    let known = runs(&node);
    let rounds = &known.checks[&target(&node)];
    let coverage = rounds.coverage(clock::now());
    assert!(coverage.complete_since.is_some() && coverage.read == coverage.shares, "{rounds:?}");
    assert_eq!((rounds.runs[0].by, rounds.runs[0].findings), (StartedBy::Schedule, Some(0)));

    let packs = std::fs::read_dir(node.path("repository/data")).unwrap();
    let pack = packs.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap()).next();
    let pack = pack.unwrap().unwrap().path();
    let whole = std::fs::read(&pack).unwrap();
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    std::fs::write(&pack, damaged).unwrap();
    assert_eq!(check(&node).code, 1);
    let known = runs(&node);
    let rounds = &known.checks[&target(&node)];
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(rounds.damage().unwrap().detail.contains(name), "{rounds:?}");
    assert!(rounds.coverage(clock::now()).findings > 0);

    std::fs::write(&pack, whole).unwrap();
    // Whoever looks at everything: that counts.
    node.backup(&["check", "--policy", "files"]).fine();
    let known = runs(&node);
    assert_eq!(known.checks[&target(&node)].damage(), None);
}

#[test]
fn a_drill_by_schedule_is_on_record_and_waits_for_whoever_saves() {
    let node = Node::new();
    node.run().fine();
    let held = folder::try_lock(&node.path("steward/backup").join(RUN_LOCK_FILE)).unwrap().unwrap();
    let refused = node.backup(&["drill", "--policy", "files", "--scheduled"]);
    assert!(
        refused.code == 1 && refused.problems().contains("another backup runs"),
        "{}",
        refused.problems()
    );
    assert!(runs(&node).drills.is_empty(), "it was never at work");
    // An order does not wait.
    node.backup(&["drill", "--policy", "files"]).fine();
    drop(held);
    node.backup(&["drill", "--policy", "files", "--scheduled"]).fine();
    let known = runs(&node);
    let drills = &known.drills[&"files".parse().unwrap()];
    let by: Vec<StartedBy> = drills.runs.iter().map(|run| run.by).collect();
    assert_eq!(by, [StartedBy::Hand, StartedBy::Schedule]);
    let end = drills.last_success().unwrap();
    assert!(end.snapshot.is_some() && end.result == BackupResult::Ok, "{end:?}");
}
