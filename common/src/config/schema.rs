//! JSON Schema of the files of a bundle, for editors: what they know of kinds and keys is what [`super::Resource`] reads.

use serde_json::{Map, Value, json};

use super::resource::Kind;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Flag,
    Number,
    Texts,
    /// Lists of texts: commands.
    Commands,
    Choice(&'static [&'static str]),
    Table(&'static [Key]),
}

use Type::{Choice, Commands, Flag, Number, Table, Text, Texts};

type Key = (&'static str, Type, &'static str);

const PRESENCE: Type = Choice(&["present", "absent"]);
const ENSURE: Key = ("ensure", PRESENCE, "Whether it is to be there");
const MODE: Key = ("mode", Text, "Permission bits in octal, e.g. \"0644\"");
const OWNER: Key = ("owner", Text, "User that owns it");
const GROUP: Key = ("group", Text, "Its group");

const RULES: &[Key] = &[
    ("after", Texts, "Applied after these, each KIND:NAME"),
    (
        "notify",
        Texts,
        "Services that reload or restart, and commands that run, when this changes; each KIND:NAME",
    ),
    ("on_drift", Choice(&["report", "enforce"]), "What is done when it is changed by another hand"),
    ("confirm", Flag, "A change is undone unless the node reaches its aggregator anew"),
];

/// The keys of a regular file.
const FILE: &[Key] = &[
    ENSURE,
    ("content", Text, "Its text"),
    ("source", Text, "A file below files/"),
    ("template", Text, "A template below templates/"),
    MODE,
    OWNER,
    GROUP,
    ("validate", Texts, "Must succeed before the file is put in place; {} is the path of the new content"),
    ("backup", Text, "Old bytes are kept beside it under this suffix"),
];

/// The keys of a backup policy.
const BACKUP: &[Key] = &[
    ENSURE,
    ("paths", Texts, "Absolute paths that are backed up"),
    ("exclude", Texts, "Patterns of paths that are left out"),
    ("exclude_caches", Flag, "Folders with a valid CACHEDIR.TAG are left out"),
    ("exclude_if_present", Texts, "Folders that hold a file of one of these names are left out"),
    ("exclude_larger_than", Text, "Longer files are left out, e.g. \"100 MiB\""),
    ("one_file_system", Flag, "What is mounted below the paths is left out"),
    ("command", Texts, "A command whose standard output is backed up, in place of paths"),
    ("file_name", Text, "Name of the file that its output becomes"),
    ("run_before", Commands, "Commands before a run; when one fails, nothing is backed up"),
    ("run_after", Commands, "Commands after a run, however it ended"),
    ("hook_timeout", Text, "How long each of them may take, e.g. \"10m\""),
    ("schedule", Text, "When: as in cron, @daily, @every 6h, or continuous"),
    ("splay", Text, "Nodes are spread over so long, e.g. \"30m\""),
    ("window", Text, "Runs begin within this part of the day, e.g. \"01:00-05:00\""),
    ("keep", Table(KEEP), "Which snapshots are kept: all that any of these keeps"),
    ("max_age", Text, "Older than this the newest snapshot is late, e.g. \"36h\""),
    (
        "target",
        Text,
        "Where to: aggregator, dir:/PATH, s3:https://HOST/BUCKET/PREFIX or sftp:USER@HOST:/PATH",
    ),
    ("credentials", Text, "For s3: a file on the node with access_key_id and secret_access_key"),
    ("identity", Text, "For sftp: a file on the node with the private key; without it as ssh is configured"),
    (
        "known_hosts",
        Text,
        "For sftp: a file on the node with the keys of machines; without it as ssh is configured",
    ),
    ("escrow", Texts, "Age recipients who can restore without the node"),
    ("read_limit", Text, "Most that is read in a second, e.g. \"20 MiB/s\""),
    ("write_limit", Text, "Most that is sent in a second"),
    ("drill", Table(DRILL), "How restoring is tried"),
    ("quota", Text, "Most that the aggregator's store takes for a node, e.g. \"50 GiB\""),
    ("check_cycle", Text, "Everything is decrypted once within this time, e.g. \"30d\""),
];
const KEEP: &[Key] = &[
    ("last", Number, "So many of the newest"),
    ("hourly", Number, "The newest of so many hours"),
    ("daily", Number, "The newest of so many days"),
    ("weekly", Number, "The newest of so many weeks"),
    ("monthly", Number, "The newest of so many months"),
    ("yearly", Number, "The newest of so many years"),
    ("within", Text, "All that are at most so much older than the newest, e.g. \"48h\""),
];
const DRILL: &[Key] = &[
    ("schedule", Text, "When: as in cron, or @every 30d"),
    ("command", Texts, "The application's own check; {} stands for the folder of what was restored"),
];

