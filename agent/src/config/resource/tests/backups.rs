//! Backup policies.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use campanile_common::api::ChangeVerb;
use campanile_common::backup::{Keep, policy_from_file};
use serde_json::{Value, json};

use super::machine::{Machine, desired};
use crate::config::resource::{cuts_off, watched_paths};

fn etc(daily: u32) -> Value {
    json!({"paths": ["/etc"], "schedule": "@daily", "keep": {"daily": daily}, "target": "dir:/srv/backup"})
}

#[test]
fn a_policy_is_a_file_in_the_stewards_state_whatever_the_root_is() {
    let machine = Machine::new(&[]);
    let change = machine.apply("backup:etc", etc(7));
    assert_eq!(
        (change.shown.verb, change.shown.what.as_slice()),
        (ChangeVerb::Create, &["content".to_owned()][..])
    );
    let diff = change.shown.diff.unwrap();
    assert!(diff.starts_with("--- /dev/null\n") && diff.contains("+      \"daily\": 7\n"), "{diff}");
    let path = machine.policy("etc");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let policy = policy_from_file(&"etc".parse().unwrap(), &fs::read(&path).unwrap()).unwrap();
    assert_eq!(policy.keep, Keep { daily: 7, ..Keep::default() });
    let inside = machine.at(path.to_str().unwrap());
    assert!(!inside.exists(), "nothing is put beneath the root");
}

#[test]
fn what_changed_of_a_policy_is_shown_and_what_another_hand_did_is_put_right() {
    let machine = Machine::new(&[]);
    machine.apply("backup:etc", etc(7));
    let diff = machine.apply("backup:etc", etc(14)).shown.diff.unwrap();
    assert!(diff.contains("-      \"daily\": 7\n+      \"daily\": 14\n"), "{diff}");
    fs::set_permissions(machine.policy("etc"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(machine.apply("backup:etc", etc(14)).shown.what, ["mode 0644 -> 0600"]);
    fs::write(machine.policy("etc"), "{}").unwrap();
    assert_eq!(machine.apply("backup:etc", etc(14)).shown.what, ["content"]);
}

#[test]
fn a_policy_goes_and_others_stay() {
    let machine = Machine::new(&[]);
    machine.apply("backup:etc", etc(7));
    machine.apply("backup:home", etc(7));
    let change = machine.apply("backup:etc", json!({"ensure": "absent"}));
    assert_eq!(
        (change.shown.verb, change.shown.what[0].as_str()),
        (ChangeVerb::Remove, "the policy; its snapshots stay")
    );
    assert!(!machine.policy("etc").exists() && machine.policy("home").exists());
}

#[test]
fn what_is_no_file_is_in_the_way_of_a_policy() {
    let machine = Machine::new(&[]);
    symlink("/etc/passwd", machine.policy("link")).unwrap();
    fs::create_dir(machine.policy("folder")).unwrap();
    for name in ["backup:link", "backup:folder"] {
        assert!(machine.problem(name, etc(7)).contains("no regular file"));
    }
}

#[test]
fn a_policy_cuts_nothing_off_and_is_looked_at_from_time_to_time() {
    let wanted = desired("backup:etc", etc(7));
    assert!(!cuts_off(&wanted) && watched_paths(&wanted).is_empty());
}
