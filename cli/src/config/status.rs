//! `config status` and `config drift`: how nodes stand to their configuration, as they reported it.

use anyhow::bail;
use campanile_common::api::{ConfigHead, NodeConfig};
use campanile_common::time::Timestamp;
use clap::Args;
use serde::Serialize;

use super::remote;
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;
use crate::profile;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::watch::Watch;

/// Options of `config status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config status
  campanile config status -l role=web --watch
  campanile config status web-01
  campanile config status -o json | jq '.[] | select(.phase != \"applied\")'

Exit codes: 0 all nodes are at the head and well, 3 some failed or reverted, 5 some follow no generations by
their policy, 6 some are not at the head yet.")]
pub struct Status {
    /// Name or id; without it all nodes
    #[arg(value_name = "NODE", conflicts_with = "selector")]
    node: Option<String>,
    #[command(flatten)]
    selector: Selection,
    #[command(flatten)]
    watch: Watch,
}

/// Options of `config drift`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config drift
  campanile config drift -l role=web
  campanile config drift -o json

What differs on a node by another hand, and whose where the kernel tells. With `drift = \"enforce\"` on a resource the
node puts it right by itself.

Exit codes: 0 nothing differs, 10 something does.")]
pub struct Drift {
    #[command(flatten)]
    selector: Selection,
    #[command(flatten)]
    watch: Watch,
}

const COLUMNS: [Column<NodeConfig>; 8] = [
    column("NODE", |node, _| Cell::new(&node.name)),
    column("GENERATION", |node, _| Cell::maybe(node.current.as_ref().map(|head| head.number))),
    column("SINCE", |node, now| Cell::age(node.applied, now)),
    column("PHASE", |node, _| phase(node)),
    column("DRIFT", |node, _| drift_cell(node)),
    wide("CONNECTED", |node, _| Cell::new(if node.connected { "yes" } else { "no" })),
    wide("REPORTED", |node, now| Cell::age(node.reported, now)),
    column("WHY", |node, _| Cell::new(why(node))),
];

/// A resource that differs, with its node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Drifted {
    node: String,
    resource: String,
    found: Timestamp,
    detail: String,
    enforced: bool,
}

const DRIFTED: [Column<Drifted>; 5] = [
    column("NODE", |drifted, _| Cell::new(&drifted.node)),
    column("RESOURCE", |drifted, _| Cell::new(&drifted.resource)),
    column("FOUND", |drifted, now| Cell::age(Some(drifted.found), now)),
    column("STATE", |drifted, _| {
        if drifted.enforced {
            Cell::new("put right").toned(Tone::Good)
        } else {
            Cell::new("differs").toned(Tone::Warning)
        }
    }),
    column("WHAT", |drifted, _| Cell::new(&drifted.detail)),
];

fn phase(node: &NodeConfig) -> Cell {
    let tone = match node.phase.as_str() {
        _ if node.given_up => Tone::Bad,
        "applied" => Tone::Good,
        "failed" | "reverted" => Tone::Bad,
        "unknown" => Tone::Warning,
        _ => Tone::Plain,
    };
    Cell::new(if node.given_up { "given up" } else { &node.phase }).toned(tone)
}

fn drift_cell(node: &NodeConfig) -> Cell {
    match node.drifted_count {
        0 => Cell::new("none").toned(Tone::Good),
        count => Cell::new(count).toned(Tone::Warning),
    }
}

fn why(node: &NodeConfig) -> String {
    let tried = node.tried.as_ref().map(|tried| format!("generation {} was tried: ", tried.number));
    match (&node.denied, &node.detail) {
        (denied, _) if !denied.is_empty() => format!("follows no generations: {denied}"),
        (_, detail) if detail.is_empty() => String::new(),
        (_, detail) => format!("{}{detail}", tried.unwrap_or_default()),
    }
}

