//! Which policies each node has, by a generation that operators signed: the layers that it gives the node, merged as the
//! node merges them. A node is not asked.
//!
//! [`PolicyBook`] is what the store and whoever judges freshness ask. It holds what the newest generation that was handed
//! to it says; until one was, nothing is known, and the store must keep everything.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use campanile_common::backup::{Policy, PolicyName, PolicyNameError, Target};
use campanile_common::config::{Generation, Kind, Layer, NamedLayer, Presence, Rules, Spec, merge};
use campanile_common::id::{Digest, NodeId};
use campanile_common::label::Labels;
use campanile_common::unit::ByteCount;

/// A node, as the roster knows it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
}

/// A policy of a node, as the book has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// What it says.
    pub policy: Policy,
    /// When it runs, in the configuration's words.
    pub schedule: String,
}

/// Why it cannot be told which policies a node has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoliciesError {
    /// A layer of the node is not here.
    #[error("layer {0} of the generation is not here; `campanile config apply` uploads it again")]
    NoLayer(Digest),
    /// The layers do not go together, or a policy is wrong.
    #[error("the layers of the node do not merge: {0}; `campanile config lint` names the line")]
    Layers(String),
}

/// What a layer says of backups, and nothing else: all that is needed here, and small.
pub fn backups_only(mut layer: Layer) -> Layer {
    layer.resources.retain(|kind, _| kind == Kind::Backup.as_str());
    for table in layer.resources.values_mut().flat_map(BTreeMap::values_mut) {
        // They name resources of other kinds, which are not there any more.
        table.retain(|key, _| !Rules::KEYS.contains(&key.as_str()));
    }
    Layer { resources: layer.resources, ..Layer::default() }
}

/// The policies that a generation gives a node, by name. `layers`: those of the generation by digest, each through
/// [`backups_only`].
///
/// # Errors
/// When a layer is missing, or the layers do not go together.
pub fn policies_of(
    generation: &Generation,
    layers: &BTreeMap<Digest, Layer>,
    node: Known<'_>,
) -> Result<Vec<Policy>, PoliciesError> {
    let booked = merged(generation, layers, &generation.layers_of(node.id, node.name, node.labels))?;
    Ok(booked.into_iter().map(|booked| booked.policy).collect())
}

fn merged(
    generation: &Generation,
    layers: &BTreeMap<Digest, Layer>,
    indices: &[u16],
) -> Result<Vec<Booked>, PoliciesError> {
    let mut named = Vec::with_capacity(indices.len());
    for part in indices.iter().filter_map(|index| generation.layers.get(usize::from(*index))) {
        let layer = layers.get(&part.digest).ok_or(PoliciesError::NoLayer(part.digest))?;
        named.push(NamedLayer { name: &part.name, layer });
    }
    let told = |error: &dyn std::fmt::Display| PoliciesError::Layers(error.to_string());
    let merged = merge(&named).map_err(|errors| match errors.first() {
        Some(error) => told(error),
        None => told(&"no reason was given"),
    })?;
    let mut policies = Vec::new();
    for resource in merged.resources {
        let Spec::Backup(said) = &resource.spec else { continue };
        if said.ensure == Presence::Present {
            let name: Result<PolicyName, PolicyNameError> = resource.id.name.parse();
            let name = name.map_err(|error| told(&error))?;
            let policy = Policy::read(name, said).map_err(|error| told(&error))?;
            policies.push(Booked { policy, schedule: said.schedule.clone().unwrap_or_default() });
        }
    }
    policies.sort_by(|a, b| a.policy.name.cmp(&b.policy.name));
    Ok(policies)
}

/// The policies of a node, or why they cannot be told.
pub type Policies = Result<Arc<BTreeMap<PolicyName, Booked>>, PoliciesError>;

#[derive(Debug, Default)]
struct Page {
    /// Number of the generation.
    number: Option<u64>,
    of: BTreeMap<NodeId, Policies>,
}

/// The policies of all nodes. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct PolicyBook {
    page: Arc<RwLock<Page>>,
}

