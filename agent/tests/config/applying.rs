//! Plans and applies that go well, and those that fail before or after the first change.

use campanile_agent::config::sealing::Identity;
use campanile_common::config::{Purpose, SecretPart};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::ConfigPhase;
use serde_json::json;

use crate::support::{Draft, NODE, Node};

#[test]
fn a_plan_is_what_an_apply_does_and_a_second_apply_changes_nothing() {
    let mut node = Node::new();
    node.write("/etc/by-hand", "old\n");
    let draft = Draft::new()
        .with("directory", "/srv", json!({}))
        .file("/srv/a", "one\n")
        .file("/etc/by-hand", "new\n")
        .with("link", "/srv/b", json!({ "target": "a" }));
    let generation = node.generation(draft);
    let before = node.tree();
    let planned = node.plan(generation);
    assert_eq!((planned.code, planned.changes().len()), (10, 4), "{}", planned.text);
    assert_eq!(planned.summary(), (4, "planned".to_owned(), vec![]));
    assert_eq!(node.tree(), before, "a plan changes nothing");
    let applied = node.apply(generation);
    assert_eq!(applied.code, 0, "{}", applied.text);
    assert_eq!(applied.changes(), planned.changes());
    assert_eq!(applied.summary(), (4, "applied".to_owned(), vec![]));
    assert_eq!((node.read("/srv/a"), node.read("/srv/b")), ("one\n".to_owned(), "one\n".to_owned()));
    assert_eq!(node.read("/etc/by-hand"), "new\n");
    assert_eq!(node.plan(generation).code, 0);
    let again = node.apply(generation);
    assert_eq!((again.code, again.summary()), (0, (0, "applied".to_owned(), vec![])));
    let state = node.state();
    assert_eq!((state.phase, state.current), (ConfigPhase::Applied, Some((1, generation))));
    assert!(!node.undo().exists(), "nothing is kept of what is done");
    assert!(!node.config.join("stage").exists());
    let watched = std::fs::read_to_string(node.config.join("watched.json")).unwrap();
    assert!(serde_json::from_str::<Vec<String>>(&watched).unwrap().contains(&"/srv/a".to_owned()));
}

#[test]
fn a_template_that_is_wrong_changes_nothing() {
    let mut node = Node::new();
    let mut draft = Draft::new().file("/etc/a", "a").with("file", "/etc/b", json!({ "template": "b.j2" }));
    let part = node.file_part(b"first\n{{ vars.missing }}\n");
    draft.layer.templates.insert("b.j2".to_owned(), part);
    let generation = node.generation(draft);
    let before = node.tree();
    for ended in [node.plan(generation), node.apply(generation)] {
        assert_eq!((ended.code, ended.summary().1.as_str()), (1, "failed"));
        let problems = ended.problems();
        assert!(problems[0].contains("b.j2:2"), "{problems:?}");
    }
    assert_eq!(node.tree(), before);
}

#[test]
fn a_template_is_rendered_with_variables_and_the_node() {
    let mut node = Node::new();
    let mut draft = Draft::new().with("file", "/etc/b", json!({ "template": "b.j2" }));
    draft.layer.vars.insert("port".to_owned(), json!(80));
    let part = node.file_part(b"{{ node.name }}:{{ vars.port }}");
    draft.layer.templates.insert("b.j2".to_owned(), part);
    let generation = node.generation(draft);
    let applied = node.apply(generation);
    assert_eq!(applied.code, 0, "{}", applied.text);
    assert_eq!(node.read("/etc/b").trim_end(), "web-1:80");
}

#[test]
fn a_validator_that_fails_changes_nothing_and_is_named_with_its_file() {
    let mut node = Node::new();
    let validated = |text: &str| json!({ "content": text, "validate": ["grep", "-q", "^good", "{}"] });
    let good = Draft::new().file("/etc/a", "a").with("file", "/etc/b.conf", validated("good\n"));
    let good = node.generation(good);
    assert_eq!(node.apply(good).code, 0);
    let before = node.tree();
    let bad = Draft::new().file("/etc/a", "changed").with("file", "/etc/b.conf", validated("bad\n"));
    let bad = node.generation(bad);
    let ended = node.apply(bad);
    assert_eq!((ended.code, ended.summary().1.as_str()), (1, "failed"), "{}", ended.text);
    assert!(ended.problems()[0].contains("/etc/b.conf"), "{}", ended.text);
    assert_eq!(node.tree(), before);
    let state = node.state();
    assert_eq!((state.phase, state.current), (ConfigPhase::Failed, Some((1, good))));
    assert_eq!(state.tried, Some((2, bad)));
    assert!(state.detail.contains("b.conf"), "{}", state.detail);
    assert!(!node.config.join("stage").exists(), "staged content may hold secrets");
}

