//! Policies that run by their schedules and by what changes, in the real steward process.

use std::path::PathBuf;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use campanile_common::authority::{Action, BackupAction, Order, Tier};
use campanile_common::wire::v1::order::RunResult;
use serde_json::{Value, json};

use crate::support::{Node, order};

/// A schedule of a minute, and a run.
const PATIENCE: Duration = Duration::from_secs(180);

/// A node with files, whose machine is under no pressure that could be read.
fn node() -> Node {
    let mut node = Node::new();
    node.stop();
    let settings = std::fs::read_to_string(node.path("agent.toml")).unwrap();
    let proc_root = node.path("proc").display().to_string();
    std::fs::write(node.path("agent.toml"), format!("proc_root = \"{proc_root}\"\n{settings}")).unwrap();
    node.write_policy("highest_tier = 3\nclasses = [\"backup\"]\n");
    std::fs::create_dir_all(node.path("files/sub")).unwrap();
    std::fs::write(node.path("files/a"), "first\n").unwrap();
    node
}

/// Puts a policy `files` on the node.
fn put_policy(node: &Node, keys: Value) {
    let mut policy = json!({
        "paths": [node.path("files")], "target": format!("dir:{}", node.path("repository").display()),
        "keep": { "last": 3 },
    });
    for (key, value) in keys.as_object().unwrap() {
        policy[key] = value.clone();
    }
    let folder = node.state().join("backup/policies");
    std::fs::create_dir_all(&folder).unwrap();
    let file = json!({ "format": 1, "name": "files", "policy": policy });
    campanile_agent::os::file::replace(&folder.join("files.json"), file.to_string().as_bytes()).unwrap();
}

