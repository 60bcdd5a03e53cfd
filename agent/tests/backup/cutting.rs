//! Runs that are killed or told to stop.

use std::process::Child;

use campanile_common::api::BackupResult;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Ended, Node, assert_same, below, eventually, noise};

const BYTES: usize = 64 << 20;

/// A node whose first run takes its time.
fn slow_node() -> Node {
    let node = Node::new();
    for number in 0..16 {
        std::fs::write(node.path(&format!("files/noise-{number}")), noise(BYTES / 16)).unwrap();
    }
    node.policy("files", json!({ "read_limit": "16 MiB/s" }));
    node
}

/// A run that has stored something, and has more to store.
fn begun(node: &Node) -> Child {
    let child = node.start();
    eventually("something is stored", || node.packs() > 0);
    child
}

/// Goes on where the cut run ended, and all is there.
fn assert_resumes(node: &Node) {
    assert_eq!(node.snapshots(), 0, "half a run is no snapshot");
    node.policy("files", json!({}));
    let figures = node.run().fine();
    assert_eq!(figures.files, 18);
    assert!(figures.added_bytes < BYTES as u64, "what was stored is not stored again: {figures:?}");
    assert!(node.restic(&["check", "--read-data"]).contains("no errors"));
    let to = node.path("restored");
    node.backup(&["restore", "latest", "--to", to.to_str().unwrap()]).fine();
    assert_same(&below(&to, &node.path("files")), &node.path("files"));
}

#[test]
fn a_killed_run_is_gone_on_with() {
    let node = slow_node();
    let mut child = begun(&node);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_resumes(&node);
}

#[test]
fn a_run_that_is_told_to_stop_ends_cleanly_and_is_gone_on_with() {
    let node = slow_node();
    let told = node.path("told");
    let after = format!("echo $CAMPANILE_RESULT > {}", told.display());
    node.policy("files", json!({ "read_limit": "16 MiB/s", "run_after": [["sh", "-c", after]] }));
    let child = begun(&node);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = Ended::of(&child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.finished().0), (1, BackupResult::Stopped), "{:?}", ended.lines);
    assert_eq!(std::fs::read_to_string(&told).unwrap().trim(), "stopped");
    let locks = std::fs::read_dir(node.path("repository/locks")).unwrap().count();
    assert_eq!(locks, 0, "it gave its lock back");
    assert_resumes(&node);
}

#[test]
fn a_node_saves_once_at_a_time() {
    let node = slow_node();
    // Longer than a second one waits.
    node.policy("files", json!({ "read_limit": "4 MiB/s" }));
    let mut child = begun(&node);
    let refused = node.run();
    assert!(
        refused.code == 1 && refused.problems().contains("another backup runs"),
        "{}",
        refused.problems()
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
