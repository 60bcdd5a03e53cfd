//! Resources of every kind, good and bad.

use serde_json::json;

use super::*;

/// Of each kind: a good name, a good table, and what is wrong with others: name, table, key, a part of the problem.
type Bad = (&'static str, Value, Option<&'static str>, &'static str);

fn cases() -> Vec<(Kind, &'static str, Value, Vec<Bad>)> {
    let key = "ssh-ed25519 AAAAC3Nza";
    vec![
        (
            Kind::Group,
            "www",
            json!({"gid": 42, "system": true}),
            vec![("-x", json!({}), None, "no such name"), ("www", json!({"gid": -1}), Some("gid"), "u32")],
        ),
        (
            Kind::User,
            "deploy",
            json!({"uid": 1000, "group": "www", "groups": ["adm"], "home": "/srv/d", "shell": "/bin/sh", "comment": "D"}),
            vec![
                ("deploy", json!({"home": "srv"}), Some("home"), "absolute"),
                ("deploy", json!({"shell": "/bin/../sh"}), Some("shell"), "absolute"),
                ("deploy", json!({"comment": "a:b"}), Some("comment"), "colon"),
                ("deploy", json!({"groups": ["a b"]}), Some("groups"), "names"),
                ("deploy", json!({"group": ""}), Some("group"), "name"),
            ],
        ),
        (
            Kind::Package,
            "libstdc++6",
            json!({"version": "1:2.3-4~deb12u1"}),
            vec![
                ("-o=x", json!({}), None, "no name"),
                ("nginx", json!({"version": "1 2"}), Some("version"), "no version"),
                ("nginx", json!({"version": "1", "ensure": "absent"}), Some("version"), "absent"),
            ],
        ),
        (
            Kind::Directory,
            "/srv/www",
            json!({"mode": "0755", "owner": "root", "group": "root"}),
            vec![
                ("srv", json!({}), None, "absolute"),
                ("/srv/", json!({}), None, "absolute"),
                ("/srv", json!({"mode": "999"}), Some("mode"), "octal"),
                ("/srv", json!({"owner": "a/b"}), Some("owner"), "user"),
            ],
        ),
        (
            Kind::File,
            "/etc/motd",
            json!({"content": "hi\n", "mode": "644", "validate": ["true", "{}"], "backup": ".bak"}),
            vec![
                ("/etc/../x", json!({"content": ""}), None, "absolute"),
                ("/etc/motd", json!({}), Some("content"), "exactly one"),
                ("/etc/motd", json!({"content": "", "source": "x"}), Some("content"), "exactly one"),
                ("/etc/motd", json!({"content": "", "ensure": "absent"}), Some("content"), "absent"),
                ("/etc/motd", json!({"content": "", "mode": 644}), Some("mode"), "expected a string"),
                ("/etc/motd", json!({"content": "", "mode": "+644"}), Some("mode"), "octal"),
                ("/etc/motd", json!({"content": "", "validate": [""]}), Some("validate"), "program"),
                ("/etc/motd", json!({"content": "", "backup": "/x"}), Some("backup"), "suffix"),
            ],
        ),
        (
            Kind::Link,
            "/etc/localtime",
            json!({"target": "../usr/share/zoneinfo/UTC"}),
            vec![("/etc/localtime", json!({}), Some("target"), "points at")],
        ),
        (
            Kind::AuthorizedKey,
            "deploy/laptop",
            json!({"key": key, "options": "no-pty"}),
            vec![
                ("deploy", json!({"key": key}), None, "USER/LABEL"),
                ("deploy/a b", json!({"key": key}), None, "USER/LABEL"),
                ("deploy/laptop", json!({"key": "AAAA"}), Some("key"), "type and key"),
                ("deploy/laptop", json!({"key": "ssh-rsa AAAA\nx y"}), Some("key"), "one line"),
                ("deploy/laptop", json!({"key": key, "options": "a\nb"}), Some("options"), "one line"),
            ],
        ),
        (
            Kind::Host,
            "2001:db8::1",
            json!({"names": ["db.example", "db"]}),
            vec![
                ("db", json!({"names": ["db"]}), None, "IP address"),
                ("10.0.0.1", json!({}), Some("names"), "at least one"),
                ("10.0.0.1", json!({"names": ["a b"]}), Some("names"), "blanks"),
            ],
        ),
        (
            Kind::Sysctl,
            "net.ipv4.ip_forward",
            json!({"value": "1"}),
            vec![
                ("../x", json!({"value": "1"}), None, "sysctl"),
                ("vm.swappiness", json!({}), Some("value"), "one line"),
                ("vm.swappiness", json!({"value": 1}), Some("value"), "expected a string"),
            ],
        ),
        (
            Kind::Module,
            "br_netfilter",
            json!({"ensure": "absent"}),
            vec![("a b", json!({}), None, "no such name")],
        ),
        (
            Kind::Mount,
            "/srv",
            json!({"device": "UUID=1", "fstype": "ext4", "options": ["noatime"]}),
            vec![
                ("srv", json!({"device": "a", "fstype": "b"}), None, "absolute"),
                ("/srv", json!({"fstype": "ext4"}), Some("device"), "mounted"),
                ("/srv", json!({"device": "a"}), Some("fstype"), "type"),
                (
                    "/srv",
                    json!({"device": "a", "fstype": "b", "options": ["a,b"]}),
                    Some("options"),
                    "one each",
                ),
            ],
        ),
        (
            Kind::Firewall,
            "inet/filter",
            json!({"rules": "chain input { }"}),
            vec![
                ("filter", json!({"rules": ""}), None, "FAMILY/TABLE"),
                ("inet/filter", json!({}), Some("rules"), "exactly one"),
                ("inet/filter", json!({"rules": "", "template": "x"}), Some("rules"), "exactly one"),
            ],
        ),
        (
            Kind::Service,
            "nginx.service",
            json!({"enabled": true, "state": "running", "on_change": "reload", "drop_in": "[Service]\n"}),
            vec![
                ("../x", json!({}), None, "unit's"),
                ("nginx.service", json!({"state": "started"}), Some("state"), "unknown variant `started`"),
            ],
        ),
        (
            Kind::Timer,
            "tidy",
            json!({"on_calendar": "daily", "command": ["tidy"], "persistent": true, "splay_s": 60, "user": "nobody"}),
            vec![
                ("tidy", json!({"command": ["tidy"]}), Some("on_calendar"), "when"),
                ("tidy", json!({"on_calendar": "daily"}), Some("command"), "program"),
                ("a b", json!({"on_calendar": "daily", "command": ["x"]}), None, "timer's"),
            ],
        ),
        (
            Kind::Command,
            "build the index",
            json!({"run": ["mandb"], "creates": "/var/cache/man/index.db", "timeout_s": 60}),
            vec![
                ("x", json!({}), Some("run"), "program"),
                ("x", json!({"run": ["true"], "timeout_s": 0}), Some("timeout_s"), "one second"),
                ("", json!({"run": ["true"]}), None, "empty"),
            ],
        ),
        (
            Kind::Backup,
            "etc",
            json!({"paths": ["/etc"], "schedule": "@daily", "keep": {"daily": 7}, "target": "dir:/srv/backup"}),
            vec![
                ("a/b", json!({}), None, "letters"),
                ("etc", json!({}), Some("paths"), "say what is backed up"),
                ("etc", json!({"paths": ["/etc"]}), Some("schedule"), "say when"),
                (
                    "etc",
                    json!({"paths": ["/etc"], "keep": {"dayly": 7}}),
                    Some("keep"),
                    "unknown field `dayly`",
                ),
            ],
        ),
    ]
}

fn read(kind: Kind, name: &str, table: Value) -> Result<Resource, ResourceError> {
    let Value::Object(table) = table else { panic!("{table} is no table") };
    Resource::read(ResourceId { kind, name: name.to_owned() }, table)
}

#[test]
fn every_kind_is_read_and_its_mistakes_are_named_by_key() {
    let cases = cases();
    let kinds: Vec<Kind> = cases.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, Kind::ALL, "each kind has its cases");
    for (kind, name, good, bad) in cases {
        let resource = read(kind, name, good).unwrap();
        assert_eq!(resource.spec.kind(), kind);
        for (name, table, key, problem) in bad {
            let error = read(kind, name, table.clone()).expect_err(&format!("{kind:?} {name} {table}"));
            assert_eq!(error.key.as_deref(), key, "{kind:?} {table}: {error}");
            assert!(error.problem.contains(problem), "{kind:?} {table}: {error}");
        }
    }
}

