//! Layers laid upon each other.

use serde_json::json;

use super::super::part_digest;
use super::*;

fn layer(value: Value) -> Layer {
    serde_json::from_value(value).unwrap()
}

fn merged(layers: &[Layer]) -> Result<Merged, Vec<MergeError>> {
    let names = ["fleet.toml", "groups/a.toml", "groups/b.toml", "nodes/n.toml"];
    let named: Vec<NamedLayer<'_>> =
        layers.iter().zip(names).map(|(layer, name)| NamedLayer { name, layer }).collect();
    merge(&named)
}

fn errors(layers: &[Layer]) -> Vec<String> {
    merged(layers).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn tables_merge_key_by_key_and_everything_else_replaces() {
    let found = merged(&[
        layer(json!({"vars": {"a": {"x": 1, "y": [1, 2]}, "b": {"c": 1}, "d": 1}})),
        layer(json!({"vars": {"a": {"y": [3], "z": {"deep": true}}, "b": "text", "d": {"e": 2}}})),
    ])
    .unwrap();
    assert_eq!(
        Value::Object(found.vars),
        json!({"a": {"x": 1, "y": [3], "z": {"deep": true}}, "b": "text", "d": {"e": 2}})
    );
    let of = |path: &[&str]| found.origins.of(path).into_iter().collect::<Vec<_>>();
    assert_eq!(of(&["vars", "a", "x"]), [0]);
    assert_eq!(of(&["vars", "a", "y"]), [1]);
    assert_eq!(of(&["vars", "a"]), [0, 1]);
    assert_eq!(of(&["vars", "b"]), [1], "what was replaced has no part in it any more");
    assert_eq!(of(&["vars", "d"]), [1]);
}

#[test]
fn a_list_marked_to_append_goes_behind_what_is_there() {
    let found = merged(&[
        layer(json!({"vars": {"l": [1], "deep": {"m": {"append": [7]}}}})),
        layer(json!({"vars": {"l": {"append": [2, 3]}}})),
        layer(json!({"vars": {"l": {"append": [4]}}})),
    ])
    .unwrap();
    assert_eq!(Value::Object(found.vars), json!({"l": [1, 2, 3, 4], "deep": {"m": [7]}}));
    assert_eq!(found.origins.of(&["vars", "l"]).into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    let wrong =
        errors(&[layer(json!({"vars": {"l": "text"}})), layer(json!({"vars": {"l": {"append": [2]}}}))]);
    assert_eq!(wrong, ["groups/a.toml, fleet.toml: l: `append` adds to a list, and what is there is none"]);
}

#[test]
fn lists_of_resources_append_too() {
    let found = merged(&[
        layer(json!({"resources": {"host": {"10.0.0.1": {"names": ["db"]}}}})),
        layer(json!({"resources": {"host": {"10.0.0.1": {"names": {"append": ["db.example"]}}}}})),
    ])
    .unwrap();
    let Spec::Host(host) = &found.resources[0].spec else { panic!("{:?}", found.resources) };
    assert_eq!(host.names, ["db", "db.example"]);
}

#[test]
fn a_later_source_of_content_takes_back_the_earlier_one() {
    let part = FilePart { digest: part_digest(b"x"), size: 1 };
    let found = merged(&[
        layer(json!({"resources": {"file": {"/etc/motd": {"content": "hi", "mode": "0600"}}}})),
        layer(json!({
            "resources": {"file": {"/etc/motd": {"source": "motd"}}},
            "files": {"motd": part},
        })),
    ])
    .unwrap();
    let Spec::File(file) = &found.resources[0].spec else { panic!("{:?}", found.resources) };
    assert_eq!(file.source(), Ok(Some(ContentSource::Bundle("motd"))));
    assert_eq!(file.mode.as_deref(), Some("0600"));
    assert_eq!(found.part_of(&found.resources[0]), Some(part));
    assert!(found.origins.of(&["file", "/etc/motd", "content"]).is_empty());
}

#[test]
fn absent_takes_back_what_the_resource_was_to_be_but_not_its_rules() {
    let found = merged(&[
        layer(json!({"resources": {"package": {"a": {"version": "1", "on_drift": "enforce"}}}})),
        layer(json!({"resources": {"package": {"a": {"ensure": "absent"}}}})),
    ])
    .unwrap();
    assert_eq!(found.resources[0].presence(), super::super::Presence::Absent);
    assert_eq!(found.resources[0].rules.on_drift, super::super::Drift::Enforce);
}

#[test]
fn a_mistake_names_the_layer_that_made_it() {
    let base = || layer(json!({"resources": {"file": {"/etc/motd": {"content": "hi"}}}}));
    let with = |value: Value| layer(json!({"resources": {"file": {"/etc/motd": value}}}));
    let wrong = |value: Value| errors(&[base(), with(value)]);
    assert!(wrong(json!({"mode": "9"}))[0].starts_with("groups/a.toml: file:/etc/motd: mode: permission"));
    assert!(wrong(json!({"moed": "9"}))[0].starts_with("groups/a.toml: file:/etc/motd: moed: unknown field"));
    assert_eq!(
        wrong(json!({"source": "x"})),
        ["groups/a.toml: file:/etc/motd: source: files/x is not there"]
    );
    assert_eq!(
        wrong(json!({"after": ["package:x"]})),
        ["groups/a.toml: file:/etc/motd: after: `after` names package:x, which is not there"]
    );
    let kind = errors(&[base(), layer(json!({"resources": {"fil": {"/a": {}}}}))]);
    assert_eq!(kind, ["groups/a.toml: there is no kind of resource `fil`"]);
    let incomplete = errors(&[base(), layer(json!({"resources": {"link": {"/a": {}}}}))]);
    assert_eq!(incomplete, ["groups/a.toml: link:/a: target: say what the link points at"]);
}

#[test]
fn resources_come_in_the_order_in_which_they_are_applied() {
    let found = merged(&[
        layer(json!({"resources": {
            "file": {"/srv/a/b": {"content": ""}},
            "command": {"first": {"run": ["true"]}},
        }})),
        layer(json!({"resources": {"directory": {"/srv/a": {"after": ["command:first"]}}}})),
    ])
    .unwrap();
    let ids: Vec<String> = found.resources.iter().map(|resource| resource.id.to_string()).collect();
    assert_eq!(ids, ["command:first", "directory:/srv/a", "file:/srv/a/b"]);
}
