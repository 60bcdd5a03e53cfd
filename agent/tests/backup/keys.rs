//! Who can open a repository: this node unattended, and whoever holds the escrow identity with stock tools.

use campanile_common::api::BackupLine;
use serde_json::json;

use crate::support::{Node, assert_same, below};

#[test]
fn with_the_escrow_identity_age_and_restic_alone_everything_is_had_back() {
    let node = Node::new();
    node.run().fine();
    // The node is gone.
    std::fs::remove_dir_all(node.path("steward")).unwrap();
    let said = node.restic(&["check", "--read-data"]);
    assert!(said.contains("no errors were found"), "{said}");
    let listed: serde_json::Value = serde_json::from_str(&node.restic(&["snapshots", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["tags"], json!(["campanile", "policy:files"]));
    let to = node.path("restored");
    node.restic(&["restore", "latest", "--target", to.to_str().unwrap()]);
    assert_same(&below(&to, &node.path("files")), &node.path("files"));
}

#[test]
fn the_ways_in_are_shown_and_never_a_key() {
    let node = Node::new();
    node.run().fine();
    let shown = node.backup(&["key"]);
    shown.fine();
    let keys: Vec<_> = shown
        .lines
        .iter()
        .filter_map(|line| match line {
            BackupLine::Key(key) => Some(key.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].ours);
    assert_eq!(keys[0].recipients, [node.escrow.to_public().to_string()]);
    let password = node.password();
    let text = format!("{:?}", shown.lines);
    assert!(!text.contains(&password) && !text.contains("SECRET"));
    // What a stranger puts there is not believed.
    node.restic(&["snapshots"]);
    let theirs = json!({ "created": "2026-01-01T00:00:00Z", "kdf": "scrypt", "N": 2, "r": 8, "p": 1, "salt": "",
        "data": "", "campanile_escrow": { "recipients": ["age1stranger"], "password": "" } });
    std::fs::write(node.path("repository/keys").join("0".repeat(64)), theirs.to_string()).unwrap();
    let shown = node.backup(&["key"]);
    let strangers = shown.lines.iter().filter(|line| matches!(line, BackupLine::Key(key) if !key.ours));
    assert_eq!(strangers.count(), 1);
}

#[test]
fn a_new_recipient_is_let_in_at_the_next_run() {
    let mut node = Node::new();
    node.run().fine();
    node.escrow = age::x25519::Identity::generate();
    node.policy("files", json!({}));
    node.run().fine();
    assert!(node.restic(&["check"]).contains("no errors"));
    node.run().fine();
    assert_eq!(std::fs::read_dir(node.path("repository/keys")).unwrap().count(), 2);
}

#[test]
fn a_repository_whose_key_is_lost_is_never_sealed_with_another() {
    let node = Node::new();
    node.run().fine();
    let folder = node.path("steward/backup");
    let key = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "key"))
        .unwrap();
    let kept = std::fs::read(&key).unwrap();
    assert!(kept.starts_with(b"age-encryption.org/v1\n"));
    std::fs::remove_file(&key).unwrap();
    let ended = node.run();
    assert!(ended.code == 1 && ended.problems().contains("has no key for it"), "{}", ended.problems());
    assert!(!key.exists(), "no other key was made");
    std::fs::write(&key, kept).unwrap();
    node.run().fine();
    // Another node's repository in the place.
    let other = Node::new();
    other.run().fine();
    std::fs::remove_dir_all(node.path("repository")).unwrap();
    std::fs::rename(other.path("repository"), node.path("repository")).unwrap();
    let ended = node.run();
    assert!(ended.code == 1 && ended.problems().contains("another node's"), "{}", ended.problems());
}

#[test]
fn two_first_runs_at_once_make_one_repository_that_both_can_use() {
    let node = Node::new();
    let children: Vec<_> = (0..3).map(|_| node.start()).collect();
    let ended: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let fine = ended.iter().filter(|output| output.status.success()).count();
    assert!(fine >= 1, "one of them saves; who comes meanwhile is told to wait");
    node.run().fine();
    assert!(node.restic(&["check", "--read-data"]).contains("no errors"));
    assert_eq!(node.snapshots(), fine + 1);
}