#[test]
fn what_is_to_be_absent_needs_nothing_more() {
    for (kind, name, ..) in cases() {
        if kind.keys().iter().any(|key| key == "ensure") {
            let resource = read(kind, name, json!({"ensure": "absent"})).unwrap();
            assert_eq!(resource.presence(), Presence::Absent, "{kind:?}");
        }
    }
}

#[test]
fn every_kind_takes_the_rules_and_no_other_key() {
    for (kind, name, good, _) in cases() {
        let mut table = good.as_object().unwrap().clone();
        table.insert("notify".to_owned(), json!(["service:a.service"]));
        table.insert("on_drift".to_owned(), json!("enforce"));
        let resource = Resource::read(ResourceId { kind, name: name.to_owned() }, table.clone()).unwrap();
        assert_eq!(resource.rules.on_drift, Drift::Enforce);
        assert_eq!(resource.rules.notify[0].to_string(), "service:a.service");
        table.insert("modee".to_owned(), json!("0644"));
        let error = Resource::read(ResourceId { kind, name: name.to_owned() }, table).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("modee"));
        assert!(error.problem.starts_with("unknown field `modee`"), "{error}");
    }
}

#[test]
fn every_listed_key_is_accepted_by_its_kind() {
    for kind in Kind::ALL {
        for key in kind.keys() {
            let error = kind.check_key(&key, &json!({"no": "such value"})).unwrap_err();
            assert!(!error.starts_with(&format!("unknown field `{key}`")), "{kind:?} {key}: {error}");
        }
        assert!(kind.check_key("nonsense", &Value::Null).unwrap_err().starts_with("unknown field"));
        let is_own = |key: &&str| kind.keys().iter().any(|own| own == *key);
        assert!(kind.exclusive_keys().iter().all(is_own));
    }
}

#[test]
fn an_id_is_written_and_read_and_nonsense_is_refused() {
    let id: ResourceId = "file:/etc/a:b".parse().unwrap();
    assert_eq!((id.kind, id.name.as_str()), (Kind::File, "/etc/a:b"));
    assert_eq!(id.to_string(), "file:/etc/a:b");
    assert!("/etc/motd".parse::<ResourceId>().unwrap_err().contains("KIND:NAME"));
    assert!("fil:/etc/motd".parse::<ResourceId>().unwrap_err().contains("no kind"));
}
