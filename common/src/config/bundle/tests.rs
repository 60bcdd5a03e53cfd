//! Bundles, good ones and each mistake with its line.

use serde_json::{Value, json};

use super::*;

fn source(documents: &[(&str, &str)]) -> BundleSource {
    let part = FilePart { digest: part_digest(b"x"), size: 1 };
    BundleSource {
        documents: documents
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect(),
        files: [("motd".to_owned(), part), ("unused".to_owned(), part)].into(),
        templates: [("nginx.conf.j2".to_owned(), b"workers {{ vars.nginx.workers }};\n".to_vec())].into(),
    }
}

fn found(documents: &[(&str, &str)]) -> Vec<String> {
    source(documents).read().expect_err("has a mistake").iter().map(ToString::to_string).collect()
}

fn checked(documents: &[(&str, &str)]) -> Vec<String> {
    source(documents).read().unwrap().check().iter().map(ToString::to_string).collect()
}

const FLEET: &str = r#"
[vars]
nginx = { workers = 2 }

[file."/etc/motd"]
source = "motd"

[service."nginx.service"]
enabled = true
"#;

const WEB: &str = r#"
selector = "role=web"
priority = 10

[vars]
nginx.workers = 4
list = { append = ["a"] }

[file."/etc/nginx/nginx.conf"]
template = "nginx.conf.j2"
mode = "0644"
validate = ["nginx", "-t", "-c", "{}"]
notify = ["service:nginx.service"]

[package.nginx]
"#;

#[test]
fn a_whole_bundle_becomes_layers_in_the_order_in_which_they_are_merged() {
    let documents = [
        ("nodes/web-1.toml", "[file.\"/etc/motd\"]\ncontent = \"mine\"\n"),
        ("groups/web.toml", WEB),
        ("groups/all.toml", "selector = \"\"\npriority = 99\n"),
        ("fleet.toml", FLEET),
    ];
    let bundle = source(&documents).read().unwrap();
    let paths: Vec<&str> = bundle.layers.iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(paths, ["fleet.toml", "groups/web.toml", "groups/all.toml", "nodes/web-1.toml"]);
    let web = &bundle.layers[1];
    assert_eq!((web.selector.as_deref(), web.priority, web.name.as_str()), (Some("role=web"), 10, "web"));
    assert_eq!(
        Value::Object(web.layer.vars.clone()),
        json!({"nginx": {"workers": 4}, "list": {"append": ["a"]}})
    );
    assert_eq!(web.layer.resources["package"]["nginx"].len(), 0);
    let names = |parts: &BTreeMap<String, FilePart>| parts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&web.layer.templates), ["nginx.conf.j2"]);
    assert_eq!(names(&bundle.layers[0].layer.files), ["motd"], "only what a layer names is a part of it");
    assert_eq!(bundle.check(), []);
    let labels: Labels = serde_json::from_value(json!({"role": "web"})).unwrap();
    let node = Listed { id: "", name: "web-1", labels: &labels };
    assert_eq!(bundle.layers_of(&node).len(), 4);
    assert_eq!(bundle.check_node(&node), []);
    let other = Listed { id: "", name: "db-1", labels: &Labels::default() };
    let paths: Vec<&str> = bundle.layers_of(&other).iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(paths, ["fleet.toml", "groups/all.toml"]);
}

#[test]
fn the_same_bundle_has_the_same_bytes_whatever_the_order_of_its_lines() {
    let one = source(&[("fleet.toml", "[vars]\na = 1\nb = 2\n[package.x]\n[package.y]\n")]).read().unwrap();
    let other =
        source(&[("fleet.toml", "[package.y]\n[package.x]\n[vars]\nb = 2\n# why\na = 1\n")]).read().unwrap();
    assert_eq!(one.layers[0].layer.to_bytes(), other.layers[0].layer.to_bytes());
}

#[test]
fn unknown_kinds_and_keys_are_told_with_their_line_and_what_was_meant() {
    let text =
        "[fil.\"/etc/motd\"]\ncontent = \"\"\n\n[file.\"/etc/issue\"]\nmoed = \"0644\"\ncontent = \"\"\n";
    assert_eq!(
        found(&[("fleet.toml", text)]),
        [
            "fleet.toml:1: error: there is no kind of resource and no key `fil`; help: did you mean file?",
            "fleet.toml:5: error: file:/etc/issue: a file has no key `moed`; help: did you mean mode?",
        ]
    );
    let group = found(&[("fleet.toml", ""), ("groups/a.toml", "selecter = \"a\"\n")]);
    assert!(group[1].ends_with("no key `selecter`; help: did you mean selector?"), "{group:?}");
    assert!(group[0].contains("a group has a `selector`"), "{group:?}");
}

