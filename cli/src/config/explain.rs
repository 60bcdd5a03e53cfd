//! `config explain`: which layers say something of a value of a node, and which of them counts.

use std::path::PathBuf;

use anyhow::bail;
use campanile_common::api::Node;
use campanile_common::config::Layer;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::build::Body;
use super::release::path;
use super::{read, remote};
use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::render::{self, Cell, Column, Tone, column};
use crate::{authority, profile, suggest, targets};

/// Options of `config explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config explain web-01 nginx.workers
  campanile config explain web-01 file:/etc/motd
  campanile config explain web-01 file:/etc/motd.mode ./fleet-config

Without a directory it explains the head, with one what the bundle in it would make of the node.")]
pub struct Explain {
    /// Name or id
    #[arg(value_name = "NODE")]
    node: String,
    /// A variable (`nginx.workers`), a resource (`file:/etc/motd`), or one of its keys (`file:/etc/motd.mode`)
    #[arg(value_name = "KEY")]
    key: String,
    /// Directory of the bundle; without it the head
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What one layer says of one value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    key: String,
    layer: String,
    value: Value,
    is_effective: bool,
}

const COLUMNS: [Column<Said>; 4] =
    [
        column("KEY", |said, _| Cell::new(&said.key)),
        column("LAYER", |said, _| Cell::new(&said.layer)),
        column("COUNTS", |said, _| {
            if said.is_effective { Cell::new("yes").toned(Tone::Good) } else { Cell::new("no") }
        }),
        column("VALUE", |said, _| Cell::new(&said.value)),
    ];

/// Explains.
pub(super) fn run(context: &mut Context<'_>, arguments: &Explain) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let nodes = targets::resolve(&client, None, std::slice::from_ref(&arguments.node))?;
    let node = &nodes[0];
    let layers = match &arguments.dir {
        Some(dir) => of_bundle(context, dir, node)?,
        None => of_head(context, &client, node)?,
    };
    let said = explain(&layers, &arguments.key);
    if said.is_empty() {
        let keys: Vec<String> = leaves(&layers).into_iter().map(|said| said.key).collect();
        let close = suggest::close(&arguments.key, keys.iter().map(String::as_str));
        bail!("no layer of {} says anything of `{}`{}", node.name, arguments.key, suggest::question(&close));
    }
    render::list(context, &said, &COLUMNS, |said| said.layer.clone())?;
    Ok(Exit::Fine)
}

/// The layers that a bundle has for a node, the first to be merged first.
fn of_bundle(
    context: &mut Context<'_>,
    dir: &std::path::Path,
    node: &Node,
) -> anyhow::Result<Vec<(String, Layer)>> {
    let content = read::bundle(context, dir)?;
    let parts = content.layer_parts();
    let body = Body::of_layers(parts.clone(), None, std::slice::from_ref(node));
    let indices = body.members.get(&node.node_id).map(|member| member.layers.clone()).unwrap_or_default();
    Ok(indices
        .into_iter()
        .map(usize::from)
        .map(|index| (path(&parts[index]), content.layers[index].layer.clone()))
        .collect())
}

fn of_head(context: &Context<'_>, client: &Client, node: &Node) -> anyhow::Result<Vec<(String, Layer)>> {
    let authority = authority::load(context.environment)?;
    let head = remote::head(client, &authority, false)?.ok_or_else(remote::none_yet)?;
    let generation = &head.generation;
    let indices = generation.layers_of(node.node_id, &node.name, &node.labels);
    indices
        .into_iter()
        .map(|index| {
            let part = &generation.layers[usize::from(index)];
            Ok((path(part), remote::layer(client, part)?))
        })
        .collect()
}