/// The keys of a kind, without those that every kind has.
const fn keys(kind: Kind) -> &'static [Key] {
    match kind {
        Kind::Group => &[ENSURE, ("gid", Number, "Group id"), ("system", Flag, "A low id")],
        Kind::User => &[
            ENSURE,
            ("uid", Number, "User id"),
            ("group", Text, "Primary group"),
            ("groups", Texts, "Further groups, exactly these"),
            ("home", Text, "Home directory"),
            ("shell", Text, "Login shell"),
            ("comment", Text, "Full name or purpose"),
            ("system", Flag, "A system account"),
        ],
        Kind::Package => &[ENSURE, ("version", Text, "Exactly this version")],
        Kind::Directory => &[ENSURE, MODE, OWNER, GROUP],
        Kind::File => FILE,
        Kind::Link => &[ENSURE, ("target", Text, "What it points at")],
        Kind::AuthorizedKey => &[
            ENSURE,
            ("key", Text, "Type and key, as in a .pub file"),
            ("options", Text, "Options as sshd takes them"),
        ],
        Kind::Host => &[ENSURE, ("names", Texts, "Host names of the address, the canonical one first")],
        Kind::Sysctl => &[("value", Text, "Its value as sysctl prints it")],
        Kind::Module => &[ENSURE],
        Kind::Mount => &[
            ENSURE,
            ("device", Text, "Device, UUID=..., server:/path or tmpfs"),
            ("fstype", Text, "File system type"),
            ("options", Texts, "Options, one each"),
        ],
        Kind::Firewall => &[
            ENSURE,
            ("rules", Text, "The table's content in nft syntax"),
            ("template", Text, "The same, from a template below templates/"),
        ],
        Kind::Service => &[
            ("enabled", Flag, "Whether it starts at boot"),
            ("state", Choice(&["running", "stopped"]), "Whether it runs"),
            ("on_change", Choice(&["restart", "reload", "nothing"]), "What it does when it is notified"),
            ("unit", Text, "Content of its unit file"),
            ("drop_in", Text, "Content of a drop-in"),
        ],
        Kind::Timer => &[
            ENSURE,
            ("on_calendar", Text, "When, e.g. \"*-*-* 03:00\""),
            ("command", Texts, "Program and arguments"),
            ("user", Text, "As whom"),
            ("persistent", Flag, "Runs that were missed are made up for"),
            ("splay_s", Number, "Seconds by which each run is put off at random at most"),
        ],
        Kind::Command => &[
            ("run", Texts, "Program and arguments"),
            ("creates", Text, "It does not run while this path exists"),
            ("unless", Texts, "It does not run while this command succeeds"),
            ("only_if", Texts, "It runs only while this command succeeds"),
            ("user", Text, "As whom"),
            ("timeout_s", Number, "Seconds it may take"),
        ],
        Kind::Backup => BACKUP,
    }
}

const fn of_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Group => "Groups of users by name",
        Kind::User => "Users by login name",
        Kind::Package => "Packages of the distribution by name",
        Kind::Directory => "Directories by path",
        Kind::File => "Regular files by path",
        Kind::Link => "Symbolic links by path",
        Kind::AuthorizedKey => "Keys that may sign in by ssh, by USER/LABEL",
        Kind::Host => "Lines of /etc/hosts by address",
        Kind::Sysctl => "Kernel parameters by key",
        Kind::Module => "Kernel modules by name",
        Kind::Mount => "Mounts by mount point",
        Kind::Firewall => "Tables of nftables by FAMILY/TABLE",
        Kind::Service => "Units of systemd by name, e.g. nginx.service",
        Kind::Timer => "Timers by name, each with its service",
        Kind::Command => "Commands with a guard, by any name",
        Kind::Backup => "Backup policies by name",
    }
}

impl Type {
    fn schema(self, description: &str) -> Value {
        let texts = || json!({"type": "array", "items": {"type": "string"}});
        let list = |list: Value| {
            json!({"anyOf": [list, {
                "type": "object",
                "properties": {"append": list},
                "required": ["append"],
                "additionalProperties": false,
            }]})
        };
        let mut schema = match self {
            Text => json!({"type": "string"}),
            Flag => json!({"type": "boolean"}),
            Number => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            Choice(values) => json!({"enum": values}),
            Texts => list(texts()),
            Commands => list(json!({"type": "array", "items": texts()})),
            Table(keys) => table(keys.iter()),
        };
        schema["description"] = json!(description);
        schema
    }
}

