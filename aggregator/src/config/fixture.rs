//! Bundles and generations to test with.

use std::collections::BTreeMap;

use campanile_common::config::{
    FilePart, Generation, Layer, LayerKind, LayerPart, Member, Purpose, SignedGeneration, part_digest,
};
use campanile_common::id::{Digest, NodeId};
use serde_json::json;

use super::Config;
use crate::order::fixture::{FLEET, NOW, key, node};

/// A layer of the fleet with these files, and all parts of it by digest.
pub(crate) fn layer(text: &str, files: &[&str]) -> (Layer, BTreeMap<Digest, Vec<u8>>) {
    let mut layer = Layer::default();
    layer.vars.insert("text".to_owned(), json!(text));
    let mut parts = BTreeMap::new();
    for file in files {
        let (digest, size) = (part_digest(file.as_bytes()), file.len() as u64);
        layer.files.insert((*file).to_owned(), FilePart { digest, size });
        parts.insert(digest, file.as_bytes().to_vec());
    }
    let bytes = layer.to_bytes();
    parts.insert(part_digest(&bytes), bytes);
    (layer, parts)
}

/// A release on top of `parent` of one layer for everybody, for nodes 1 and 2.
pub(crate) fn generation(parent: Option<(u64, Digest)>, layer: &Layer) -> Generation {
    let member =
        |number: u8| Member { name: format!("node-{number}"), labels: Default::default(), layers: vec![0] };
    Generation {
        format: Generation::FORMAT,
        fleet: FLEET,
        number: parent.map_or(1, |(number, _)| number + 1),
        parent: parent.map(|(_, digest)| digest),
        authority_version: 1,
        created: NOW,
        author: "ada".to_owned(),
        message: "test".to_owned(),
        purpose: Purpose::Release,
        layers: vec![LayerPart {
            kind: LayerKind::Fleet,
            name: "fleet".to_owned(),
            selector: None,
            priority: 0,
            digest: part_digest(&layer.to_bytes()),
            is_for_members_only: false,
        }],
        members: [1, 2].map(|number| (node(number), member(number))).into(),
        secrets: BTreeMap::new(),
    }
}

/// The same, signed by operator 1.
pub(crate) fn signed(generation: &Generation) -> SignedGeneration {
    generation.sign(&[&key(1)]).unwrap()
}

/// Hands in every part.
pub(crate) async fn put(config: &Config, parts: &BTreeMap<Digest, Vec<u8>>) {
    for (digest, bytes) in parts {
        config.put_part(*digest, bytes.clone()).await.unwrap();
    }
}

/// Nodes that are members.
pub(crate) const MEMBERS: [NodeId; 2] = [NodeId::from_bytes([1; 8]), NodeId::from_bytes([2; 8])];
