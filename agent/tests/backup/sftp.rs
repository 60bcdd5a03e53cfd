//! Runs into a folder of another machine by way of a real `sshd`, with stock restic as the judge.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::bucket::count;
use crate::ssh_server::SshServer;
use crate::support::{Node, assert_same, below, eventually, noise};

fn restore_and_compare(node: &Node, snapshot: &str, name: &str) {
    let to = node.path(name);
    node.backup(&["restore", snapshot, "--policy", "files", "--to", to.to_str().unwrap()]).fine();
    assert_same(&below(&to, &node.path("files")), &node.path("files"));
}

/// Files that are no objects yet.
fn unfinished(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let is_new = entry.file_name().to_string_lossy().starts_with(".new-");
        usize::from(is_new) + if entry.path().is_dir() { unfinished(&entry.path()) } else { 0 }
    };
    entries.map(of).sum()
}

#[test]
fn a_folder_by_sftp_is_saved_to_listed_checked_restored_from_and_shared_with_restic() {
    let (node, server) = (Node::new(), SshServer::start());
    server.policy(&node, json!({ "drill": { "schedule": "@weekly", "command": ["test", "-d", "{}"] } }));
    std::fs::write(node.path("files/large"), noise(40_000_000)).unwrap();
    assert_eq!(node.run().fine().files, 3);
    assert_eq!(node.run().fine().files_unchanged, 3);
    assert_eq!(node.backup(&["list"]).fine().files, 2);
    assert_eq!(node.backup(&["list", "--target", &server.target(&node)]).fine().files, 2);
    let check = node.backup(&["check"]).fine();
    assert!(check.stored_bytes > 40_000_000 && check.stored_bytes == check.of_bytes, "{check:?}");
    restore_and_compare(&node, "latest", "restored");
    node.backup(&["drill", "--policy", "files"]).fine();
    assert_eq!((count(&node.path("repository/locks")), unfinished(&node.path("repository"))), (0, 0));
    assert!(node.restic(&["check", "--read-data"]).contains("no errors were found"));
    // Through SFTP, and the other way round.
    let restic = |arguments: &[&str]| {
        let output = Command::new("restic")
            .args(["--no-cache", "-r", &server.target(&node), "-o"])
            .arg(format!("sftp.command={}", server.restic_command()))
            .args(arguments)
            .env("RESTIC_PASSWORD", node.password())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    restic(&["check", "--read-data"]);
    std::fs::write(node.path("files/a"), "by restic\n").unwrap();
    restic(&["backup", node.path("files").to_str().unwrap()]);
    let listed = node.backup(&["list"]);
    assert_eq!(listed.fine().files, 3);
    let newest = listed.lines.iter().rev().find_map(|line| match line {
        campanile_common::api::BackupLine::Snapshot(snapshot) => Some(snapshot.id.clone()),
        _ => None,
    });
    restore_and_compare(&node, &newest.unwrap(), "of-restic");
}

#[test]
fn keep_rules_are_followed_by_sftp_and_what_a_cut_left_goes_after_a_day() {
    let (node, server) = (Node::new(), SshServer::start());
    server.policy(&node, json!({ "keep": { "last": 1 } }));
    node.run().fine();
    node.run().fine();
    std::fs::remove_file(node.path("steward/backup/kept/files.json")).unwrap();
    let (old, young) = (node.path("repository/data/00/.new-0011"), node.path("repository/data/00/.new-2233"));
    std::fs::write(&old, "half").unwrap();
    std::fs::write(&young, "half").unwrap();
    let touched = Command::new("touch").args(["-d", "2 days ago"]).arg(&old).status().unwrap();
    assert!(touched.success());
    let figures = node.run().fine();
    assert_eq!((figures.forgotten, node.snapshots()), (2, 1));
    assert!(!old.exists() && young.exists());
    assert!(node.restic(&["check", "--read-data"]).contains("no errors were found"));
}

#[test]
fn a_connection_that_is_cut_in_the_middle_is_made_anew_and_the_run_is_fine() {
    let (node, server) = (Node::new(), SshServer::start());
    std::fs::write(node.path("files/large"), noise(100_000_000)).unwrap();
    server.policy(&node, json!({ "write_limit": "16 MiB/s" }));
    let run = node.start();
    let repository = node.path("repository");
    for packs in 1..4 {
        eventually("a pack is there and the next is begun", || {
            node.packs() >= packs && unfinished(&repository) > 0 || node.snapshots() > 0
        });
        assert!(node.snapshots() == 0 && server.cut() > 0, "the run was over too soon");
    }
    let ended = crate::support::Ended::of(&run.wait_with_output().unwrap());
    ended.fine();
    assert!(node.restic(&["check", "--read-data"]).contains("no errors were found"));
    restore_and_compare(&node, "latest", "restored");
}

#[test]
fn a_run_that_is_killed_leaves_a_folder_in_order_and_the_next_goes_on() {
    let (node, server) = (Node::new(), SshServer::start());
    std::fs::write(node.path("files/large"), noise(60_000_000)).unwrap();
    server.policy(&node, json!({ "write_limit": "16 MiB/s" }));
    let mut run = node.start();
    eventually("a pack is there", || node.packs() > 0);
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(node.snapshots(), 0);
    server.policy(&node, json!({}));
    let figures = node.run().fine();
    assert!(figures.stored_bytes < 60_000_000, "what is there is not sent again: {figures:?}");
    assert!(node.restic(&["check", "--read-data"]).contains("no errors were found"));
}

#[test]
fn an_unknown_machine_and_a_key_that_is_not_let_in_are_refused_at_once() {
    let (node, server) = (Node::new(), SshServer::start());
    let failed = |keys: serde_json::Value, said: &str| {
        server.policy(&node, keys);
        let ended = node.run();
        let problems = ended.problems();
        assert!(ended.code == 1 && problems.contains(said), "{problems}");
        assert!(!problems.contains("trying again"), "{problems}");
    };
    failed(json!({ "known_hosts": server.path("no_hosts") }), "host key is not known");
    failed(json!({ "known_hosts": server.path("other_hosts") }), "another host key than the known one");
    failed(json!({ "identity": server.path("stranger") }), "does not let this node in");
    failed(json!({ "identity": server.path("nothing") }), "`identity`");
    assert!(!node.path("repository").exists());
    // A place in which nothing may be made.
    let below_a_file = server.target(&node) + "/x";
    std::fs::write(node.path("repository"), "a file").unwrap();
    failed(json!({ "target": below_a_file }), "127.0.0.1");
}

#[test]
fn a_full_disk_ends_a_run_and_says_so() {
    let (node, server) = (Node::new(), SshServer::start());
    let repository = node.path("repository");
    std::fs::create_dir(&repository).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "small"])
        .arg(&repository)
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no small disk can be mounted here");
        return;
    }
    std::fs::write(node.path("files/large"), noise(20_000_000)).unwrap();
    server.policy(&node, json!({}));
    let ended = node.run();
    let (left, snapshots) = (unfinished(&repository), node.snapshots());
    assert!(Command::new("umount").arg("-l").arg(&repository).status().unwrap().success());
    let problems = ended.problems();
    assert!(
        ended.code == 1 && problems.contains("no room") && problems.contains("bytes are left"),
        "{problems}"
    );
    assert_eq!((left, snapshots), (0, 0));
}
