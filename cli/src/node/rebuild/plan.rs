//! What a rebuild does, and what it leaves to a person. Pure.

use std::collections::BTreeSet;

use campanile_common::api::{Liveness, Node, NodeBackupDetail, NodeState, StoredSnapshot};
use campanile_common::backup::PolicyName;
use campanile_common::config::{Generation, LayerKind};
use campanile_common::label::Labels;
use campanile_common::selector::{Selector, Subject};
use serde::Serialize;

/// Where a policy saves to that another node can be given.
const STORE: &str = "aggregator";

/// What is known of both nodes.
pub(super) struct Known<'a> {
    pub(super) old: &'a Node,
    pub(super) new: &'a Node,
    pub(super) backup: &'a NodeBackupDetail,
    pub(super) snapshots: &'a [StoredSnapshot],
    /// The configuration in force, where there is one.
    pub(super) generation: Option<&'a Generation>,
    /// These policies alone, in this order; all without.
    pub(super) policies: &'a [PolicyName],
}

/// What is done, in this order.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    /// The node that was.
    pub(super) old: String,
    /// The one that takes its place.
    pub(super) new: String,
    /// Labels that the new one gets, as `campanile node label` takes them.
    pub(super) labels: Vec<String>,
    /// Policies that are restored.
    pub(super) policies: Vec<PolicyName>,
    /// What a person should know, or do first.
    pub(super) notes: Vec<String>,
}

/// A rebuild that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// One node for both.
    #[error(
        "{0} cannot take its own place; enroll the fresh machine as a node of its own and name that with --as"
    )]
    Same(String),
    /// The new one is not in the fleet.
    #[error("{0} is retired; enroll the fresh machine first: campanile-agent enroll")]
    Retired(String),
    /// The new one does not answer.
    #[error("{0} is not online; start its agent and its steward first")]
    Away(String),
    /// A policy that made no snapshot.
    #[error("no snapshot of policy {policy} of {node} is in the aggregator's store")]
    NoSnapshot { node: String, policy: PolicyName },
    /// None at all.
    #[error("the aggregator's store has no snapshot of {0}: there is nothing to restore")]
    Nothing(String),
}

/// Decides.
pub(super) fn plan(known: &Known<'_>) -> Result<Plan, Refused> {
    let Known { old, new, .. } = known;
    if old.node_id == new.node_id {
        return Err(Refused::Same(old.name.clone()));
    }
    if new.state == NodeState::Retired {
        return Err(Refused::Retired(new.name.clone()));
    }
    if new.liveness != Liveness::Online {
        return Err(Refused::Away(new.name.clone()));
    }
    let mut notes = Vec::new();
    if old.liveness == Liveness::Online {
        notes.push(format!("{} is online: two machines will have the same files", old.name));
    }
    let policies = policies(known, &mut notes)?;
    let (labels, after) = labels(old, new);
    if let Some(generation) = known.generation {
        config_notes(generation, known, &after, &mut notes);
    }
    Ok(Plan { old: old.name.clone(), new: new.name.clone(), labels, policies, notes })
}

fn policies(known: &Known<'_>, notes: &mut Vec<String>) -> Result<Vec<PolicyName>, Refused> {
    let old = &known.old.name;
    let named = known.snapshots.iter().filter_map(|snapshot| snapshot.policy.as_deref()?.parse().ok());
    let saved: BTreeSet<PolicyName> = named.collect();
    if !known.policies.is_empty() {
        let missing = known.policies.iter().find(|policy| !saved.contains(policy));
        return match missing {
            Some(policy) => Err(Refused::NoSnapshot { node: old.clone(), policy: policy.clone() }),
            None => Ok(known.policies.to_vec()),
        };
    }
    for policy in &known.backup.backup.policies {
        let (name, target) = (&policy.policy, &policy.target);
        let is_saved = saved.iter().any(|saved| saved.as_str() == name);
        if target != STORE {
            notes.push(format!(
                "policy {name} saves to {target}: restore it from there by hand, see `Recovery` in docs/guide/backup.md"
            ));
        } else if !is_saved {
            notes.push(format!("policy {name} has no snapshot: nothing of it is restored"));
        }
    }
    if known.snapshots.iter().any(|snapshot| snapshot.policy.is_none()) {
        notes.push(
            "snapshots of no policy are left out; `campanile restore --to-node` restores them".to_owned(),
        );
    }
    if saved.is_empty() {
        return Err(Refused::Nothing(old.clone()));
    }
    Ok(saved.into_iter().collect())
}

/// The changes, and the labels of the new node once they are made: its own stay.
fn labels(old: &Node, new: &Node) -> (Vec<String>, Labels) {
    let (mut changes, mut after) = (Vec::new(), new.labels.clone());
    for (key, value) in old.labels.iter().filter(|(key, value)| new.labels.get(key) != Some(*value)) {
        // What one node has, another can have.
        if after.set(key, value).is_ok() {
            changes.push(format!("{key}={value}"));
        }
    }
    (changes, after)
}

/// What the configuration gives the old node by its name or id, and so will not give the new one.
fn config_notes(generation: &Generation, known: &Known<'_>, after: &Labels, notes: &mut Vec<String>) {
    let Known { old, new, .. } = known;
    let has = |name: &str| {
        generation.layers.iter().any(|layer| layer.kind == LayerKind::Node && layer.name == name)
    };
    if has(&old.name) && !has(&new.name) {
        notes.push(format!(
            "the configuration has nodes/{0}.toml, which {1} does not get: copy it to nodes/{1}.toml and apply it, or give \
             {1} the old name once {0} is retired",
            old.name, new.name
        ));
    }
    let (old_id, new_id) = (old.node_id.to_string(), new.node_id.to_string());
    let before = Subject { id: &old_id, name: &old.name, labels: &old.labels };
    let now = Subject { id: &new_id, name: &new.name, labels: after };
    for layer in generation.layers.iter().filter(|layer| layer.kind == LayerKind::Group) {
        let Some(Ok(selector)) = layer.selector.as_deref().map(str::parse::<Selector>) else { continue };
        if selector.matches(&before) && !selector.matches(&now) {
            notes.push(format!(
                "groups/{}.toml is for {} ({selector}) and not for {}",
                layer.name, old.name, new.name
            ));
        }
    }
    let has_fixed = |layers: Vec<u16>| generation.layers_of(new.node_id, &new.name, after) != layers;
    if has_fixed(generation.select_layers(&now)) {
        notes.push(format!(
            "{} was known when generation {} was made, which lists what it gets: apply the bundle once its labels are changed",
            new.name, generation.number
        ));
    }
    for (name, secret) in &generation.secrets {
        if secret.sealed.contains_key(&old.node_id) && !secret.sealed.contains_key(&new.node_id) {
            notes.push(format!("secret {name} is not sealed to {}: campanile secret sync {name}", new.name));
        }
    }
}

#[cfg(test)]
mod tests;