#[test]
fn a_command_that_fails_has_everything_before_it_put_back() {
    let mut node = Node::new();
    node.write("/etc/a", "old\n");
    let draft = Draft::new()
        .file("/etc/a", "new\n")
        .with("directory", "/srv", json!({}))
        .file("/srv/x", "x")
        .with("command", "break", json!({ "run": ["false"], "unless": ["false"], "after": ["file:/srv/x"] }));
    let generation = node.generation(draft);
    let before = node.tree();
    let ended = node.apply(generation);
    assert_eq!((ended.code, ended.summary().1.as_str()), (1, "failed"), "{}", ended.text);
    assert!(ended.steps().contains(&"reverting".to_owned()));
    assert_eq!(node.tree(), before);
    assert_eq!(node.state().phase, ConfigPhase::Failed);
    assert!(!node.undo().exists());
}

#[test]
fn drafts_are_planned_and_never_applied_and_older_releases_never_return() {
    let mut node = Node::new();
    let draft = node.generation(Draft { purpose: Purpose::Draft, ..Draft::new().file("/etc/a", "draft") });
    assert_eq!(node.plan(draft).code, 10);
    let ended = node.apply(draft);
    assert_eq!(ended.code, 1);
    assert!(ended.problems()[0].contains("draft"), "{}", ended.text);
    let first = node.generation(Draft::new().file("/etc/a", "1"));
    let second = node.generation(Draft::new().file("/etc/a", "2"));
    assert_eq!(node.apply(second).code, 0);
    let ended = node.apply(first);
    assert_eq!(ended.code, 1);
    assert!(ended.problems()[0].contains("older"), "{}", ended.text);
    assert_eq!(node.read("/etc/a"), "2");
}

#[test]
fn what_no_operator_signed_or_is_damaged_is_not_read() {
    let mut node = Node::new();
    let unsigned = node.generation(Draft { signer: 9, ..Draft::new().file("/etc/a", "a") });
    let ended = node.plan(unsigned);
    assert_eq!(ended.code, 1);
    assert!(ended.problems()[0].contains("0 valid signatures"), "{}", ended.text);
    let mut draft = Draft::new().with("file", "/etc/b", json!({ "source": "b" }));
    let part = node.file_part(b"content");
    draft.layer.files.insert("b".to_owned(), part);
    let generation = node.generation(draft);
    std::fs::write(node.config.join("parts").join(part.digest.to_string()), "CONTENT").unwrap();
    let ended = node.apply(generation);
    assert_eq!(ended.code, 1);
    assert!(ended.problems()[0].contains("damaged"), "{}", ended.text);
    assert!(!node.root.join("etc/b").exists());
}

#[test]
fn only_one_process_changes_the_node_at_a_time() {
    let mut node = Node::new();
    let slow = json!({ "run": ["sleep", "2"], "unless": ["false"] });
    let generation = node.generation(Draft::new().with("command", "slow", slow));
    let first = node.start(&["apply", &generation.to_string()]);
    crate::support::until("the first apply is at work", || node.undo().join("journal").exists());
    let second = node.apply(generation);
    assert_eq!(second.code, 1);
    assert!(second.problems()[0].contains("another process"), "{}", second.text);
    assert_eq!(crate::support::end(first).code, 0);
}

#[test]
fn five_thousand_files_are_applied_at_once() {
    let mut node = Node::new();
    let mut draft = Draft::new();
    for number in 0..5000 {
        draft = draft.file(&format!("/etc/many-{number}"), &format!("content of {number}\n"));
    }
    let generation = node.generation(draft);
    let start = std::time::Instant::now();
    let applied = node.apply(generation);
    println!("5000 files were applied in {:?}", start.elapsed());
    assert_eq!((applied.code, applied.summary().0), (0, 5000));
    let start = std::time::Instant::now();
    assert_eq!(node.plan(generation).code, 0);
    println!("5000 files were compared in {:?}", start.elapsed());
    assert_eq!(node.read("/etc/many-4999"), "content of 4999\n");
}

