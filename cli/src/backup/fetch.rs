//! What the aggregator's store knows of backups, as its API gives it.

use anyhow::bail;
use campanile_common::api::{NodeBackup, NodeBackupDetail, StoredSnapshot};
use campanile_common::selector::Selector;

use crate::client::{Client, segment};
use crate::exit::UsageError;
use crate::{node, suggest};

/// Path of all backups.
const PATH: &str = "/api/v1/backups";

/// Path of what is known of a node's backups.
pub(crate) fn path(node: &str) -> String {
    format!("{PATH}/{}", segment(node))
}

/// Those of the nodes that a selector or names stand for, by name; of all without either.
///
/// # Errors
/// When a name is unknown, or the aggregator does not answer.
pub(crate) fn nodes(
    client: &Client,
    selector: Option<&Selector>,
    names: &[String],
) -> anyhow::Result<Vec<NodeBackup>> {
    if selector.is_some() && !names.is_empty() {
        return Err(UsageError("name nodes or give a selector with -l, not both".to_owned()).into());
    }
    let text = selector.map(Selector::to_string).unwrap_or_default();
    let all: Vec<NodeBackup> = client.pages(PATH, &[("selector", &text)])?;
    let mut found = if names.is_empty() { all } else { named(&all, names)? };
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by_key(|node| node.node_id);
    Ok(found)
}

fn named(all: &[NodeBackup], names: &[String]) -> anyhow::Result<Vec<NodeBackup>> {
    let find = |name: &String| {
        let found = all.iter().find(|node| node.name == *name || node.node_id.to_string() == *name);
        let Some(found) = found else {
            let close = suggest::close(name, all.iter().map(|node| node.name.as_str()));
            bail!("there is no active node `{name}`{}", suggest::question(&close))
        };
        Ok(found.clone())
    };
    names.iter().map(find).collect()
}

/// Those of one node, in full.
///
/// # Errors
/// When it is unknown, or the aggregator does not answer.
pub(crate) fn detail(client: &Client, name: &str) -> anyhow::Result<NodeBackupDetail> {
    client.get(&path(name), &[]).map_err(|error| node::unknown(client, name, error))
}

/// Snapshots of a node, the oldest first; with those that were let go and can be brought back, where asked for.
///
/// # Errors
/// When the node is unknown, or the aggregator does not answer.
pub(crate) fn snapshots(
    client: &Client,
    name: &str,
    with_deleted: bool,
) -> anyhow::Result<Vec<StoredSnapshot>> {
    let query: &[(&str, &str)] = if with_deleted { &[("deleted", "true")] } else { &[] };
    let path = format!("{}/snapshots", path(name));
    let mut found: Vec<StoredSnapshot> =
        client.pages(&path, query).map_err(|error| node::unknown(client, name, error))?;
    found.sort_by_key(|snapshot| snapshot.received);
    Ok(found)
}
