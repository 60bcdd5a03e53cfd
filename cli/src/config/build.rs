//! Generations as they are put together from a bundle, from the head, and from an older generation. Pure.

use std::collections::{BTreeMap, BTreeSet};

use campanile_common::api::Node;
use campanile_common::config::{Generation, LayerKind, LayerPart, Member, Purpose, SecretPart};
use campanile_common::id::{Digest, FleetId, NodeId};
use campanile_common::selector::{Selector, Subject};
use campanile_common::time::Timestamp;

/// The generation that the fleet is meant to be at, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its digest.
    pub(crate) digest: Digest,
    /// What it says.
    pub(crate) generation: Generation,
}

/// What a generation is made under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The fleet.
    pub(crate) fleet: FleetId,
    /// Version of its authority.
    pub(crate) authority_version: u64,
    /// Who makes it.
    pub(crate) author: String,
    /// When.
    pub(crate) now: Timestamp,
}

/// What is the same in two generations of which one need not be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Body {
    /// Layers.
    pub(crate) layers: Vec<LayerPart>,
    /// Nodes and what they get.
    pub(crate) members: BTreeMap<NodeId, Member>,
    /// Secrets.
    pub(crate) secrets: BTreeMap<String, SecretPart>,
}

impl Body {
    /// That of a generation.
    pub(crate) fn of(generation: &Generation) -> Self {
        Self {
            layers: generation.layers.clone(),
            members: generation.members.clone(),
            secrets: generation.secrets.clone(),
        }
    }

    /// A generation that says nothing, to compare the first with.
    pub(crate) fn nothing() -> Generation {
        Self::default().into_generation(None, &nobody(), Purpose::Draft, "")
    }

    /// These layers, for the nodes that there are, with the secrets of the head.
    pub(crate) fn of_layers(layers: Vec<LayerPart>, head: Option<&Head>, nodes: &[Node]) -> Self {
        let secrets = head.map(|head| head.generation.secrets.clone()).unwrap_or_default();
        let body = Self { layers, members: BTreeMap::new(), secrets };
        let generation = body.clone().into_generation(None, &nobody(), Purpose::Draft, "");
        let members = nodes.iter().map(|node| (node.node_id, selected(&generation, node))).collect();
        Self { members, ..body }
    }

    /// What the `chosen` nodes had in `target`, and the others have in the head; for the whole fleet when all are
    /// chosen. Secrets stay those of the head, which knows the newest values; of the target's only names that the
    /// head lacks come back.
    pub(crate) fn rolled_back(
        target: &Generation,
        head: &Generation,
        nodes: &[Node],
        chosen: Option<&BTreeSet<NodeId>>,
    ) -> Self {
        let mut secrets = target.secrets.clone();
        secrets.extend(head.secrets.clone());
        let Some(chosen) = chosen else {
            let members = nodes.iter().map(|node| (node.node_id, as_listed(target, node))).collect();
            return Self { layers: target.layers.clone(), members, secrets };
        };
        let mut layers = head.layers.clone();
        let mut members = BTreeMap::new();
        for node in nodes {
            let member = if chosen.contains(&node.node_id) {
                let mut member = as_listed(target, node);
                for index in &mut member.layers {
                    *index = brought(&mut layers, &target.layers[usize::from(*index)]);
                }
                member
            } else {
                as_listed(head, node)
            };
            members.insert(node.node_id, member);
        }
        Self { layers, members, secrets }
    }

    /// The generation after `head` that says this.
    pub(crate) fn into_generation(
        self,
        head: Option<&Head>,
        origin: &Origin,
        purpose: Purpose,
        message: &str,
    ) -> Generation {
        Generation {
            format: Generation::FORMAT,
            fleet: origin.fleet,
            number: head.map_or(1, |head| head.generation.number + 1),
            parent: head.map(|head| head.digest),
            authority_version: origin.authority_version,
            created: origin.now,
            author: origin.author.clone(),
            message: message.to_owned(),
            purpose,
            layers: self.layers,
            members: self.members,
            secrets: self.secrets,
        }
    }

    /// Names of the nodes that a secret's selector names and that have no copy of it.
    pub(crate) fn without_copy(&self, secret: &SecretPart) -> Vec<String> {
        let Ok(selector) = secret.selector.parse::<Selector>() else { return Vec::new() };
        let lacks = |(id, member): &(&NodeId, &Member)| {
            let subject = Subject { id: &id.to_string(), name: &member.name, labels: &member.labels };
            selector.matches(&subject) && !secret.sealed.contains_key(id)
        };
        self.members.iter().filter(lacks).map(|(_, member)| member.name.clone()).collect()
    }

    /// A sentence for each secret that lacks a copy for a node which its selector names: nobody but the operator
    /// who knows the value can make one.
    pub(crate) fn unsealed(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, secret) in &self.secrets {
            let names = self.without_copy(secret);
            if !names.is_empty() {
                found.push(format!(
                    "secret `{name}` is not sealed for {}, which `{}` names: run `campanile secret sync {name}`, \
                     or `campanile secret rotate {name}`",
                    super::view::named(&names),
                    secret.selector
                ));
            }
        }
        found
    }
}

/// A sentence for each group that names nobody and each node's layer whose node is not there.
pub(crate) fn idle_layers(body: &Body) -> Vec<String> {
    let used: BTreeSet<u16> =
        body.members.values().flat_map(|member| member.layers.iter().copied()).collect();
    let is_idle = |(index, layer): &(usize, &LayerPart)| {
        !layer.is_for_members_only && u16::try_from(*index).is_ok_and(|index| !used.contains(&index))
    };
    body.layers
        .iter()
        .enumerate()
        .filter(is_idle)
        .filter_map(|(_, layer)| match layer.kind {
            LayerKind::Fleet => None,
            LayerKind::Group => Some(format!(
                "groups/{}.toml is for no node today: `{}` names none",
                layer.name,
                layer.selector.as_deref().unwrap_or_default()
            )),
            LayerKind::Node => {
                Some(format!("nodes/{0}.toml is for no node today: none is called `{0}`", layer.name))
            }
        })
        .collect()
}

/// What the layers select for a node as it is called and labelled now.
fn selected(generation: &Generation, node: &Node) -> Member {
    let subject = Subject { id: &node.node_id.to_string(), name: &node.name, labels: &node.labels };
    Member {
        name: node.name.clone(),
        labels: node.labels.clone(),
        layers: generation.select_layers(&subject),
    }
}

/// What a generation gives a node: as listed there, else as its labels select.
fn as_listed(generation: &Generation, node: &Node) -> Member {
    generation.members.get(&node.node_id).cloned().unwrap_or_else(|| selected(generation, node))
}

/// Index of a layer of another generation among ours, to which it is added for listed members alone.
fn brought(layers: &mut Vec<LayerPart>, layer: &LayerPart) -> u16 {
    let is_same = |ours: &LayerPart| {
        (ours.kind, &ours.name, &ours.selector, ours.priority, ours.digest)
            == (layer.kind, &layer.name, &layer.selector, layer.priority, layer.digest)
    };
    let index = layers.iter().position(is_same).unwrap_or_else(|| {
        layers.push(LayerPart { is_for_members_only: true, ..layer.clone() });
        layers.len() - 1
    });
    // A generation of more layers than that breaks a rule, which is told when it is signed.
    u16::try_from(index).unwrap_or(u16::MAX)
}

fn nobody() -> Origin {
    Origin {
        fleet: FleetId::from_bytes([0; FleetId::BYTES]),
        authority_version: 0,
        author: String::new(),
        now: Timestamp::from_millis(0),
    }
}

#[cfg(test)]
pub(crate) mod tests;
