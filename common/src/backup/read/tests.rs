//! Policies, good and bad: each mistake is named by its key, with what to give.

use serde_json::{Value, json};

use super::*;

/// Made by `age-keygen`, and its key thrown away.
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn base() -> Value {
    json!({"paths": ["/etc"], "schedule": "30 2 * * *", "keep": {"daily": 7}, "target": "dir:/srv/backup"})
}

/// The base with these keys; null takes one away.
fn with(changes: Value) -> Backup {
    let mut table = base();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            table.as_object_mut().unwrap().remove(key);
        } else {
            table[key] = value.clone();
        }
    }
    serde_json::from_value(table).unwrap()
}

fn read(changes: Value) -> Policy {
    Policy::read("etc".parse().unwrap(), &with(changes)).unwrap()
}

fn error(changes: Value) -> PolicyError {
    let said = with(changes.clone());
    Policy::read("etc".parse().unwrap(), &said).expect_err(&changes.to_string())
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_policy_of_few_words_has_defaults_for_the_rest() {
    let policy = read(json!({}));
    assert_eq!(policy.source, Source::Files(Files { paths: vec!["/etc".to_owned()], ..Files::default() }));
    assert_eq!(policy.keep, Keep { daily: 7, ..Keep::default() });
    assert_eq!(policy.target, Target::Folder("/srv/backup".to_owned()));
    assert_eq!((policy.max_age, policy.schedule.splay), (HOUR * 36, HOUR / 2));
    assert_eq!(policy.hooks, Hooks { before: vec![], after: vec![], timeout: HOUR / 6 });
    assert_eq!((policy.read_limit, policy.write_limit, policy.quota, policy.drill), (None, None, None, None));
}

#[test]
fn every_key_is_understood() {
    let policy = read(json!({
        "paths": ["/", "/srv/www"], "exclude": ["*.tmp", "!keep.tmp"], "exclude_caches": true,
        "exclude_if_present": [".nobackup"], "exclude_larger_than": "100 MiB", "one_file_system": true,
        "run_before": [["fsfreeze", "-f", "/srv"]], "run_after": [["fsfreeze", "-u", "/srv"]], "hook_timeout": "90s",
        "schedule": "@every 6h", "splay": "10m", "window": "22:00-06:00", "max_age": "2d",
        "keep": {"last": 3, "hourly": 24, "daily": 7, "weekly": 4, "monthly": 12, "yearly": 5, "within": "48h"},
        "target": "aggregator", "escrow": [RECIPIENT, RECIPIENT], "read_limit": "20 MiB/s", "write_limit": "512KiB/s",
        "quota": "50 GiB", "drill": {"schedule": "@monthly", "command": ["pg_verify", "{}"]},
    }));
    let Source::Files(files) = &policy.source else { panic!("files") };
    assert_eq!(files.exclude_larger_than, Some(ByteCount::mebibytes(100)));
    assert_eq!(files.exclude, ["*.tmp", "!keep.tmp"], "in their order");
    assert_eq!(policy.hooks.timeout, Duration::from_secs(90));
    assert_eq!((policy.max_age, policy.schedule.splay), (HOUR * 48, Duration::from_secs(600)));
    assert_eq!((policy.keep.within, policy.keep.yearly), (Some(HOUR * 48), 5));
    assert_eq!((policy.target, policy.escrow), (Target::Aggregator, vec![RECIPIENT.to_owned()]));
    assert_eq!(
        (policy.read_limit, policy.write_limit),
        (Some(ByteCount(20 << 20)), Some(ByteCount(512 << 10)))
    );
    assert_eq!(policy.quota, Some(ByteCount(50 << 30)));
    assert_eq!(policy.drill.unwrap().command, ["pg_verify", "{}"]);
}

#[test]
fn a_command_is_backed_up_under_a_name_and_continuous_follows_files() {
    let dump = json!({"paths": null, "command": ["pg_dump", "main"], "file_name": "main.sql"});
    let (argv, file_name) = (vec!["pg_dump".to_owned(), "main".to_owned()], "main.sql".to_owned());
    assert_eq!(read(dump).source, Source::Command { argv, file_name });
    let continuous = read(json!({"schedule": "continuous"}));
    assert_eq!(continuous.schedule.when, When::Continuous);
    assert_eq!(continuous.max_age, Duration::from_secs(5400));
}

#[test]
fn what_is_late_follows_from_the_interval() {
    let age = |changes: Value| read(changes).max_age.as_secs() / 60;
    assert_eq!(age(json!({"schedule": "@hourly"})), 90);
    assert_eq!(age(json!({"schedule": "*/5 * * * *"})), 15, "no sooner");
    assert_eq!(age(json!({"schedule": "0 3 * * mon-fri"})), 108 * 60, "over the week end");
    assert_eq!(age(json!({"schedule": "@every 6h", "window": "01:00-05:00"})), 36 * 60, "once a night");
    assert_eq!(age(json!({"schedule": "@hourly", "max_age": "61m"})), 61);
    let short = error(json!({"schedule": "0 3 * * mon-fri", "max_age": "36h"}));
    assert!(short.key == "max_age" && short.problem.contains("up to 3d pass"), "{short}");
}

#[test]
fn each_mistake_is_named_by_its_key() {
    for (changes, key, problem) in [
        (json!({"paths": null}), "paths", "say what is backed up"),
        (json!({"paths": ["etc"]}), "paths", "absolute"),
        (json!({"paths": ["/etc/"]}), "paths", "absolute"),
        (json!({"paths": ["/a/../b"]}), "paths", "absolute"),
        (json!({"paths": ["/etc", "/etc"]}), "paths", "twice"),
        (json!({"command": ["x"]}), "command", "not both"),
        (json!({"file_name": "x"}), "file_name", "goes with `command`"),
        (json!({"paths": null, "command": ["x"]}), "file_name", "main.sql"),
        (json!({"paths": null, "command": ["x"], "file_name": "a/b"}), "file_name", "name the file"),
        (json!({"paths": null, "command": [""], "file_name": "a"}), "command", "program"),
        (json!({"paths": null, "command": ["x"], "file_name": "a", "exclude": ["b"]}), "exclude", "`paths`"),
        (
            json!({"paths": null, "command": ["x"], "file_name": "a", "schedule": "continuous"}),
            "schedule",
            "times",
        ),
        (json!({"exclude": [""]}), "exclude", "patterns"),
        (json!({"exclude": ["a\nb"]}), "exclude", "patterns"),
        (json!({"exclude_if_present": ["a/b"]}), "exclude_if_present", "without `/`"),
        (json!({"exclude_larger_than": "100 MB"}), "exclude_larger_than", "no size"),
        (json!({"exclude_larger_than": "0 B"}), "exclude_larger_than", "leave it out"),
        (json!({"run_before": [[]]}), "run_before", "commands"),
        (json!({"run_after": [["a"], ["b\0"], [""]]}), "run_after", "commands"),
        (json!({"hook_timeout": "10"}), "hook_timeout", "no time"),
        (json!({"hook_timeout": "0s"}), "hook_timeout", "1s to 1d"),
        (json!({"schedule": null}), "schedule", "say when"),
        (json!({"schedule": "nightly"}), "schedule", "neither five fields"),
        (json!({"schedule": "0 0 31 2 *"}), "schedule", "never comes"),
        (json!({"schedule": "continuous", "splay": "1h"}), "splay", "no splay"),
        (json!({"schedule": "continuous", "window": "01:00-05:00"}), "window", "no window"),
        (json!({"splay": "2d"}), "splay", "a day"),
        (json!({"window": "1-5"}), "window", "01:00-05:00"),
        (json!({"keep": null}), "keep", "say which"),
        (json!({"keep": {"daily": 0}}), "keep", "say which"),
        (json!({"keep": {"daily": 10_001}}), "keep", "10000"),
        (json!({"keep": {"within": "7"}}), "keep", "no time"),
        (json!({"keep": {"daily": 7, "within": "0s"}}), "keep", "left out"),
        (json!({"max_age": "1h"}), "max_age", "up to 1d pass"),
        (json!({"target": "s3:bucket"}), "target", "begins with `https://`"),
        (json!({"target": "ftp:x"}), "target", "is no target"),
        (json!({"target": "dir:srv"}), "target", "dir:/PATH"),
        (json!({"target": "s3:https://h/bucket", "escrow": [RECIPIENT]}), "credentials", "name the file"),
        (json!({"target": "sftp:h:/srv"}), "escrow", "in `sftp:h:/srv`"),
        (json!({"identity": "/etc/campanile/key"}), "identity", "begins with `sftp:`"),
        (json!({"target": null}), "escrow", "at least one age recipient"),
        (json!({"escrow": ["age1qqqq"]}), "escrow", "no age recipient"),
        (json!({"escrow": [RECIPIENT.replace("ql3", "ql4")]}), "escrow", "no age recipient"),
        (json!({"escrow": [RECIPIENT.to_uppercase()]}), "escrow", "no age recipient"),
        (json!({"read_limit": "20 MiB"}), "read_limit", "no rate"),
        (json!({"write_limit": "1 KiB/s"}), "write_limit", "at least 16 KiB/s"),
        (json!({"quota": "1 GiB"}), "quota", "only the aggregator"),
        (json!({"check_cycle": "12h"}), "check_cycle", "from 1d"),
        (json!({"drill": {}}), "drill", "its schedule"),
        (json!({"drill": {"schedule": "@daily", "command": [""]}}), "drill", "its command"),
    ] {
        let error = error(changes.clone());
        assert_eq!(error.key, key, "{changes}: {error}");
        assert!(error.problem.contains(problem), "{changes}: {error}");
    }
}