/// Of one node: whether it is well and at the head.
fn exit(node: &NodeConfig, head: Option<&ConfigHead>) -> Exit {
    let is_bad = node.given_up || matches!(node.phase.as_str(), "failed" | "reverted");
    match head {
        _ if is_bad => Exit::SomeFailed,
        _ if !node.denied.is_empty() => Exit::Denied,
        Some(head) if node.current.as_ref() != Some(head) => Exit::Waiting,
        _ => Exit::Fine,
    }
}

/// Shows how nodes stand.
pub(super) fn run(context: &mut Context<'_>, arguments: &Status) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    arguments.watch.run(context, |context| {
        let head = remote::head_name(&client)?;
        if let Some(name) = &arguments.node {
            let node: NodeConfig = client.get(&format!("/api/v1/config/nodes/{}", segment(name)), &[])?;
            show(context, &node, head.as_ref())?;
            return Ok(exit(&node, head.as_ref()));
        }
        let nodes = remote::nodes(&client, arguments.selector.selector.as_ref())?;
        if nodes.is_empty() && arguments.selector.selector.is_some() {
            bail!("the selector names no active node; `campanile node ls` lists them with their labels");
        }
        render::list(context, &nodes, &COLUMNS, |node| node.name.clone())?;
        Ok(Exit::of_all(nodes.iter().map(|node| exit(node, head.as_ref()))))
    })
}

fn show(context: &mut Context<'_>, node: &NodeConfig, head: Option<&ConfigHead>) -> anyhow::Result<()> {
    let named = |head: Option<&ConfigHead>| {
        Cell::maybe(head.map(|head| format!("{} ({:.12})", head.number, head.digest.to_string())))
    };
    render::object(context, node, &node.name, |context| {
        render::fields(
            context,
            &[
                ("node", Cell::new(&node.name)),
                ("generation", named(node.current.as_ref())),
                ("since", Cell::maybe(node.applied)),
                ("head", named(head)),
                ("phase", phase(node)),
                ("tried", named(node.tried.as_ref())),
                ("why", Cell::new(why(node))),
                ("drift", drift_cell(node)),
                ("sealing key", Cell::maybe(node.sealing_key.as_ref())),
                ("reported", Cell::maybe(node.reported)),
            ],
        )?;
        if !node.drifted.is_empty() {
            writeln!(context.out)?;
            render::list(context, &drifted(std::slice::from_ref(node)), &DRIFTED, |one| {
                one.resource.clone()
            })?;
        }
        Ok(())
    })
}

fn drifted(nodes: &[NodeConfig]) -> Vec<Drifted> {
    let mut all = Vec::new();
    for node in nodes {
        all.extend(node.drifted.iter().map(|one| Drifted {
            node: node.name.clone(),
            resource: one.resource.clone(),
            found: one.found,
            detail: one.detail.clone(),
            enforced: one.enforced,
        }));
    }
    all
}

/// Shows what differs.
pub(super) fn drift(context: &mut Context<'_>, arguments: &Drift) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    arguments.watch.run(context, |context| {
        let nodes = remote::nodes(&client, arguments.selector.selector.as_ref())?;
        let all = drifted(&nodes);
        render::list(context, &all, &DRIFTED, |one| format!("{} {}", one.node, one.resource))?;
        let unlisted: usize = nodes
            .iter()
            .map(|node| {
                usize::try_from(node.drifted_count).unwrap_or(usize::MAX).saturating_sub(node.drifted.len())
            })
            .sum();
        if unlisted > 0 {
            context.hint(&format!("and {unlisted} more, which their nodes count and do not list"))?;
        }
        let differs = nodes.iter().any(|node| {
            let is_left = node.drifted.iter().any(|one| !one.enforced);
            is_left || usize::try_from(node.drifted_count).is_ok_and(|count| count > node.drifted.len())
        });
        Ok(if differs { Exit::Pending } else { Exit::Fine })
    })
}

#[cfg(test)]
pub(super) mod tests;
