//! Commands around a save, and commands that are saved.

use campanile_common::api::BackupResult;
use serde_json::json;

use crate::support::Node;

fn shell(script: &str) -> serde_json::Value {
    json!([["sh", "-c", script]])
}

#[test]
fn hooks_run_before_and_after_and_are_told_what_became_of_it() {
    let node = Node::new();
    let told = node.path("told");
    let before = format!("echo dump > {}", node.path("files/dump").display());
    let after = format!("echo $CAMPANILE_POLICY $CAMPANILE_RESULT $CAMPANILE_SNAPSHOT > {}", told.display());
    node.policy("files", json!({ "run_before": shell(&before), "run_after": shell(&after) }));
    let ended = node.run();
    assert_eq!(ended.fine().files, 3, "what the hook made is saved");
    let (_, snapshot, _) = ended.finished();
    let text = std::fs::read_to_string(&told).unwrap();
    assert_eq!(text.trim(), format!("files ok {}", snapshot.unwrap()));
}

#[test]
fn a_hook_that_fails_or_hangs_prevents_the_save_and_what_follows_runs_all_the_same() {
    let node = Node::new();
    let told = node.path("told");
    let after = format!("echo $CAMPANILE_RESULT >> {}", told.display());
    for (before, said) in [("echo no >&2; exit 4", "exit code 4: no"), ("sleep 1000", "longer than 1 s")] {
        node.policy(
            "files",
            json!({ "run_before": shell(before), "run_after": shell(&after), "hook_timeout": "1s" }),
        );
        let ended = node.run();
        assert_eq!((ended.code, ended.finished().0), (1, BackupResult::Failed));
        assert!(ended.problems().contains(said), "{}", ended.problems());
        assert_eq!(node.snapshots(), 0);
    }
    assert_eq!(std::fs::read_to_string(&told).unwrap(), "failed\nfailed\n");
}

#[test]
fn a_hook_that_fails_after_a_save_leaves_the_snapshot_and_is_a_failure() {
    let node = Node::new();
    let told = node.path("told");
    let second = format!("touch {}", told.display());
    node.policy("files", json!({ "run_after": [["false"], ["sh", "-c", second]] }));
    let ended = node.run();
    let (result, snapshot, _) = ended.finished();
    assert_eq!((ended.code, result, snapshot.is_some()), (1, BackupResult::Failed, true));
    assert!(told.exists() && node.snapshots() == 1);
}

#[test]
fn what_a_command_writes_is_a_file_and_half_of_it_is_none() {
    let node = Node::new();
    let command = |script: &str| {
        let argv = ["sh", "-c", script];
        node.policy("files", json!({ "paths": null, "command": argv, "file_name": "db.sql" }));
    };
    command("seq 1 100000");
    let ended = node.run();
    assert_eq!(ended.fine().files, 1);
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(node.restic(&["dump", "latest", "/db.sql"]), expected);
    command("seq 1 100000; echo lost connection >&2; exit 2");
    let ended = node.run();
    assert_eq!((ended.code, ended.finished().0), (1, BackupResult::Failed));
    assert!(ended.problems().contains("exit code 2: lost connection"), "{}", ended.problems());
    assert_eq!(node.snapshots(), 1);
    node.policy("files", json!({ "paths": null, "command": ["/nowhere/pg_dump"], "file_name": "db.sql" }));
    assert!(node.run().problems().contains("/nowhere/pg_dump"));
    assert!(node.restic(&["check", "--read-data"]).contains("no errors"));
}
