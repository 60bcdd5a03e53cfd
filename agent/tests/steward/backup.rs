//! Orders to save and restore files, by the real program beneath a guard.

use campanile_common::api::{BackupLine, BackupResult};
use campanile_common::authority::{Action, BackupAction, DenialCode, Order, RestorePlace, Tier};
use campanile_common::backup::PolicyName;
use campanile_common::wire::v1::order::RunResult;
use serde_json::json;

use crate::support::{Client, Node, Told, code, order};

/// A node with a policy `files` of its folder `files`, which saves to its folder `repository`.
fn node(classes: &str) -> Node {
    let node = Node::new();
    node.write_policy(&format!("highest_tier = 3\nclasses = {classes}\n"));
    std::fs::create_dir_all(node.path("files")).unwrap();
    std::fs::write(node.path("files/a"), "first\n").unwrap();
    let folder = node.state().join("backup/policies");
    std::fs::create_dir_all(&folder).unwrap();
    let target = format!("dir:{}", node.path("repository").display());
    let policy = json!({ "format": 1, "name": "files", "policy": {
        "paths": [node.path("files")], "target": target, "schedule": "@daily", "keep": { "last": 3 },
    }});
    std::fs::write(folder.join("files.json"), policy.to_string()).unwrap();
    node
}

fn backup(action: BackupAction) -> Order {
    let mut order = order(Action::Backup(action));
    order.limits.timeout_ms = 120_000;
    if let Action::Backup(action) = &order.action {
        order.tier = action.tier_min();
    }
    order
}

fn policy(name: &str) -> PolicyName {
    name.parse().unwrap()
}

fn run() -> Order {
    backup(BackupAction::Run { policy: policy("files") })
}

fn restore(to: RestorePlace) -> Order {
    let (policy, snapshot, paths) = (policy("files"), "latest".to_owned(), Vec::new());
    backup(BackupAction::Restore { policy, snapshot, paths, to })
}

fn lines(told: &Told) -> Vec<BackupLine> {
    let text = String::from_utf8(told.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn assert_done(client: &mut Client, order: &Order) {
    let told = client.run(order);
    let lines = lines(&told);
    assert_eq!(told.outcome.result, RunResult::Exited { code: 0 }, "{lines:?}");
    assert!(matches!(lines.last(), Some(BackupLine::Finished { result: BackupResult::Ok, .. })), "{lines:?}");
}

#[test]
fn a_node_saves_checks_drills_and_restores_as_ordered() {
    let node = node("[\"backup\"]");
    let mut client = node.client();
    assert_done(&mut client, &run());
    let policy = || policy("files");
    assert_done(&mut client, &backup(BackupAction::Check { policy: policy(), part: 1, of: 1 }));
    assert_done(&mut client, &backup(BackupAction::Drill { policy: policy() }));
    let to = node.path("restored");
    assert_done(&mut client, &restore(RestorePlace::Folder(to.display().to_string())));
    let restored = to.join(node.path("files/a").strip_prefix("/").unwrap());
    assert_eq!(std::fs::read(restored).unwrap(), b"first\n");
    let entries = client.audit();
    let received = entries.iter().filter(|entry| entry.action == "order.received");
    let details: Vec<&str> = received.map(|entry| entry.detail.as_str()).collect();
    assert!(details[0].ends_with("backup files") && details.len() == 4, "{details:?}");
}

#[test]
fn a_file_is_printed_for_whoever_asked_and_one_that_is_too_large_is_refused_before_it_is_read() {
    let node = node("[\"backup\"]");
    std::fs::write(node.path("files/large"), vec![b'x'; 300_000]).unwrap();
    let mut client = node.client();
    assert_done(&mut client, &run());
    let identity = age::x25519::Identity::generate();
    let dump = |name: &str| {
        backup(BackupAction::Dump {
            policy: policy("files"),
            snapshot: "latest".to_owned(),
            path: node.path(name).display().to_string(),
            recipient: identity.to_public().to_string(),
        })
    };
    let mut order = dump("files/a");
    order.limits.output_bytes = 256 * 1024;
    let told = client.run(&order);
    assert_eq!(told.outcome.result, RunResult::Exited { code: 0 });
    assert_eq!(age::decrypt(&identity, &told.stdout).unwrap(), b"first\n");
    let said = String::from_utf8(told.stderr).unwrap();
    assert!(said.contains(r#"{"line":"content","bytes":6,"sha256":"#), "{said}");
    for (name, why) in [("files/large", "293.0 KiB"), ("files", "no regular file"), ("files/none", "not in")]
    {
        let mut order = dump(name);
        order.limits.output_bytes = 256 * 1024;
        let told = client.run(&order);
        let said = String::from_utf8(told.stderr).unwrap();
        assert_eq!((told.outcome.result, told.stdout.len()), (RunResult::Exited { code: 1 }, 0), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_policy_that_is_not_there_fails_in_words() {
    let node = node("[\"backup\"]");
    let told = node.client().run(&backup(BackupAction::Run { policy: policy("other") }));
    assert_eq!(told.outcome.result, RunResult::Exited { code: 1 });
    assert!(String::from_utf8(told.stdout).unwrap().contains("no backup policy `other`"));
}

#[test]
fn a_node_that_takes_no_orders_of_backups_denies_them() {
    let node = node("[\"observe\", \"command\", \"shell\", \"config\"]");
    let told = node.client().run(&run());
    assert_eq!(code(&told.outcome.result), Some(DenialCode::PolicyClass));
    assert!(!node.path("repository").exists());
}

#[test]
fn a_restore_over_what_is_there_takes_the_critical_tier() {
    let node = node("[\"backup\"]");
    let mut client = node.client();
    assert_done(&mut client, &run());
    std::fs::write(node.path("files/a"), "spoilt\n").unwrap();
    // An order of a lower tier cannot even be signed.
    let mut order = restore(RestorePlace::InPlace);
    assert_eq!(order.tier, Tier::Critical);
    assert_done(&mut client, &order);
    assert_eq!(std::fs::read(node.path("files/a")).unwrap(), b"first\n");
    order.tier = Tier::Change;
    let key = crate::support::key(1);
    assert!(order.sign(&[&key]).is_err());
}
