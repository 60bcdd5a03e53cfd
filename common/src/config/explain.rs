//! Where a value of a node came from: every layer that says something of it, and which of them counts.

use serde_json::{Map, Value};

use crate::suggest;

use super::layer::Layer;
use super::merge::{NamedLayer, appended, pile_up};
use super::resource::Kind;

/// What layers come to, as one layer and without any check: for showing.
pub fn flatten(layers: &[NamedLayer<'_>]) -> Layer {
    let (vars, tables, _) = pile_up(layers);
    let mut flat = Layer { vars, ..Layer::default() };
    for (id, table) in tables {
        flat.resources.entry(id.kind.as_str().to_owned()).or_default().insert(id.name, table);
    }
    for named in layers {
        flat.files.extend(named.layer.files.clone());
        flat.templates.extend(named.layer.templates.clone());
    }
    flat
}

/// What one layer says of one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Of which: `vars.nginx.workers`, `file:/etc/motd.mode`.
    pub key: String,
    /// The layer's file in the bundle.
    pub layer: String,
    /// What it says, as it was written.
    pub value: Value,
    /// It is what counts, or a part of it where a list was appended to.
    pub is_effective: bool,
}

/// What the layers of a node say of `key`: a variable (`nginx.workers`, with or without `vars.`), a resource
/// (`file:/etc/motd`) or one of its keys (`file:/etc/motd.mode`). Layers come in the order in which they are merged; of a
/// table everything in it is told.
///
/// # Errors
/// When no layer says anything of it, with what may have been meant.
pub fn explain(layers: &[NamedLayer<'_>], key: &str) -> Result<Vec<Origin>, String> {
    let mut said: Vec<(Vec<String>, usize, Value)> = Vec::new();
    for (index, named) in layers.iter().enumerate() {
        leaves(&mut vec!["vars".to_owned()], &Value::Object(named.layer.vars.clone()), index, &mut said);
        for (kind, resources) in &named.layer.resources {
            for (name, table) in resources {
                let mut path = vec![kind.clone(), name.clone()];
                leaves(&mut path, &Value::Object(table.clone()), index, &mut said);
            }
        }
    }
    said.sort_by(|(a, i, _), (b, j, _)| (a, i).cmp(&(b, j)));
    let wanted = wanted(key);
    // By whole names: `file:/etc/a` says nothing of `file:/etc/a.b`.
    let is_wanted = |path: &[String]| (1..=path.len()).any(|length| show(&path[..length]) == wanted);
    let (_, _, origins) = pile_up(layers);
    let found: Vec<Origin> = said
        .iter()
        .filter(|(path, ..)| is_wanted(path))
        .map(|(path, index, value)| {
            let parts: Vec<&str> = path.iter().map(String::as_str).collect();
            Origin {
                key: show(path),
                layer: layers[*index].name.to_owned(),
                value: value.clone(),
                is_effective: origins.of(&parts).contains(index),
            }
        })
        .collect();
    if found.is_empty() { Err(nothing(&wanted, &said)) } else { Ok(found) }
}

fn wanted(key: &str) -> String {
    let is_resource = key.split_once(':').is_some_and(|(kind, _)| kind.parse::<Kind>().is_ok());
    if is_resource || key == "vars" || key.starts_with("vars.") {
        key.to_owned()
    } else {
        format!("vars.{key}")
    }
}

/// Values that are no tables, by their paths.
fn leaves(path: &mut Vec<String>, value: &Value, layer: usize, said: &mut Vec<(Vec<String>, usize, Value)>) {
    let is_table = |table: &Map<String, Value>| !table.is_empty() && appended(table).is_none();
    match value {
        Value::Object(table) if is_table(table) => {
            for (key, value) in table {
                path.push(key.clone());
                leaves(path, value, layer, said);
                path.pop();
            }
        }
        Value::Object(table) if table.is_empty() && path.len() == 1 => {}
        _ => said.push((path.clone(), layer, value.clone())),
    }
}

fn show(path: &[String]) -> String {
    match path {
        [first, name, rest @ ..] if first != "vars" => {
            [&[format!("{first}:{name}")], rest].concat().join(".")
        }
        _ => path.join("."),
    }
}

fn nothing(wanted: &str, said: &[(Vec<String>, usize, Value)]) -> String {
    let known: Vec<String> = said.iter().map(|(path, ..)| show(path)).collect();
    let close = suggest::question(&suggest::close(wanted, known.iter().map(String::as_str)));
    format!("no layer of this node says anything of `{wanted}`{close}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Layer;
    use super::*;

    fn explained(key: &str) -> Result<Vec<(String, String, Value, bool)>, String> {
        let layers: Vec<Layer> = [
            json!({"vars": {"n": {"workers": 2, "log": "on"}, "list": [1]},
                   "resources": {"file": {"/etc/a.b": {"content": "x", "mode": "0644"}}, "package": {"nginx": {}}}}),
            json!({"vars": {"n": {"workers": 4}, "list": {"append": [2]}},
                   "resources": {"file": {"/etc/a.b": {"template": "t"}}}}),
        ]
        .into_iter()
        .map(|value| serde_json::from_value(value).unwrap())
        .collect();
        let names = ["fleet.toml", "groups/web.toml"];
        let named: Vec<NamedLayer<'_>> =
            layers.iter().zip(names).map(|(layer, name)| NamedLayer { name, layer }).collect();
        let found = explain(&named, key)?;
        Ok(found.into_iter().map(|o| (o.key, o.layer, o.value, o.is_effective)).collect())
    }

    fn line(key: &str, layer: &str, value: Value, counts: bool) -> (String, String, Value, bool) {
        (key.to_owned(), layer.to_owned(), value, counts)
    }

    #[test]
    fn layers_come_to_one_that_says_what_counts() {
        let layer = |value| serde_json::from_value::<Layer>(value).unwrap();
        let under =
            layer(json!({"vars": {"n": 1}, "resources": {"file": {"/a": {"content": "x", "mode": "0600"}}}}));
        let over = layer(json!({"vars": {"n": 2}, "resources": {"file": {"/a": {"template": "t"}}}}));
        let both = [NamedLayer { name: "a", layer: &under }, NamedLayer { name: "b", layer: &over }];
        let flat = flatten(&both);
        assert_eq!(Value::Object(flat.vars), json!({"n": 2}));
        let table = Value::Object(flat.resources["file"]["/a"].clone());
        assert_eq!(table, json!({"mode": "0600", "template": "t"}));
    }

    #[test]
    fn each_layer_that_says_something_is_told_and_the_one_that_counts() {
        let workers = vec![
            line("vars.n.workers", "fleet.toml", json!(2), false),
            line("vars.n.workers", "groups/web.toml", json!(4), true),
        ];
        assert_eq!(explained("n.workers"), Ok(workers.clone()));
        assert_eq!(explained("vars.n.workers"), Ok(workers));
        assert_eq!(explained("n").unwrap().len(), 3);
        let list = explained("list").unwrap();
        assert!(list.iter().all(|(.., counts)| *counts), "a list that grew came from both: {list:?}");
    }

    #[test]
    fn a_resource_is_told_key_by_key_with_what_was_taken_back() {
        let found = explained("file:/etc/a.b").unwrap();
        assert_eq!(
            found,
            [
                line("file:/etc/a.b.content", "fleet.toml", json!("x"), false),
                line("file:/etc/a.b.mode", "fleet.toml", json!("0644"), true),
                line("file:/etc/a.b.template", "groups/web.toml", json!("t"), true),
            ]
        );
        assert_eq!(explained("file:/etc/a.b.mode").unwrap(), found[1..2]);
        assert_eq!(
            explained("package:nginx").unwrap(),
            [line("package:nginx", "fleet.toml", json!({}), true)]
        );
    }

    #[test]
    fn what_nobody_speaks_of_is_an_error_with_what_was_meant() {
        let error = explained("n.worker").unwrap_err();
        assert!(error.contains("`vars.n.worker`; did you mean vars.n.workers"), "{error}");
        assert!(explained("file:/etc/a").is_err(), "part of a name is no name");
    }
}
