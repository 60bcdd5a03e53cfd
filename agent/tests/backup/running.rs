//! Runs, lists, restores, checks and drills.

use std::os::unix::fs::PermissionsExt as _;

use campanile_common::api::{BackupLine, BackupResult};
use serde_json::json;

use crate::support::{Node, assert_same, below};

#[test]
fn a_run_is_a_snapshot_that_lists_checks_and_restores_and_the_next_reads_nothing_again() {
    let node = Node::new();
    let first = node.run();
    let figures = first.fine();
    assert_eq!((figures.files, figures.files_new, figures.unread), (2, 2, 0));
    assert!(figures.added_bytes > 300_000, "{figures:?}");
    let again = node.run().fine();
    assert_eq!((again.files_new, again.files_changed, again.files_unchanged), (0, 0, 2));
    // Details of the folders above, such as `/tmp`, may have changed.
    assert!(again.added_bytes < 4096, "{again:?}");
    let listed = node.backup(&["list"]);
    assert_eq!(listed.fine().files, 2);
    let Some(BackupLine::Snapshot(snapshot)) = listed.lines.get(1) else { panic!("{:?}", listed.lines) };
    assert_eq!((snapshot.policy.as_deref(), snapshot.files), (Some("files"), Some(2)));
    let (_, id, _) = first.finished();
    assert_eq!(Some(&snapshot.id), id.as_ref());
    let check = node.backup(&["check"]).fine();
    assert!(check.stored_bytes > 0 && check.stored_bytes == check.of_bytes, "{check:?}");
    let to = node.path("restored");
    let restored = node.backup(&["restore", &snapshot.id[..8], "--to", to.to_str().unwrap()]).fine();
    assert_eq!(restored.files, 2);
    assert_same(&below(&to, &node.path("files")), &node.path("files"));
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn a_restore_takes_named_paths_and_never_a_folder_in_which_something_is() {
    let node = Node::new();
    node.run().fine();
    let (to, only) = (node.path("restored"), node.path("files/sub"));
    let (to_text, only_text) = (to.to_str().unwrap(), only.to_str().unwrap());
    node.backup(&["restore", "latest", only_text, "--policy", "files", "--to", to_text]).fine();
    assert_same(&below(&to, &only), &only);
    assert!(!below(&to, &node.path("files/a")).exists());
    let refused = node.backup(&["restore", "latest", "--to", to_text]);
    assert_eq!(refused.code, 1);
    assert!(refused.problems().contains("must be a new or an empty folder"), "{}", refused.problems());
    for (snapshot, said) in [("ffffffff", "no snapshot's name"), ("x", "is no snapshot")] {
        let refused = node.backup(&["restore", snapshot, "--to", node.path("r").to_str().unwrap()]);
        assert!(refused.code == 1 && refused.problems().contains(said), "{}", refused.problems());
    }
}

#[test]
fn the_files_of_a_snapshot_are_named_as_restic_names_them_and_so_is_what_differs_from_the_next() {
    let node = Node::new();
    let (_, first, _) = node.run().finished();
    let first = first.unwrap();
    let (a, sub, b) = (node.path("files/a"), node.path("files/sub"), node.path("files/sub/b"));
    let all = node.backup(&["list", "--files=latest"]);
    all.fine();
    let named = paths(&all.lines);
    let listed = node.restic(&["ls", &first]);
    let theirs: Vec<&str> = listed.lines().filter(|line| line.starts_with('/')).collect();
    assert_eq!(named, theirs);
    std::fs::write(&a, "other\n").unwrap();
    std::fs::remove_file(&b).unwrap();
    node.run().fine();
    let of_sub = node.backup(&["list", &format!("--files={first}"), sub.to_str().unwrap()]);
    assert_eq!(of_sub.fine().files, 2);
    assert_eq!(paths(&of_sub.lines), [sub.to_str().unwrap(), b.to_str().unwrap()]);
    let gone = node.backup(&["list", "--files=latest", b.to_str().unwrap()]);
    assert!(gone.code == 1 && gone.problems().contains("is not in the snapshot"), "{}", gone.problems());
    let diff = node.backup(&["diff", &first, "latest"]);
    diff.fine();
    let differs = |line: &BackupLine| match line {
        BackupLine::Change(line) if line.change != "details" => {
            Some((line.change.clone(), line.path.clone()))
        }
        _ => None,
    };
    let found: Vec<(String, String)> = diff.lines.iter().filter_map(differs).collect();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    assert_eq!(found, [("content".to_owned(), path(&a)), ("removed".to_owned(), path(&b))]);
}

/// Paths of the entries that were listed.
fn paths(lines: &[BackupLine]) -> Vec<&str> {
    let mut paths = Vec::new();
    for line in lines {
        if let BackupLine::Entry(entry) = line {
            paths.push(entry.path.as_str());
        }
    }
    paths
}

#[test]
fn a_restore_in_place_brings_back_what_was() {
    let node = Node::new();
    node.run().fine();
    std::fs::write(node.path("files/a"), "spoilt\n").unwrap();
    std::fs::remove_file(node.path("files/sub/b")).unwrap();
    let files = node.path("files");
    node.backup(&["restore", "latest", files.to_str().unwrap(), "--in-place"]).fine();
    assert_eq!(std::fs::read(node.path("files/a")).unwrap(), b"first\n");
    assert_eq!(std::fs::read(node.path("files/sub/b")).unwrap(), vec![7; 300_000]);
}

#[test]
fn a_file_that_is_not_there_or_cannot_be_read_is_named_and_the_rest_is_saved() {
    let node = Node::new();
    // Reading where nothing is mapped is an error, for root as well.
    let (missing, unreadable) = (node.path("missing"), "/proc/1/mem");
    node.policy("files", json!({ "paths": [node.path("files"), missing, unreadable] }));
    let ended = node.run();
    let (result, snapshot, figures) = ended.finished();
    assert_eq!((ended.code, result), (3, BackupResult::Partial), "{:?}", ended.lines);
    assert!(snapshot.is_some() && figures.unread == 2, "{figures:?}");
    let unread: Vec<&str> = ended
        .lines
        .iter()
        .filter_map(|line| match line {
            BackupLine::Unread { path, .. } => Some(path.as_str()),
            _ => None,
        })
        .collect();
    assert!(unread.contains(&missing.to_str().unwrap()) && unread.contains(&unreadable), "{unread:?}");
    node.restic(&["check", "--read-data"]);
    assert!(node.restic(&["ls", "latest"]).contains("files/sub/b"));
}

#[test]
fn a_damaged_pack_is_found_and_a_check_of_it_fails() {
    let node = Node::new();
    node.run().fine();
    for folder in std::fs::read_dir(node.path("repository/data")).unwrap() {
        for pack in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = pack.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[10] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let ended = node.backup(&["check"]);
    let (result, _, figures) = ended.finished();
    assert_eq!((ended.code, result), (1, BackupResult::Failed), "{:?}", ended.lines);
    assert!(figures.findings > 0);
    assert!(ended.lines.iter().any(|line| matches!(line, BackupLine::Finding { .. })));
}

#[test]
fn a_drill_restores_tries_and_leaves_nothing() {
    let node = Node::new();
    let look = |text: &str| {
        let script = format!("grep -qr {text} {{}} && [ -n \"$CAMPANILE_SNAPSHOT\" ]");
        let drill = json!({ "schedule": "@weekly", "command": ["sh", "-c", script] });
        node.policy("files", json!({ "drill": drill }));
    };
    look("first");
    node.run().fine();
    // What a drill that was killed left.
    std::fs::create_dir(node.path("steward/backup/drill-0000")).unwrap();
    let drilled = node.backup(&["drill", "--policy", "files"]);
    assert_eq!(drilled.fine().files, 2);
    assert_eq!(drilled.hooks(), [("drill".to_owned(), "ok".to_owned())]);
    look("nowhere");
    let failed = node.backup(&["drill", "--policy", "files"]);
    assert_eq!((failed.code, failed.finished().0), (1, BackupResult::Failed));
    let left: Vec<_> = std::fs::read_dir(node.path("steward/backup"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("drill-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_drill_compares_with_the_files_that_were_not_touched_since() {
    let node = Node::new();
    node.run().fine();
    std::fs::write(node.path("files/a"), "changed since\n").unwrap();
    let drilled = node.backup(&["drill", "--policy", "files"]);
    let figures = drilled.fine();
    assert_eq!((figures.live_same, figures.live_changed, figures.findings), (1, 1, 0), "{:?}", drilled.lines);
    let text = std::fs::read_to_string(node.path("steward/backup/runs.json")).unwrap();
    let runs: serde_json::Value = serde_json::from_str(&text).unwrap();
    let drills = runs["drills"]["files"]["runs"].as_array().unwrap();
    assert_eq!(
        (drills.len(), &drills[0]["by"], &drills[0]["end"]["result"]),
        (1, &json!("hand"), &json!("ok"))
    );
}

#[test]
fn what_cannot_be_done_says_why_and_what_to_do() {
    let node = Node::new();
    let said = |arguments: &[&str]| {
        let ended = node.backup(arguments);
        assert_eq!((ended.code, ended.finished().0), (1, BackupResult::Failed));
        ended.problems()
    };
    assert!(said(&["run", "--policy", "nothing"]).contains("no backup policy `nothing`"));
    assert!(said(&["list"]).contains("cannot be used"), "nothing was saved yet");
    node.policy("store", json!({ "target": "aggregator" }));
    assert!(said(&["run", "--policy", "store"]).contains("the aggregator's store cannot be used"));
    assert!(said(&["list"]).contains("save to 2 places"));
    node.policy("broken", json!({ "paths": ["etc"] }));
    assert!(said(&["run", "--policy", "broken"]).contains("the policy `broken` cannot be used: paths"));
}