impl PolicyBook {
    /// Takes what a generation says for these nodes, in the place of what was there. Nodes that get the same layers
    /// share their policies.
    pub fn turn<'a>(
        &self,
        generation: &Generation,
        layers: &BTreeMap<Digest, Layer>,
        nodes: impl IntoIterator<Item = Known<'a>>,
    ) {
        let mut by_layers: BTreeMap<Vec<u16>, Policies> = BTreeMap::new();
        let mut of = BTreeMap::new();
        for node in nodes {
            let indices = generation.layers_of(node.id, node.name, node.labels);
            let policies = by_layers.entry(indices).or_insert_with_key(|indices| {
                let policies = merged(generation, layers, indices)?;
                let named = policies.into_iter().map(|booked| (booked.policy.name.clone(), booked));
                Ok(Arc::new(named.collect()))
            });
            of.insert(node.id, policies.clone());
        }
        let page = Page { number: Some(generation.number), of };
        *self.page.write().unwrap_or_else(PoisonError::into_inner) = page;
    }

    /// Number of the generation that it was made from.
    pub fn number(&self) -> Option<u64> {
        self.page.read().unwrap_or_else(PoisonError::into_inner).number
    }

    /// The policies of a node; none where nothing is known of it.
    ///
    /// # Errors
    /// When it cannot be told which it has.
    pub fn policies(&self, node: NodeId) -> Result<Option<Arc<BTreeMap<PolicyName, Booked>>>, PoliciesError> {
        self.page.read().unwrap_or_else(PoisonError::into_inner).of.get(&node).cloned().transpose()
    }

    /// The nodes that it knows, with their policies.
    pub fn all(&self) -> BTreeMap<NodeId, Policies> {
        self.page.read().unwrap_or_else(PoisonError::into_inner).of.clone()
    }

    /// How much a node may store: the sum of what its policies say, where each that saves to the aggregator says so.
    pub fn quota(&self, node: NodeId) -> Option<ByteCount> {
        let policies = self.policies(node).ok().flatten()?;
        let stored = policies.values().filter(|booked| booked.policy.target == Target::Aggregator);
        let quotas: Option<Vec<ByteCount>> = stored.map(|booked| booked.policy.quota).collect();
        let sum = quotas.filter(|quotas| !quotas.is_empty())?;
        Some(ByteCount(sum.iter().fold(0, |sum, quota| sum.saturating_add(quota.0))))
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::config::{LayerKind, LayerPart, Member, Purpose, part_digest};
    use campanile_common::id::FleetId;
    use campanile_common::time::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    const NODES: [NodeId; 2] = [NodeId::from_bytes([1; 8]), NodeId::from_bytes([2; 8])];

    fn layer(resources: Value) -> Layer {
        serde_json::from_value(json!({ "resources": resources })).unwrap()
    }

    fn etc(daily: u32) -> Value {
        json!({"paths": ["/etc"], "schedule": "@daily", "keep": {"daily": daily}, "target": "dir:/srv/backup",
            "after": ["file:/etc/x"]})
    }

    /// A fleet's layer, one for the group of databases, one for node 1 alone.
    fn generation() -> (Generation, BTreeMap<Digest, Layer>) {
        let fleet = layer(json!({"backup": {"etc": etc(7)}, "file": {"/etc/x": {"content": ""}}}));
        let group = layer(json!({"backup": {
            "etc": {"keep": {"daily": 14}},
            "db": {"command": ["dump"], "file_name": "db.sql", "schedule": "@every 6h", "keep": {"last": 8},
                "target": "dir:/srv/backup", "max_age": "8h"},
        }}));
        let node = layer(json!({"backup": {"etc": {"ensure": "absent"}}}));
        let part = |kind, name: &str, selector: Option<&str>, layer: &Layer| LayerPart {
            kind,
            name: name.to_owned(),
            selector: selector.map(str::to_owned),
            priority: 0,
            digest: part_digest(&layer.to_bytes()),
            is_for_members_only: false,
        };
        let member = |name: &str, layers| Member { name: name.to_owned(), labels: Labels::default(), layers };
        let generation = Generation {
            format: Generation::FORMAT,
            fleet: FleetId::from_bytes([1; 16]),
            number: 1,
            parent: None,
            authority_version: 1,
            created: Timestamp::from_millis(1_790_000_000_000),
            author: "ada".to_owned(),
            message: "test".to_owned(),
            purpose: Purpose::Release,
            layers: vec![
                part(LayerKind::Fleet, "fleet", None, &fleet),
                part(LayerKind::Group, "db", Some("role=db"), &group),
                part(LayerKind::Node, "node-1", None, &node),
            ],
            members: [(NODES[0], member("node-1", vec![0, 2])), (NODES[1], member("node-2", vec![0]))].into(),
            secrets: BTreeMap::new(),
        };
        let layers =
            [fleet, group, node].map(|layer| (part_digest(&layer.to_bytes()), backups_only(layer))).into();
        (generation, layers)
    }

    fn names(policies: &[Policy]) -> Vec<&str> {
        policies.iter().map(|policy| policy.name.as_str()).collect()
    }

    #[test]
    fn a_node_has_the_policies_of_its_layers_merged() {
        let (generation, layers) = generation();
        let (none, db): (Labels, Labels) =
            (Labels::default(), serde_json::from_value(json!({"role": "db"})).unwrap());
        let of = |id, name, labels| policies_of(&generation, &layers, Known { id, name, labels }).unwrap();
        assert!(of(NODES[0], "node-1", &none).is_empty(), "absent on it");
        assert_eq!(names(&of(NODES[1], "node-2", &none)), ["etc"]);
        assert_eq!(names(&of(NODES[1], "node-2", &db)), ["etc"], "labels of members were signed");
        let later = of(NodeId::from_bytes([9; 8]), "node-9", &db);
        assert_eq!(names(&later), ["db", "etc"], "enrolled later");
        assert_eq!((later[0].max_age.as_secs(), later[1].keep.daily), (8 * 3600, 14));
    }

    #[test]
    fn the_book_tells_terms_and_knows_nothing_before_it_is_given_a_generation() {
        let (generation, mut layers) = generation();
        let (book, labels) = (PolicyBook::default(), Labels::default());
        let (etc, node): (PolicyName, NodeId) = ("etc".parse().unwrap(), NODES[1]);
        assert_eq!((book.policies(node), book.number()), (Ok(None), None));
        let nodes = || NODES.map(|id| Known { id, name: "node", labels: &labels });
        book.turn(&generation, &layers, nodes());
        assert_eq!(book.number(), Some(1));
        let booked = book.policies(node).unwrap().unwrap()[&etc].clone();
        assert_eq!((booked.policy.keep.daily, booked.policy.max_age.as_secs()), (7, 36 * 3600));
        assert_eq!(booked.schedule, "@daily");
        assert!(book.policies(NODES[0]).unwrap().unwrap().is_empty());
        assert_eq!(book.policies(NodeId::from_bytes([9; 8])), Ok(None), "not in the roster");
        // A layer is gone: that is no node without policies.
        layers.clear();
        book.turn(&generation, &layers, nodes());
        assert!(matches!(book.policies(node), Err(PoliciesError::NoLayer(_))));
    }

    #[test]
    fn a_quota_is_the_sum_of_those_of_all_policies_that_save_here() {
        let (mut generation, mut layers) = generation();
        let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let stored = |quota: Option<&str>| {
            let mut said =
                json!({"paths": ["/a"], "schedule": "@daily", "keep": {"last": 1}, "escrow": [recipient]});
            if let Some(quota) = quota {
                said["quota"] = json!(quota);
            }
            said
        };
        let labels = Labels::default();
        let mut quota = |policies: Value| {
            let fleet = layer(json!({ "backup": policies }));
            generation.layers[0].digest = part_digest(&fleet.to_bytes());
            layers.insert(generation.layers[0].digest, backups_only(fleet));
            let book = PolicyBook::default();
            book.turn(&generation, &layers, [Known { id: NODES[1], name: "node-2", labels: &labels }]);
            assert!(book.policies(NODES[1]).unwrap().is_some());
            book.quota(NODES[1]).map(|quota| quota.0)
        };
        let (one, two) = (stored(Some("1 GiB")), stored(Some("2 GiB")));
        assert_eq!(quota(json!({"one": one, "two": two, "here": etc(1)})), Some(3 << 30));
        assert_eq!(quota(json!({"one": one, "two": stored(None)})), None);
        assert_eq!(quota(json!({"here": etc(1)})), None);
    }

    #[test]
    fn layers_that_do_not_merge_are_told() {
        let (generation, mut layers) = generation();
        let bad = layer(json!({"backup": {"etc": {"paths": ["/etc"], "schedule": "nightly"}}}));
        *layers.get_mut(&generation.layers[0].digest).unwrap() = bad;
        let labels = Labels::default();
        let node = Known { id: NODES[1], name: "node-2", labels: &labels };
        let error = policies_of(&generation, &layers, node).unwrap_err();
        assert!(
            error.to_string().contains("backup:etc") && error.to_string().contains("schedule"),
            "{error}"
        );
    }
}