/// What the layers say of a key: of a table everything in it.
fn explain(layers: &[(String, Layer)], key: &str) -> Vec<Said> {
    let with_vars = format!("vars.{key}");
    let is_at = |said: &Said, key: &str| {
        said.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut all = leaves(layers);
    all.retain(|said| is_at(said, key) || is_at(said, &with_vars));
    all
}

/// Every value of every layer, by key and then in the order of the layers.
fn leaves(layers: &[(String, Layer)]) -> Vec<Said> {
    let mut all = Vec::new();
    for (index, (name, layer)) in layers.iter().enumerate() {
        let mut add = |key: String, value: &Value| {
            all.push((index, Said { key, layer: name.clone(), value: value.clone(), is_effective: false }));
        };
        walk("vars", &Value::Object(layer.vars.clone()), &mut add);
        for (kind, resources) in &layer.resources {
            for (name, table) in resources {
                walk(&format!("{kind}:{name}"), &Value::Object(table.clone()), &mut add);
            }
        }
    }
    all.sort_by(|(i, a), (j, b)| (&a.key, i).cmp(&(&b.key, j)));
    let mut said: Vec<Said> = all.into_iter().map(|(_, said)| said).collect();
    let mut is_open = false;
    for index in (0..said.len()).rev() {
        let is_last = said.get(index + 1).is_none_or(|next| next.key != said[index].key);
        // What is appended goes behind what earlier layers said, which counts as well then.
        let appends = said[index].value.get("append").is_some();
        said[index].is_effective = is_last || is_open;
        is_open = said[index].is_effective && appends;
    }
    said
}

fn walk(key: &str, value: &Value, add: &mut impl FnMut(String, &Value)) {
    match value {
        Value::Object(table) if !table.contains_key("append") => {
            for (inner, value) in table {
                walk(&format!("{key}.{inner}"), value, add);
            }
        }
        value => add(key.to_owned(), value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn layer(vars: Value, mode: Option<&str>) -> Layer {
        let mut layer = Layer { vars: vars.as_object().unwrap().clone(), ..Layer::default() };
        if let Some(mode) = mode {
            let table = json!({ "mode": mode }).as_object().unwrap().clone();
            layer.resources.insert("file".to_owned(), [("/etc/motd".to_owned(), table)].into());
        }
        layer
    }

    fn layers() -> Vec<(String, Layer)> {
        vec![
            (
                "fleet.toml".to_owned(),
                layer(json!({ "nginx": { "workers": 1 }, "dns": ["a"] }), Some("0644")),
            ),
            ("groups/web.toml".to_owned(), layer(json!({ "nginx": { "workers": 4 } }), None)),
            ("nodes/web-1.toml".to_owned(), layer(json!({ "dns": { "append": ["b"] } }), Some("0600"))),
        ]
    }

    fn told(key: &str) -> Vec<(String, String, bool)> {
        explain(&layers(), key)
            .into_iter()
            .map(|said| (said.layer, said.value.to_string(), said.is_effective))
            .collect()
    }

    #[test]
    fn the_later_layer_counts_and_the_earlier_is_told() {
        let expected = [("fleet.toml", "1", false), ("groups/web.toml", "4", true)];
        let expected = expected.map(|(layer, value, counts)| (layer.to_owned(), value.to_owned(), counts));
        assert_eq!(told("nginx.workers"), expected);
        assert_eq!(told("vars.nginx"), expected);
        let modes = [("fleet.toml", "\"0644\"", false), ("nodes/web-1.toml", "\"0600\"", true)];
        let modes = modes.map(|(layer, value, counts)| (layer.to_owned(), value.to_owned(), counts));
        assert_eq!(told("file:/etc/motd"), modes);
        assert_eq!(told("file:/etc/motd.mode"), modes);
    }

    #[test]
    fn what_is_appended_to_counts_as_well() {
        assert!(told("dns").iter().all(|(.., counts)| *counts));
        assert_eq!(told("dns").len(), 2);
    }

    #[test]
    fn a_key_is_no_prefix_of_a_longer_word() {
        assert!(told("ngin").is_empty());
        assert!(told("file:/etc/mot").is_empty());
    }
}
