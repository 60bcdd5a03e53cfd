//! What a policy's keep rules let go, in a folder.

use std::path::PathBuf;

use campanile_common::api::BackupResult;
use serde_json::json;

use crate::support::{Ended, Node, assert_same, below, noise};

fn record(node: &Node) -> PathBuf {
    node.path("steward/backup/kept/files.json")
}

/// A day has passed, as far as the keep rules know.
fn a_day_later(node: &Node) {
    std::fs::remove_file(record(node)).unwrap();
}

/// A run with content of its own, which is as large as `bytes`.
fn changed(node: &Node, bytes: usize) -> Ended {
    std::fs::write(node.path("files/changing"), noise(bytes)).unwrap();
    node.run()
}

#[test]
fn once_a_day_snapshots_go_that_the_rules_do_not_keep_with_what_only_they_needed() {
    let node = Node::new();
    node.policy("files", json!({ "keep": { "last": 2 } }));
    for _ in 0..4 {
        let figures = changed(&node, 2_000_000).fine();
        assert_eq!((figures.forgotten, figures.freed_bytes), (0, 0), "the first run followed the rules");
    }
    assert_eq!((node.snapshots(), node.packs()), (4, 8));
    a_day_later(&node);
    let figures = changed(&node, 2_000_000).fine();
    assert_eq!((figures.forgotten, figures.stays, node.snapshots()), (3, 0, 2));
    assert!(figures.freed_bytes > 5_000_000, "{figures:?}");
    assert_eq!(changed(&node, 1000).fine().forgotten, 0, "once a day");
    assert!(node.restic(&["check", "--read-data"]).contains("no errors"));
    let to = node.path("restored");
    node.backup(&["restore", "latest", "--to", to.to_str().unwrap()]).fine();
    assert_same(&below(&to, &node.path("files")), &node.path("files"));
}

#[test]
fn a_policy_leaves_the_snapshots_of_others_alone() {
    let node = Node::new();
    node.policy("files", json!({ "keep": { "last": 1 } }));
    node.policy("other", json!({ "keep": { "last": 9 } }));
    for _ in 0..2 {
        node.backup(&["run", "--policy", "other"]).fine();
        node.run().fine();
    }
    a_day_later(&node);
    assert_eq!(node.run().fine().forgotten, 2);
    assert_eq!(node.backup(&["list", "--policy", "other"]).fine().files, 2);
    assert_eq!(node.backup(&["list", "--policy", "files"]).fine().files, 1);
}

#[test]
fn nothing_goes_while_another_works_on_the_repository_and_the_run_is_fine() {
    let node = Node::new();
    node.policy("files", json!({ "keep": { "last": 1 } }));
    node.run().fine();
    node.run().fine();
    a_day_later(&node);
    // Whoever reads holds a lock that others share; its process lives as long as this one waits.
    let repository = node.path("repository");
    let mut reader = std::process::Command::new("restic")
        .args(["--no-cache", "-r"])
        .arg(&repository)
        .args(["backup", "--stdin", "--stdin-filename", "held"])
        .env("RESTIC_PASSWORD", node.password())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let locks = || std::fs::read_dir(repository.join("locks")).unwrap().count();
    crate::support::eventually("restic holds its lock", || locks() == 1);
    let ended = node.run();
    let (result, snapshot, figures) = ended.finished();
    assert_eq!((ended.code, result, figures.forgotten), (0, BackupResult::Ok, 0));
    assert!(snapshot.is_some() && ended.problems().contains("locked by process"), "{}", ended.problems());
    drop(reader.stdin.take());
    reader.wait().unwrap();
    assert_eq!(node.run().fine().forgotten, 0, "not at every run");
    a_day_later(&node);
    assert_eq!(node.run().fine().forgotten, 4);
}

#[test]
fn rules_that_were_cut_are_followed_to_their_end_though_no_snapshot_goes_any_more() {
    let node = Node::new();
    node.policy("files", json!({ "keep": { "last": 1 } }));
    changed(&node, 1_000_000).fine();
    changed(&node, 1_000_000).fine();
    // As a kill leaves it between the snapshots and the packs.
    let oldest = node.backup(&["list"]);
    let oldest = oldest.lines.iter().find_map(|line| match line {
        campanile_common::api::BackupLine::Snapshot(snapshot) => Some(snapshot.id.clone()),
        _ => None,
    });
    std::fs::remove_file(node.path("repository/snapshots").join(oldest.unwrap())).unwrap();
    std::fs::write(record(&node), r#"{"begun":"2026-01-01T00:00:00Z","is_done":false}"#).unwrap();
    let figures = node.run().fine();
    assert_eq!(figures.forgotten, 1);
    assert!(figures.freed_bytes > 900_000, "{figures:?}");
    assert!(std::fs::read_to_string(record(&node)).unwrap().contains("true"));
}
