//! Runs into a bucket, with stock restic as the judge.

use serde_json::json;

use crate::bucket::{Bucket, count, write_credentials};
use crate::support::{Node, assert_same, below, eventually, noise};

fn restore_and_compare(node: &Node, snapshot: &str, name: &str) {
    let to = node.path(name);
    node.backup(&["restore", snapshot, "--policy", "files", "--to", to.to_str().unwrap()]).fine();
    assert_same(&below(&to, &node.path("files")), &node.path("files"));
}

fn a_day_later(node: &Node) {
    std::fs::remove_file(node.path("steward/backup/kept/files.json")).unwrap();
}

#[test]
fn a_bucket_is_saved_to_listed_checked_restored_from_and_shared_with_restic() {
    let (node, mut bucket) = (Node::new(), Bucket::start());
    bucket.policy(&node, json!({ "drill": { "schedule": "@weekly", "command": ["test", "-d", "{}"] } }));
    std::fs::write(node.path("files/large"), noise(40_000_000)).unwrap();
    assert_eq!(node.run().fine().files, 3);
    assert_eq!(node.run().fine().files_unchanged, 3);
    assert_eq!(node.backup(&["list"]).fine().files, 2);
    assert_eq!(node.backup(&["list", "--target", &bucket.target()]).fine().files, 2);
    let check = node.backup(&["check"]).fine();
    assert!(check.stored_bytes > 40_000_000 && check.stored_bytes == check.of_bytes, "{check:?}");
    restore_and_compare(&node, "latest", "restored");
    node.backup(&["drill", "--policy", "files"]).fine();
    bucket.dump(&node);
    assert_eq!(count(&node.path("repository/locks")), 0);
    assert!(bucket.restic(&node, &["check", "--read-data"]).contains("no errors were found"));
    let theirs = node.path("theirs");
    bucket.restic(&node, &["restore", "latest", "--target", theirs.to_str().unwrap()]);
    assert_same(&below(&theirs, &node.path("files")), &node.path("files"));
    // And the other way round.
    std::fs::write(node.path("files/a"), "by restic\n").unwrap();
    bucket.restic(&node, &["backup", node.path("files").to_str().unwrap()]);
    assert_eq!(node.backup(&["list"]).fine().files, 3);
    let listed = node.backup(&["list"]);
    let newest = listed.lines.iter().rev().find_map(|line| match line {
        campanile_common::api::BackupLine::Snapshot(snapshot) => Some(snapshot.id.clone()),
        _ => None,
    });
    restore_and_compare(&node, &newest.unwrap(), "of-restic");
}

#[test]
fn keep_rules_are_followed_in_a_bucket_and_lists_of_several_pages_are_read_to_their_end() {
    let (node, mut bucket) = (Node::new(), Bucket::start());
    bucket.policy(&node, json!({ "keep": { "last": 1 } }));
    node.run().fine();
    std::fs::write(node.path("files/sub/b"), noise(300_000)).unwrap();
    node.run().fine();
    // More than a page.
    bucket.fill(1050);
    a_day_later(&node);
    std::fs::write(node.path("files/sub/b"), noise(300_000)).unwrap();
    let figures = node.run().fine();
    assert_eq!(figures.forgotten, 2);
    bucket.dump(&node);
    assert!(node.packs() < 10, "{} packs stay", node.packs());
    assert_eq!(node.snapshots(), 1);
    assert!(bucket.restic(&node, &["check", "--read-data"]).contains("no errors were found"));
}

#[test]
fn a_server_that_fails_now_and_then_costs_time_and_nothing_else() {
    let (node, mut bucket) = (Node::new(), Bucket::start());
    bucket.policy(&node, json!({ "target": bucket.flaky_target() }));
    std::fs::write(node.path("files/large"), noise(40_000_000)).unwrap();
    let run = node.run();
    run.fine();
    assert!(run.problems().contains("trying again"), "{}", run.problems());
    assert_eq!(node.backup(&["check"]).fine().findings, 0);
    restore_and_compare(&node, "latest", "restored");
    bucket.dump(&node);
    assert!(node.restic(&["check", "--read-data"]).contains("no errors were found"));
}

#[test]
fn a_run_that_is_killed_leaves_a_bucket_in_order_and_the_next_goes_on() {
    let (node, mut bucket) = (Node::new(), Bucket::start());
    std::fs::write(node.path("files/large"), noise(60_000_000)).unwrap();
    bucket.policy(&node, json!({ "write_limit": "16 MiB/s" }));
    let mut run = node.start();
    eventually("a pack is there", || {
        bucket.dump(&node);
        count(&node.path("repository/data")) > 0
    });
    run.kill().unwrap();
    run.wait().unwrap();
    bucket.dump(&node);
    assert_eq!(node.snapshots(), 0);
    bucket.policy(&node, json!({}));
    let figures = node.run().fine();
    assert!(figures.stored_bytes < 60_000_000, "what is there is not sent again: {figures:?}");
    bucket.dump(&node);
    assert!(node.restic(&["check", "--read-data"]).contains("no errors were found"));
}

#[test]
fn credentials_that_are_of_no_use_say_what_to_do_and_are_never_shown() {
    let (node, bucket) = (Node::new(), Bucket::start());
    let (id, secret) = (bucket.word("owner", "id").to_owned(), bucket.word("owner", "secret").to_owned());
    let failed = |said: &str| {
        let ended = node.run();
        let problems = ended.problems();
        assert!(ended.code == 1 && problems.contains(said), "{problems}");
        assert!(!problems.contains("trying again"), "{problems}");
        assert!(!format!("{:?}", ended.lines).contains("hush") && !problems.contains(&secret), "{problems}");
    };
    bucket.policy(&node, json!({}));
    write_credentials(&node, &id, "hush", 0o600);
    failed("`secret_access_key` of the credentials is not that");
    write_credentials(&node, "nobody", "hush", 0o600);
    failed("does not know the `access_key_id`");
    write_credentials(&node, &id, "hush", 0o644);
    failed("are open to others");
    std::fs::remove_file(node.path("s3.toml")).unwrap();
    failed("are not there");
    let elsewhere = bucket.target().replace("/vault/", "/nowhere/");
    bucket.policy(&node, json!({ "target": elsewhere }));
    failed("no bucket `nowhere`");
}

#[test]
fn a_key_that_may_not_delete_saves_and_what_should_go_stays_and_is_told() {
    let (node, mut bucket) = (Node::new(), Bucket::start());
    bucket.policy(&node, json!({ "keep": { "last": 1 } }));
    bucket.credentials(&node, "adder");
    node.run().fine();
    node.run().fine();
    a_day_later(&node);
    let run = node.run();
    run.fine();
    let problems = run.problems();
    assert!(problems.contains("keep rules of files were not followed"), "{problems}");
    assert!(problems.contains("may not do s3:DeleteObject in bucket `vault`"), "{problems}");
    bucket.dump(&node);
    assert_eq!((node.snapshots(), count(&node.path("repository/locks"))), (3, 0));
    let packs = node.packs();
    a_day_later(&node);
    node.run().fine();
    bucket.dump(&node);
    assert!(node.packs() <= packs + 1, "nothing is packed anew that cannot be removed");
}
