//! Runs that are killed at random moments: while they save, let go of snapshots and pack anew.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Node, assert_same, below};

/// So often a run is killed; `CAMPANILE_BACKUP_KILLS` for more.
const KILLS: usize = 20;
/// restic looks at the outcome of one kill in so many; we look at all.
const ORACLE_EVERY: usize = 5;

/// Numbers that a seed gives.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn kills() -> usize {
    std::env::var("CAMPANILE_BACKUP_KILLS").map_or(KILLS, |text| text.parse().unwrap())
}

/// A third of the files is written anew, and the keep rules are due: the next run saves, lets go and packs anew.
fn prepare(node: &Node, numbers: &mut Numbers) {
    for number in 0..30 {
        let path = node.path(&format!("files/small-{number}"));
        if numbers.next().is_multiple_of(3) || !path.exists() {
            let bytes: Vec<u8> = (0..5000).flat_map(|_| numbers.next().to_le_bytes()).collect();
            std::fs::write(path, bytes).unwrap();
        }
    }
    let kept = node.path("steward/backup/kept");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(kept.join("files.json"), r#"{"begun":"2026-01-01T00:00:00Z","is_done":false}"#).unwrap();
}

#[track_caller]
fn assert_in_order(node: &Node, is_for_restic: bool) {
    assert_eq!(node.backup(&["check"]).fine().findings, 0);
    if is_for_restic {
        // A lock that the kill left is in the way of restic, not of us.
        assert!(node.restic(&["check", "--no-lock", "--read-data"]).contains("no errors were found"));
    }
}

#[test]
fn runs_that_are_killed_at_any_moment_leave_a_repository_in_order() {
    let node = Node::new();
    node.policy("files", json!({ "keep": { "last": 3 } }));
    let seed = u64::from(std::process::id());
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..4 {
        prepare(&node, &mut numbers);
        node.run().fine();
    }
    prepare(&node, &mut numbers);
    let begun = Instant::now();
    assert_eq!(node.run().fine().forgotten, 1);
    let whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
    println!("seed {seed}, a whole run takes {whole} us");
    let (rounds, mut killed) = (kills(), 0);
    for round in 0..rounds {
        prepare(&node, &mut numbers);
        let mut child = node.start();
        std::thread::sleep(Duration::from_micros(numbers.next() % whole));
        child.kill().unwrap();
        killed += usize::from(!child.wait_with_output().unwrap().status.success());
        assert_in_order(&node, round % ORACLE_EVERY == 0);
    }
    println!("run: {killed} of {rounds} killed in the middle, 0 repositories with errors");
    assert!(killed > rounds / 2, "{killed} of {rounds} were killed in time");
    prepare(&node, &mut numbers);
    node.run().fine();
    assert_eq!(node.snapshots(), 3);
    assert_in_order(&node, true);
    // What a cut write left is no object, and is no lock.
    let names =
        std::fs::read_dir(node.path("repository/locks")).unwrap().map(|entry| entry.unwrap().file_name());
    let locks: Vec<_> = names.filter(|name| !name.to_string_lossy().starts_with('.')).collect();
    assert!(locks.is_empty(), "{locks:?}");
    let to = node.path("restored");
    node.backup(&["restore", "latest", "--to", to.to_str().unwrap()]).fine();
    assert_same(&below(&to, &node.path("files")), &node.path("files"));
}
