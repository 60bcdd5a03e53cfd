//! Files, directories, links, and the files of lines.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use campanile_common::api::ChangeVerb;
use serde_json::json;

use super::machine::{Machine, desired};
use crate::config::resource::{Pending, cuts_off, plan, watched_paths};
use crate::config::step::{Desired, Step};

#[test]
fn a_file_is_created_with_its_folders_and_then_left_alone() {
    let machine = Machine::new(&[]);
    let change = machine.apply("file:/etc/a/b/motd", json!({"content": "hello\n", "mode": "0640"}));
    assert_eq!(change.shown.verb, ChangeVerb::Create);
    assert_eq!(change.shown.what, ["content", "directory /etc/a", "directory /etc/a/b"]);
    assert_eq!(change.shown.diff.unwrap(), "--- /dev/null\n+++ b/etc/a/b/motd\n@@ -0,0 +1 @@\n+hello\n");
    assert_eq!(machine.read("/etc/a/b/motd"), "hello\n");
    assert_eq!(fs::metadata(machine.at("/etc/a/b/motd")).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn what_another_hand_changed_of_a_file_is_shown_and_put_right() {
    let machine = Machine::new(&[]);
    let table =
        json!({"content": "one\ntwo\n", "mode": "0644", "validate": ["true", "{}"], "backup": ".bak"});
    machine.write("/etc/x", "one\n2\n");
    let change = machine.apply("file:/etc/x", table.clone());
    assert_eq!(
        (change.shown.verb, change.shown.what.as_slice()),
        (ChangeVerb::Update, &["content".to_owned()][..])
    );
    assert!(change.shown.diff.unwrap().contains("-2\n+two\n"));
    assert!(
        matches!(&change.steps[0], Step::Put { validate, backup, .. } if validate.len() == 2 && backup.is_some())
    );
    fs::set_permissions(machine.at("/etc/x"), fs::Permissions::from_mode(0o666)).unwrap();
    let change = machine.apply("file:/etc/x", table.clone());
    assert_eq!(change.shown.what, ["mode 0666 -> 0644"]);
    assert!(matches!(change.steps.as_slice(), [Step::Own { .. }]), "bytes stay: {:?}", change.steps);
    // Another name of it would change as well: it becomes a file of its own.
    fs::hard_link(machine.at("/etc/x"), machine.at("/etc/y")).unwrap();
    fs::set_permissions(machine.at("/etc/x"), fs::Permissions::from_mode(0o666)).unwrap();
    machine.apply("file:/etc/x", table.clone());
    assert_eq!(fs::metadata(machine.at("/etc/y")).unwrap().mode() & 0o777, 0o666);
    fs::remove_file(machine.at("/etc/x")).unwrap();
    symlink("/etc/y", machine.at("/etc/x")).unwrap();
    let change = machine.apply("file:/etc/x", table);
    assert_eq!(change.shown.what, ["link to /etc/y -> file", "content"]);
    assert_eq!(machine.read("/etc/y"), "one\ntwo\n");
}

#[test]
fn what_may_be_a_secret_is_in_no_diff() {
    let machine = Machine::new(&[]);
    let secret = "hunter2-canary";
    let mut wanted = desired("file:/etc/key", json!({"content": secret}));
    wanted.content.as_mut().unwrap().is_secret = true;
    let shown =
        |wanted: &Desired| plan(&machine.host, &mut Pending::default(), wanted, false).unwrap().unwrap();
    let change = shown(&wanted);
    assert_eq!(
        (change.shown.diff.clone(), change.shown.what.as_slice()),
        (None, &["content (0 -> 14 bytes)".to_owned()][..])
    );
    machine.execute(&change);
    assert_eq!(fs::metadata(machine.at("/etc/key")).unwrap().mode() & 0o777, 0o600, "its owner's alone");
    // The next generation has no secret there; the old one is still in the file.
    for table in [json!({"content": "plain"}), json!({"ensure": "absent"})] {
        let change = shown(&desired("file:/etc/key", table));
        let text = format!("{:?}", change.shown);
        assert!(!text.contains(secret) && change.shown.diff.is_none(), "{text}");
    }
}

#[test]
fn files_go_and_what_is_no_file_is_in_the_way() {
    let machine = Machine::new(&[]);
    machine.write("/etc/old", "x\n");
    let change = machine.apply("file:/etc/old", json!({"ensure": "absent"}));
    assert_eq!(change.shown.verb, ChangeVerb::Remove);
    assert!(change.shown.diff.unwrap().contains("-x\n"));
    fs::create_dir(machine.at("/etc/folder")).unwrap();
    assert!(machine.problem("file:/etc/folder", json!({"content": ""})).contains("is a directory"));
    assert!(
        machine.problem("file:/etc/folder", json!({"ensure": "absent"})).contains("directory:/etc/folder")
    );
    assert!(machine.problem("file:/etc/passwd/x", json!({"content": ""})).contains("no directory"));
    let message = machine.problem("file:/etc/a", json!({"content": "", "owner": "nobody-here"}));
    assert_eq!(message, "this node has no user `nobody-here`; add `user:nobody-here` to the bundle");
}

#[test]
fn directories_are_made_owned_and_removed_when_empty() {
    let machine = Machine::new(&[]);
    let change = machine.apply("directory:/srv/a", json!({"mode": "0750", "owner": "own"}));
    assert_eq!(change.shown.what, ["directory /srv", "mode 0750"]);
    fs::set_permissions(machine.at("/srv/a"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(machine.apply("directory:/srv/a", json!({"mode": "0750"})).shown.what, ["mode 0777 -> 0750"]);
    machine.write("/srv/a/b", "x");
    let message = machine.problem("directory:/srv/a", json!({"ensure": "absent"}));
    assert!(message.contains("`b`") && message.contains("only an empty"), "{message}");
    let mut pending = Pending::default();
    let gone = |id| desired(id, json!({"ensure": "absent"}));
    let file = plan(&machine.host, &mut pending, &gone("file:/srv/a/b"), false).unwrap().unwrap();
    let folder = plan(&machine.host, &mut pending, &gone("directory:/srv/a"), false).unwrap().unwrap();
    machine.execute(&file);
    machine.execute(&folder);
    assert!(!machine.at("/srv/a").exists());
    assert!(machine.problem("directory:/etc/passwd", json!({})).contains("no directory"));
}

#[test]
fn links_are_made_moved_and_removed() {
    let machine = Machine::new(&[]);
    machine.apply("link:/etc/l", json!({"target": "a"}));
    let change = machine.apply("link:/etc/l", json!({"target": "b"}));
    assert_eq!(change.shown.what, ["target a -> b"]);
    machine.apply("link:/etc/l", json!({"ensure": "absent"}));
    assert!(machine.problem("link:/etc/passwd", json!({"target": "b"})).contains("no symbolic link"));
}

#[test]
fn lines_of_hosts_change_one_address_and_no_other() {
    let machine = Machine::new(&[]);
    machine.write("/etc/hosts", "# mine\n127.0.0.1 localhost\n10.0.0.1  db # old\n10.0.0.1 other\n");
    assert_eq!(machine.plan("host:127.0.0.1", json!({"names": ["localhost"]})).unwrap(), None);
    machine.apply("host:10.0.0.1", json!({"names": ["db.example", "db"]}));
    assert_eq!(machine.read("/etc/hosts"), "# mine\n127.0.0.1 localhost\n10.0.0.1 db.example db\n");
    machine.apply("host:::1", json!({"names": ["six"]}));
    machine.apply("host:10.0.0.1", json!({"ensure": "absent"}));
    assert_eq!(machine.read("/etc/hosts"), "# mine\n127.0.0.1 localhost\n::1 six\n");
}

#[test]
fn resources_that_edit_one_file_build_on_each_other_in_one_plan() {
    let machine = Machine::new(&[]);
    let mut pending = Pending::default();
    for (address, name) in [("10.0.0.1", "a"), ("10.0.0.2", "b")] {
        let wanted = desired(&format!("host:{address}"), json!({"names": [name]}));
        let change = plan(&machine.host, &mut pending, &wanted, false).unwrap().unwrap();
        assert!(change.shown.confirmed, "the address of the aggregator may be among them");
        machine.execute(&change);
    }
    assert_eq!(machine.read("/etc/hosts"), "10.0.0.1 a\n10.0.0.2 b\n");
}

#[test]
fn keys_are_marked_and_other_keys_stay() {
    let machine = Machine::new(&[]);
    let key = json!({"key": "ssh-ed25519 AAAAone me@laptop", "options": "restrict"});
    let change = machine.apply("authorized_key:own/laptop", key.clone());
    let path = "/srv/own/.ssh/authorized_keys";
    assert_eq!(machine.read(path), "restrict ssh-ed25519 AAAAone campanile:laptop\n");
    assert_eq!(fs::metadata(machine.at("/srv/own/.ssh")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(machine.at(path)).unwrap().mode() & 0o777, 0o600);
    assert_eq!(change.shown.diff, None, "the file is its owner's alone");
    // By hand: another key, and ours without its options.
    fs::write(machine.at(path), "ssh-rsa AAAAtwo x\nssh-ed25519 AAAAone campanile:laptop\n").unwrap();
    machine.apply("authorized_key:own/laptop", key);
    let both = "ssh-rsa AAAAtwo x\nrestrict ssh-ed25519 AAAAone campanile:laptop\n";
    assert_eq!(machine.read(path), both);
    machine.apply("authorized_key:own/laptop", json!({"ensure": "absent", "key": "ssh-ed25519 AAAAone"}));
    assert_eq!(machine.read(path), "ssh-rsa AAAAtwo x\n");
    let message = machine.problem("authorized_key:ghost/a", json!({"key": "ssh-rsa A"}));
    assert!(message.contains("add `user:ghost`"), "{message}");
}

#[test]
fn what_can_cut_a_node_off_is_told_from_what_cannot() {
    let cuts = |id: &str, table| cuts_off(&desired(id, table));
    let file = || json!({"content": ""});
    for path in [
        "/etc/ssh/sshd_config",
        "/etc/resolv.conf",
        "/etc/netplan/1.yaml",
        "/etc/campanile/agent.toml",
        "/etc/systemd/system/ssh.service.d/x.conf",
        "/etc/systemd/system/campanile-agent.service",
        "/etc",
    ] {
        assert!(cuts(&format!("file:{path}"), file()), "{path}");
    }
    for path in ["/etc/motd", "/etc/sshx", "/etc/systemd/system/nginx.service", "/srv/etc/ssh/a"] {
        assert!(!cuts(&format!("file:{path}"), file()), "{path}");
    }
    assert!(cuts("service:sshd.service", json!({})) && cuts("service:ssh@a.service", json!({})));
    assert!(!cuts("service:nginx.service", json!({})));
    assert!(cuts("sysctl:net.ipv4.ip_forward", json!({"value": "1"})));
    assert!(!cuts("sysctl:vm.swappiness", json!({"value": "1"})));
    assert!(cuts("firewall:inet/filter", json!({"rules": ""})));
    assert!(cuts("module:e1000", json!({"ensure": "absent"})) && !cuts("module:loop", json!({})));
    assert!(cuts("package:openssh-server", json!({})) && !cuts("package:curl", json!({})));
    assert_eq!(watched_paths(&desired("file:/etc/motd", file())), ["/etc/motd"]);
    assert_eq!(watched_paths(&desired("host:10.0.0.1", json!({"names": ["a"]}))), ["/etc/hosts"]);
}
