//! `config explain`: which layers say something of a value of a node, and which of them counts.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use campanile_common::api::Node;
use campanile_common::config::{Layer, NamedLayer, explain};
use campanile_common::label::Labels;
use clap::Args;

use super::build::Body;
use super::release::path;
use super::{local, read, remote};
use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::{authority, profile, targets};

/// Options of `config explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config explain web-01 nginx.workers
  campanile config explain web-01 file:/etc/motd
  campanile config explain web-01 file:/etc/motd.mode ./fleet-config
  campanile config explain web-09 nginx.workers ./fleet-config --labels role=web

Without a directory it explains the head, with one what the bundle in it would make of the node;
with labels it needs neither the node nor an aggregator.")]
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
    /// A label of a node that need not be there yet, once for each: nobody is asked then
    #[arg(long, value_name = "KEY=VALUE")]
    labels: Vec<Labels>,
}

/// Explains.
pub(super) fn run(context: &mut Context<'_>, arguments: &Explain) -> anyhow::Result<Exit> {
    if !arguments.labels.is_empty() {
        let dir = arguments.dir.as_deref().unwrap_or(Path::new("."));
        return local::explain::run(context, dir, (&arguments.node, &arguments.labels), &arguments.key);
    }
    let client = profile::client(context)?;
    let nodes = targets::resolve(&client, None, std::slice::from_ref(&arguments.node))?;
    let node = &nodes[0];
    let layers = match &arguments.dir {
        Some(dir) => of_bundle(context, dir, node)?,
        None => of_head(context, &client, node)?,
    };
    let named: Vec<NamedLayer<'_>> = layers.iter().map(|(name, layer)| NamedLayer { name, layer }).collect();
    let origins = explain(&named, &arguments.key)
        .map_err(|problem| anyhow!("nothing to explain of {}: {problem}", node.name))?;
    local::explain::print(context, &origins)?;
    Ok(Exit::Fine)
}

/// The layers that a bundle has for a node, the first to be merged first.
fn of_bundle(
    context: &mut Context<'_>,
    dir: &std::path::Path,
    node: &Node,
) -> anyhow::Result<Vec<(String, Layer)>> {
    let content = read::bundle(context, dir)?.content(context, std::slice::from_ref(node))?;
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