/// What `campanile-agent backup runs` tells of the policy; null while there is nothing.
fn history(node: &Node) -> Value {
    let output = Process::new(env!("CARGO_BIN_EXE_campanile-agent"))
        .args(["backup", "runs", "-o", "json", "--config"])
        .arg(node.path("agent.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let runs: Value = serde_json::from_slice(&output.stdout).unwrap();
    runs["policies"]["files"].clone()
}

/// Results of the runs that have ended, oldest first.
fn results(node: &Node) -> Vec<String> {
    let history = history(node);
    let runs = history["runs"].as_array().cloned().unwrap_or_default();
    runs.iter().filter_map(|run| run["end"]["result"].as_str().map(str::to_owned)).collect()
}

fn snapshots(node: &Node) -> usize {
    std::fs::read_dir(node.path("repository/snapshots")).map_or(0, Iterator::count)
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    begun.elapsed()
}

fn run_order() -> Order {
    let mut order = order(Action::Backup(BackupAction::Run { policy: "files".parse().unwrap() }));
    order.tier = Tier::Routine;
    order.limits.timeout_ms = 120_000;
    order
}

/// A hook that notes each beginning and end of a run, and takes a while where the file `slow` is.
fn slow_hook(node: &Node) -> Value {
    let (log, slow) = (node.path("hooks").display().to_string(), node.path("slow").display().to_string());
    let script = format!("echo begin $$ >> {log}; [ ! -e {slow} ] || sleep 600; echo end $$ >> {log}");
    json!([["sh", "-c", script]])
}

fn hook_lines(node: &Node) -> Vec<String> {
    let text = std::fs::read_to_string(node.path("hooks")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_policy_runs_by_itself_and_a_killed_steward_repeats_nothing_and_runs_nothing_twice_at_once() {
    let mut node = node();
    put_policy(&node, json!({ "schedule": "@every 1m", "splay": "0s", "run_before": slow_hook(&node) }));
    node.start();
    wait_until("the new policy has run", || results(&node) == ["ok"]);
    assert_eq!(snapshots(&node), 1);
    // A restart runs nothing that is not due: the next is the next minute's, if that has not begun meanwhile.
    std::fs::write(node.path("slow"), "").unwrap();
    node.kill();
    node.start();
    wait_until("the next minute's run has begun", || hook_lines(&node).len() == 3);
    assert_eq!((results(&node), snapshots(&node)), (vec!["ok".to_owned()], 1));
    let begun = history(&node)["runs"][1].clone();
    assert_eq!((&begun["by"], &begun["end"]), (&json!("schedule"), &Value::Null));
    // Killed in the middle of a run.
    let pid = hook_lines(&node)[2].strip_prefix("begin ").unwrap().to_owned();
    node.kill();
    let hook = PathBuf::from(format!("/proc/{pid}"));
    wait_until("what the run had started has ended", || !hook.exists());
    std::fs::remove_file(node.path("slow")).unwrap();
    node.start();
    wait_until("a later run went well", || results(&node).len() >= 3);
    assert_eq!(results(&node)[..3], ["ok", "stopped", "ok"].map(str::to_owned));
    assert_eq!(snapshots(&node), 2);
    let lines = hook_lines(&node);
    let kinds: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(kinds[..5], ["begin", "end", "begin", "begin", "end"], "{lines:?}");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_change_is_in_a_snapshot_within_a_minute_and_what_is_left_out_makes_none() {
    let mut node = node();
    put_policy(&node, json!({ "schedule": "continuous", "exclude": ["*.swp"] }));
    node.start();
    wait_until("changes are noticed", || node.log().contains("changes are noticed"));
    // What was there before is saved soon, whatever the new policy's share of the splay is.
    wait_until("the new policy has run", || results(&node) == ["ok"]);
    assert_eq!(snapshots(&node), 1);
    std::fs::create_dir_all(node.path("files/sub/new/deep")).unwrap();
    std::fs::write(node.path("files/sub/new/deep/b"), "second\n").unwrap();
    let took = wait_until("the change is in a snapshot", || snapshots(&node) == 2);
    assert!(took < Duration::from_secs(60), "{took:?}");
    // In the folder that came, too.
    std::fs::write(node.path("files/sub/new/deep/c"), "third\n").unwrap();
    let took = wait_until("the next change is in a snapshot", || snapshots(&node) == 3);
    assert!(took < Duration::from_secs(60), "{took:?}");
    let runs = history(&node)["runs"].as_array().unwrap().len();
    std::fs::write(node.path("files/sub/a.swp"), "left out").unwrap();
    std::thread::sleep(Duration::from_secs(40));
    assert_eq!((history(&node)["runs"].as_array().unwrap().len(), snapshots(&node)), (runs, 3));
}

#[test]
fn an_order_and_a_schedule_do_not_collide_and_the_one_that_waits_has_not_failed() {
    let mut node = node();
    put_policy(&node, json!({ "schedule": "@every 1m", "splay": "0s", "run_before": [["sleep", "2"]] }));
    // Somebody is at it before the steward is.
    let by_hand = Process::new(env!("CARGO_BIN_EXE_campanile-agent"))
        .args(["backup", "run", "--policy", "files", "--config"])
        .arg(node.path("agent.toml"))
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut by_hand = by_hand.unwrap();
    wait_until("it runs", || history(&node)["runs"][0]["by"] == json!("hand"));
    node.start();
    assert!(by_hand.wait().unwrap().success());
    wait_until("the schedule's own run has ended", || results(&node).len() >= 2);
    let told = node.client().run(&run_order());
    let by_order = told.outcome.result;
    let runs = history(&node);
    let of = |by: &str| runs["runs"].as_array().unwrap().iter().filter(|run| run["by"] == json!(by)).count();
    if by_order == (RunResult::Exited { code: 0 }) {
        assert_eq!(of("order"), 1, "{runs}");
    } else {
        // The next minute's run was first.
        assert_eq!((by_order, of("order")), (RunResult::Exited { code: 1 }, 0), "{runs}");
    }
    assert!(results(&node).iter().all(|result| result == "ok"), "{runs}");
}

#[test]
fn a_failure_is_recorded_with_its_reason_and_a_node_that_allows_no_backups_starts_none() {
    let mut node = node();
    node.write_policy("highest_tier = 3\nclasses = [\"command\"]\n");
    put_policy(&node, json!({ "schedule": "@every 1m", "splay": "0s", "run_before": [["false"]] }));
    node.start();
    wait_until("it is known", || history(&node)["since"].is_string());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(history(&node)["runs"], json!([]));
    node.write_policy("highest_tier = 1\nclasses = [\"backup\"]\n");
    wait_until("it ran", || results(&node) == ["failed"]);
    let end = history(&node)["runs"][0]["end"].clone();
    assert!(end["detail"].as_str().unwrap().contains("the hook `false` failed"), "{end}");
    let audit = node.client().audit();
    let failed = audit.iter().find(|entry| entry.action == "backup.failed").expect("the chain has it");
    assert_eq!(failed.target, "backup-policy:files");
    let doctor = Process::new(env!("CARGO_BIN_EXE_campanile-agent"))
        .args(["doctor", "--config"])
        .arg(node.path("agent.toml"))
        .output()
        .unwrap();
    let text = String::from_utf8(doctor.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(" backup ")).unwrap();
    assert!(line.starts_with("WARN") && line.contains("files failed at"), "{line}");
}