#[test]
fn a_disk_that_is_full_has_everything_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("small");
    std::fs::create_dir(&root).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&root)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a full disk needs root and a mount, and there is none here");
        return;
    }
    let mut node = Node::beneath(folder, root.clone());
    node.write("/etc/a", "old\n");
    // A command that fills the disk comes between the look at its free room and the last file.
    let fill = "dd if=/dev/zero of=fill bs=1024 count=2048 2>/dev/null; exit 0";
    let draft = Draft::new()
        .file("/etc/a", &"n".repeat(100_000))
        .with(
            "command",
            "fill",
            json!({ "run": ["sh", "-c", fill], "unless": ["false"], "after": ["file:/etc/a"] }),
        )
        .with("file", "/etc/b", json!({ "content": "b".repeat(300_000), "after": ["command:fill"] }));
    let generation = node.generation(draft);
    let ended = node.apply(generation);
    let after = (node.read("/etc/a"), node.root.join("etc/b").exists(), ended.code);
    let too_much = node.generation(Draft::new().file("/etc/c", &"c".repeat(2_000_000)));
    let refused = node.apply(too_much);
    let unmounted = std::process::Command::new("umount").arg(&root).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(after, ("old\n".to_owned(), false, 1), "{}", ended.text);
    assert!(ended.problems()[0].contains("space"), "{}", ended.text);
    assert!(refused.problems()[0].contains("make room"), "{}", refused.text);
    assert!(!refused.steps().contains(&"snapshot".to_owned()), "it is seen before anything is touched");
}

#[test]
fn a_secret_reaches_its_file_and_is_said_and_kept_nowhere_else() {
    const SECRET: &str = "correct-horse-battery-canary";
    let mut node = Node::new();
    let identity = Identity::load_or_create(&node.config.join("secrets.key")).unwrap();
    let recipient: age::x25519::Recipient = identity.recipient().parse().unwrap();
    let sealed = node.part(&age::encrypt(&recipient, SECRET.as_bytes()).unwrap());
    let secret_part = |sealed| SecretPart {
        selector: "all".to_owned(),
        set: Timestamp::from_millis(1),
        sealed: [(NODE, sealed)].into(),
    };
    let draft = |text: &str, validate: &[&str], node: &Node| {
        let keys = json!({ "template": "t", "validate": validate, "mode": "0600" });
        let mut draft = Draft::new().with("file", "/etc/db", keys);
        let part = node.file_part(text.as_bytes());
        draft.layer.templates.insert("t".to_owned(), part);
        draft.secrets.insert("db".to_owned(), secret_part(sealed));
        draft
    };
    let good = draft("password={{ secret('db') }}\n", &[], &node);
    let good = node.generation(good);
    let planned = node.plan(good);
    assert_eq!(planned.code, 10, "{}", planned.text);
    let applied = node.apply(good);
    assert_eq!(applied.code, 0, "{}", applied.text);
    assert_eq!(node.read("/etc/db").trim_end(), format!("password={SECRET}"));
    // A validator that quotes what it was given.
    let bad = draft("changed={{ secret('db') }}\n", &["sh", "-c", "cat $0 >&2; exit 1", "{}"], &node);
    let bad = node.generation(bad);
    let failed = node.apply(bad);
    assert_eq!(failed.code, 1, "{}", failed.text);
    assert!(failed.problems()[0].contains("changed=[redacted]"), "{}", failed.text);
    for ended in [&planned, &applied, &failed] {
        assert!(!ended.text.contains(SECRET), "{}", ended.text);
    }
    let kept = std::process::Command::new("grep").args(["-r", SECRET]).arg(&node.config).output().unwrap();
    assert!(kept.stdout.is_empty(), "{}", String::from_utf8_lossy(&kept.stdout));
    let unknown = draft("{{ secret('other') }}", &[], &node);
    let unknown = node.generation(unknown);
    let ended = node.plan(unknown);
    assert!(ended.problems()[0].contains("no secret `other`"), "{}", ended.text);
}

#[test]
fn a_backup_policy_is_kept_by_the_steward_and_goes_back_with_the_rest() {
    let mut node = Node::new();
    let policy = |daily: u32| json!({"paths": ["/etc"], "schedule": "@daily", "keep": {"daily": daily}, "target": "dir:/srv/backup"});
    let path = node.config.with_file_name("backup").join("policies/etc.json");
    let first = node.generation(Draft::new().with("backup", "etc", policy(7)));
    let planned = node.plan(first);
    assert_eq!(
        (planned.code, planned.changes()),
        (10, vec!["Create backup:etc".to_owned()]),
        "{}",
        planned.text
    );
    assert!(!path.exists(), "a plan changes nothing");
    assert_eq!(node.apply(first).code, 0);
    assert_eq!(node.plan(first).code, 0);
    let kept = std::fs::read_to_string(&path).unwrap();
    // A later step fails: the policy is as it was.
    let failing = Draft::new().with("backup", "etc", policy(14)).with(
        "command",
        "late",
        json!({ "run": ["false"], "unless": ["false"], "after": ["backup:etc"] }),
    );
    let failing = node.generation(failing);
    let failed = node.apply(failing);
    assert_eq!((failed.code, failed.summary().1.as_str()), (1, "failed"), "{}", failed.text);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), kept);
    let gone = node.generation(Draft::new().with("backup", "etc", json!({ "ensure": "absent" })));
    assert_eq!(node.apply(gone).changes(), ["Remove backup:etc"]);
    assert!(!path.exists());
}
