//! Which nodes a verb is for: by name, or by a selector that is resolved before anything is signed.

use std::collections::BTreeMap;

use anyhow::bail;
use campanile_common::api::Node;
use campanile_common::selector::Selector;

use crate::client::Client;
use crate::exit::UsageError;
use crate::suggest;

/// The active nodes that a selector or names stand for, in order of their names, each once; one request.
///
/// # Errors
/// When none is meant, or a name is unknown.
pub fn resolve(client: &Client, selector: Option<&Selector>, names: &[String]) -> anyhow::Result<Vec<Node>> {
    let text = match (selector, names) {
        (None, []) => return Err(UsageError("name nodes, or give a selector with -l".to_owned()).into()),
        (Some(_), [_, ..]) => {
            return Err(UsageError("name nodes or give a selector with -l, not both".to_owned()).into());
        }
        (selector, _) => selector.map(Selector::to_string).unwrap_or_default(),
    };
    let nodes: Vec<Node> = client.pages("/api/v1/nodes", &[("selector", &text), ("state", "active")])?;
    let mut found = if selector.is_some() { nodes } else { named(nodes, names)? };
    if found.is_empty() {
        bail!("the selector names no active node; `campanile node ls` lists them with their labels");
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by_key(|node| node.node_id);
    Ok(found)
}

fn named(nodes: Vec<Node>, names: &[String]) -> anyhow::Result<Vec<Node>> {
    let by_name: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let find = |name: &String| match by_name.get(name.as_str()) {
        Some(node) => Ok((*node).clone()),
        None => match nodes.iter().find(|node| node.node_id.to_string() == *name) {
            Some(node) => Ok(node.clone()),
            None => {
                let close = suggest::close(name, by_name.keys().copied());
                bail!("there is no active node `{name}`{}", suggest::question(&close))
            }
        },
    };
    names.iter().map(find).collect()
}