/// A table with these keys and no other.
fn table<'a>(keys: impl Iterator<Item = &'a Key>) -> Value {
    let keys: Map<String, Value> =
        keys.map(|(key, value, text)| ((*key).to_owned(), value.schema(text))).collect();
    json!({"type": "object", "properties": keys, "additionalProperties": false})
}

/// The schema of `fleet.toml`, `groups/*.toml` and `nodes/*.toml`.
pub fn schema() -> Value {
    let mut properties = Map::from_iter([
        ("selector".to_owned(), Text.schema("Of a group: whom it is for, e.g. role=web")),
        ("vars".to_owned(), json!({"type": "object", "description": "Variables for templates"})),
    ]);
    let priority = json!({
        "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX,
        "description": "Of a group: among groups the higher one wins",
    });
    properties.insert("priority".to_owned(), priority);
    for kind in Kind::ALL {
        let one = table(keys(*kind).iter().chain(RULES));
        let all = json!({"type": "object", "description": of_name(*kind), "additionalProperties": one});
        properties.insert(kind.as_str().to_owned(), all);
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A file of a Campanile bundle",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn listed(kind: Kind) -> impl Iterator<Item = &'static Key> {
        keys(kind).iter().chain(RULES)
    }

    #[test]
    fn every_key_that_is_read_is_in_the_schema_and_every_key_of_the_schema_is_read() {
        let schema = schema();
        for kind in Kind::ALL {
            let read: BTreeSet<String> = kind.keys().into_iter().collect();
            let table = &schema["properties"][kind.as_str()]["additionalProperties"]["properties"];
            let shown: BTreeSet<String> = table.as_object().unwrap().keys().cloned().collect();
            assert_eq!(shown, read, "{kind:?}");
        }
    }

    #[test]
    fn every_type_of_the_schema_is_the_type_that_is_read() {
        for kind in Kind::ALL {
            for (key, value, _) in listed(*kind) {
                let is_id = ["after", "notify"].contains(key);
                let texts = if is_id { json!(["file:/a"]) } else { json!(["a", "b"]) };
                let (good, bad) = match value {
                    Text => (vec![json!("a")], vec![json!(1), json!(["a"])]),
                    Flag => (vec![json!(true)], vec![json!("true"), json!(1)]),
                    Number => {
                        (vec![json!(0), json!(u32::MAX)], vec![json!(-1), json!("1"), json!(1_u64 << 32)])
                    }
                    Texts => (vec![texts, json!([])], vec![json!("a"), json!([1])]),
                    Commands => {
                        (vec![json!([["a", "b"]]), json!([])], vec![json!("a"), json!(["a"]), json!([[1]])])
                    }
                    // What is in it: below.
                    Table(_) => (vec![json!({})], vec![json!("a"), json!(1), json!({"no": "such key"})]),
                    Choice(values) => (
                        values.iter().map(|value| json!(value)).collect(),
                        vec![json!("nonsense"), json!(true)],
                    ),
                };
                for value in good {
                    assert_eq!(kind.check_key(key, &value), Ok(()), "{kind:?} {key} {value}");
                }
                for value in bad {
                    assert!(kind.check_key(key, &value).is_err(), "{kind:?} {key} {value}");
                }
            }
        }
    }

    #[test]
    fn every_key_of_a_table_is_read_with_its_type_and_no_other_is() {
        for (table, keys) in [("keep", KEEP), ("drill", DRILL)] {
            for (key, value, _) in keys {
                let (good, bad) = match value {
                    Number => (json!(7), json!("7")),
                    Text => (json!("48h"), json!(7)),
                    Texts => (json!(["a"]), json!("a")),
                    other => panic!("{other:?} is in no table"),
                };
                assert_eq!(Kind::Backup.check_key(table, &json!({*key: good})), Ok(()), "{table} {key}");
                assert!(Kind::Backup.check_key(table, &json!({*key: bad})).is_err(), "{table} {key}");
            }
            let unknown = Kind::Backup.check_key(table, &json!({"x": 1})).unwrap_err();
            let named: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
            assert_eq!(named, keys.iter().map(|(key, ..)| *key).collect::<Vec<_>>(), "{unknown}");
        }
    }

    #[test]
    fn nothing_is_allowed_that_is_not_listed() {
        let schema = schema();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(
            schema["properties"]["file"]["additionalProperties"]["additionalProperties"],
            json!(false)
        );
        assert_eq!(schema["properties"].as_object().unwrap().len(), Kind::ALL.len() + 3);
    }
}
