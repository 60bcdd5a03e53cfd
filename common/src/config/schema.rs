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
    Choice(&'static [&'static str]),
}

use Type::{Choice, Flag, Number, Text, Texts};

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
    }
}

impl Type {
    fn schema(self, description: &str) -> Value {
        let texts = || json!({"type": "array", "items": {"type": "string"}});
        let mut schema = match self {
            Text => json!({"type": "string"}),
            Flag => json!({"type": "boolean"}),
            Number => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            Choice(values) => json!({"enum": values}),
            Texts => json!({"anyOf": [texts(), {
                "type": "object",
                "properties": {"append": texts()},
                "required": ["append"],
                "additionalProperties": false,
            }]}),
        };
        schema["description"] = json!(description);
        schema
    }
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
        let keys = keys(*kind).iter().chain(RULES);
        let keys: Map<String, Value> =
            keys.map(|(key, value, text)| ((*key).to_owned(), value.schema(text))).collect();
        let one = json!({"type": "object", "properties": keys, "additionalProperties": false});
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