#[test]
fn values_of_the_wrong_type_and_bad_names_are_told_with_their_line() {
    let text = "[file.\"/etc/motd\"]\nmode = 644\n[file.\"etc/motd\"]\ncontent = \"\"\n[service.\"a.service\"]\n\
                enabled = \"yes\"\nnotify = [\"srv:x\"]\nafter = { append = [\"file:/x\", 3] }\n[vars]\nt = 2026-01-01\n";
    let found = found(&[("fleet.toml", text)]);
    let expected = [
        ("fleet.toml:2: ", "file:/etc/motd: mode: invalid type: integer `644`, expected a string"),
        ("fleet.toml:3: ", "file:etc/motd: its name is to be an absolute path"),
        ("fleet.toml:6: ", "service:a.service: enabled: invalid type"),
        ("fleet.toml:7: ", "no kind of resource `srv`"),
        ("fleet.toml:8: ", "after: invalid type"),
        ("fleet.toml:10: ", "a date or time is written as text"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (start, part) in expected {
        assert!(
            found.iter().any(|line| line.starts_with(start) && line.contains(part)),
            "{start}{part}: {found:#?}"
        );
    }
}

#[test]
fn parts_that_are_not_there_are_told_with_those_that_are() {
    let text = "[file.\"/a\"]\nsource = \"mtd\"\n[file.\"/b\"]\ntemplate = \"nginx.conf\"\n[file.\"/c\"]\nsource = \"../x\"\n";
    let found = found(&[("fleet.toml", text)]);
    assert_eq!(
        found,
        [
            "fleet.toml:2: error: file:/a: files/mtd is not there; help: did you mean motd?",
            "fleet.toml:4: error: file:/b: templates/nginx.conf is not there; help: did you mean nginx.conf.j2?",
            "fleet.toml:6: error: file:/c: files/../x is not there",
        ]
    );
}

#[test]
fn wrong_toml_templates_and_stray_files_are_told() {
    let mut bad = source(&[("fleet.toml", "[vars\na = 1\n"), ("group/web.toml", ""), ("flet.toml", "")]);
    bad.templates.insert("bad.j2".to_owned(), b"\n{% if %}\n".to_vec());
    bad.templates.insert("raw.j2".to_owned(), vec![0xFF]);
    bad.files.insert("huge".to_owned(), FilePart { digest: part_digest(b""), size: 1 << 30 });
    let found: Vec<String> = bad.read().unwrap_err().iter().map(ToString::to_string).collect();
    for (start, part) in [
        ("fleet.toml:1: ", "table"),
        ("group/web.toml:1: ", "did you mean groups?"),
        ("flet.toml:1: ", "did you mean fleet.toml?"),
        ("templates/bad.j2:2: ", "syntax error"),
        ("templates/raw.j2:1: ", "not UTF-8"),
        ("files/huge:1: ", "more than"),
    ] {
        assert!(
            found.iter().any(|line| line.starts_with(start) && line.contains(part)),
            "{start}{part}: {found:#?}"
        );
    }
    assert!(BundleSource::default().read().unwrap_err()[0].to_string().contains("config init"));
}

#[test]
fn keys_of_groups_are_refused_elsewhere_and_secrets_in_variables() {
    let text = "selector = \"a\"\n[vars]\np = [\"{{ secret('x') }}\"]\n";
    let found = found(&[("fleet.toml", text)]);
    assert!(found[0].contains("`selector` belongs into groups"), "{found:?}");
    assert!(found[1].starts_with("fleet.toml:3: ") && found[1].contains("cannot hold a secret"), "{found:?}");
    let bad =
        self::found(&[("fleet.toml", ""), ("groups/a.toml", "selector = \"a==\"\npriority = \"high\"\n")]);
    assert!(bad.iter().any(|line| line.contains("`priority` is a whole number")), "{bad:?}");
}

#[test]
fn what_shows_when_layers_come_together_is_told_with_the_line_of_the_last() {
    let wrong = checked(&[
        ("fleet.toml", "[file.\"/etc/a\"]\ncontent = \"\"\n[file.\"/etc/b\"]\ncontent = \"\"\n"),
        ("groups/web.toml", "selector = \"a\"\n\n[file.\"/etc/b\"]\nmode = \"7\"\n"),
        ("groups/db.toml", "selector = \"b\"\n[link.\"/etc/a\"]\ntarget = \"b\"\n"),
    ]);
    assert!(
        wrong.iter().any(|line| line.starts_with("groups/web.toml:4: error: file:/etc/b: mode:")),
        "{wrong:#?}"
    );
    assert!(wrong.iter().any(|line| line.contains("one path")), "{wrong:#?}");
}

#[test]
fn what_another_layer_may_put_right_is_no_mistake_until_the_node_is_known() {
    let documents = [
        ("fleet.toml", ""),
        ("groups/web.toml", "selector = \"role=web\"\n[file.\"/etc/a\"]\ncontent = \"\"\n"),
        ("nodes/n.toml", "[file.\"/etc/a\"]\nmode = \"0600\"\n"),
        ("nodes/m.toml", "[link.\"/etc/b\"]\n"),
    ];
    let found = checked(&documents);
    assert_eq!(found, ["nodes/m.toml:1: error: link:/etc/b: target: say what the link points at"]);
    let bundle = source(&documents).read().unwrap();
    let node = Listed { id: "", name: "n", labels: &Labels::default() };
    let found: Vec<String> = bundle.check_node(&node).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("nodes/n.toml:1: error: file:/etc/a: content: give exactly one"),
        "{found:?}"
    );
}

#[test]
fn a_node_without_a_variable_that_its_template_asks_for_is_found() {
    let documents = [("fleet.toml", "[file.\"/etc/nginx.conf\"]\ntemplate = \"nginx.conf.j2\"\n")];
    let bundle = source(&documents).read().unwrap();
    assert_eq!(bundle.check(), []);
    let node = Listed { id: "", name: "n", labels: &Labels::default() };
    let found = bundle.check_node(&node);
    assert_eq!((found[0].path.as_str(), found[0].line), ("templates/nginx.conf.j2", 1));
    assert!(found[0].message.contains("undefined"), "{found:?}");
}
