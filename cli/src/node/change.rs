//! Verbs that change nodes. Every target is accounted for: what became of each, and how many in all.

use campanile_common::api::{Node, NodePatch};
use ureq::http::Method;

use super::{LabelChange, Targets, find, path};
use crate::cli::Output;
use crate::client::{Client, ClientError};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::os::terminal;
use crate::render;

/// How often a change is tried again when the node was changed by somebody else meanwhile.
const ATTEMPTS: u32 = 4;

pub(super) fn rename(
    context: &mut Context<'_>,
    client: &Client,
    node: &str,
    name: &str,
) -> anyhow::Result<Exit> {
    let found = find(client, node)?;
    let patch = NodePatch { name: Some(name.to_owned()), ..NodePatch::default() };
    // Not tried again: if somebody else renamed it meanwhile, this may be another node than was meant.
    let renamed: Node = client.patch(&path(&found.node_id.to_string()), found.revision, &patch)?;
    render::object(context, &renamed, &renamed.name, |context| {
        Ok(writeln!(context.out, "{} is now {}", found.name, renamed.name)?)
    })?;
    Ok(Exit::Fine)
}

pub(super) fn label(
    context: &mut Context<'_>,
    client: &Client,
    targets: &Targets<'_>,
    words: &[String],
) -> anyhow::Result<Exit> {
    let change = LabelChange::parse(words).map_err(|error| UsageError(error.to_string()))?;
    let nodes = targets.find(client)?;
    for_each(context, &nodes, |node| {
        if change.is_done(&node.labels) {
            return Ok(Done::Already(node.clone()));
        }
        relabel(client, node, &change).map(Done::Now)
    })
}

pub(super) fn relabel(client: &Client, node: &Node, change: &LabelChange) -> anyhow::Result<Node> {
    let patch = NodePatch { labels: change.as_patch().clone(), ..NodePatch::default() };
    let path = path(&node.node_id.to_string());
    let mut revision = node.revision;
    let mut attempts = 1;
    loop {
        match client.patch(&path, revision, &patch) {
            // Other labels changed meanwhile: ours are still meant.
            Err(error) if error.code() == Some("precondition_failed") && attempts < ATTEMPTS => {
                revision = client.get::<Node>(&path, &[])?.revision;
                attempts += 1;
            }
            other => return Ok(other?),
        }
    }
}

pub(super) fn retire(
    context: &mut Context<'_>,
    client: &Client,
    targets: &Targets<'_>,
    expect: Option<usize>,
) -> anyhow::Result<Exit> {
    let nodes = targets.find(client)?;
    if !may_retire(context, &nodes, expect)? {
        context.hint("nothing was retired")?;
        return Ok(Exit::Failed);
    }
    for_each(context, &nodes, |node| {
        let retired = client.call(Method::POST, &format!("{}/retire", path(&node.node_id.to_string())))?;
        Ok(Done::Now(retired))
    })
}

/// Checks the number that was expected, or prints the targets and asks.
fn may_retire(context: &mut Context<'_>, nodes: &[Node], expect: Option<usize>) -> anyhow::Result<bool> {
    check_expected(context.global.yes, nodes.len(), expect)?;
    if context.global.yes {
        return Ok(true);
    }
    for node in nodes {
        context.hint(&format!("{}  {}  {}", node.name, node.node_id, node.labels))?;
    }
    let question = match nodes {
        [node] => format!("retire {} for good? [y/N] ", node.name),
        _ => format!("retire these {} nodes for good? type their number: ", nodes.len()),
    };
    let answer = terminal::ask("answer", &question, "give --yes, and --expect N for several nodes")?;
    Ok(match nodes {
        [_] => matches!(answer.as_str(), "y" | "Y" | "yes"),
        _ => answer.parse() == Ok(nodes.len()),
    })
}

fn check_expected(is_sure: bool, count: usize, expect: Option<usize>) -> Result<(), UsageError> {
    match expect {
        Some(expected) if expected != count => {
            Err(UsageError(format!("{count} nodes are named, --expect says {expected}; nothing was done")))
        }
        None if is_sure && count > 1 => {
            Err(UsageError(format!("{count} nodes are named; with --yes, --expect {count} must say so too")))
        }
        _ => Ok(()),
    }
}

/// What became of one target.
enum Done {
    Now(Node),
    Already(Node),
}

/// Does it to each node, whatever becomes of the others, and tells what became of all.
fn for_each(
    context: &mut Context<'_>,
    nodes: &[Node],
    mut act: impl FnMut(&Node) -> anyhow::Result<Done>,
) -> anyhow::Result<Exit> {
    let (mut results, mut exits, mut skipped) = (Vec::new(), Vec::new(), 0);
    for node in nodes {
        match act(node) {
            Ok(Done::Now(result)) => {
                results.push(result);
                exits.push(Exit::Fine);
            }
            Ok(Done::Already(result)) => {
                results.push(result);
                skipped += 1;
            }
            Err(error) if must_end(&error) => return Err(error),
            Err(error) => {
                context.hint(&format!("{}: {error:#}", node.name))?;
                exits.push(Exit::of_target(&error));
            }
        }
    }
    if context.global.output == Output::Json || context.global.output == Output::Yaml {
        render::list(context, &results, &[], |node| node.name.clone())?;
    } else {
        for node in &results {
            writeln!(context.out, "{}", node.name)?;
        }
    }
    context.hint(&account(nodes.len(), &exits, skipped))?;
    Ok(match (nodes, exits.as_slice()) {
        // One target is no "some": its failure is the command's.
        ([_], [Exit::SomeFailed | Exit::SomeSilent]) => Exit::Failed,
        _ => Exit::of_all(exits),
    })
}

/// True when no further target can fare better.
fn must_end(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ClientError::NotSignedIn { .. } | ClientError::NotOurs { .. } | ClientError::Unreachable { .. })
    )
}

fn account(targets: usize, exits: &[Exit], skipped: usize) -> String {
    let count = |wanted| exits.iter().filter(|exit| **exit == wanted).count();
    format!(
        "{targets} targeted: {} ok, {} failed, {} silent, {} denied, {skipped} skipped, 0 queued",
        count(Exit::Fine),
        count(Exit::SomeFailed),
        count(Exit::SomeSilent),
        count(Exit::Denied),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_nodes_need_their_number_beside_yes() {
        assert!(check_expected(true, 1, None).is_ok());
        assert!(check_expected(true, 3, Some(3)).is_ok());
        assert!(check_expected(false, 3, None).is_ok());
        assert!(check_expected(true, 3, None).is_err());
        assert!(check_expected(true, 3, Some(2)).is_err());
        assert!(check_expected(true, 1, Some(2)).is_err());
    }

    #[test]
    fn every_target_is_accounted_for() {
        let exits = [Exit::Fine, Exit::SomeFailed, Exit::Denied, Exit::SomeSilent];
        assert_eq!(
            account(6, &exits, 2),
            "6 targeted: 1 ok, 1 failed, 1 silent, 1 denied, 2 skipped, 0 queued"
        );
    }
}
