//! Which parts of a generation are for this node. Pure.

use std::collections::BTreeMap;

use campanile_common::config::{Generation, LAYER_BYTES_MAX, Layer, PART_BYTES_MAX};
use campanile_common::id::{Digest, NodeId};
use campanile_common::label::Labels;

/// Most bytes of all parts of one generation that are for one node.
pub(super) const NODE_BYTES_MAX: u64 = 1 << 30;

/// A part, and how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) digest: Digest,
    /// At most so many bytes.
    pub(super) bytes_max: u64,
    /// Just so many, where that is known.
    pub(super) length: Option<u64>,
}

impl Need {
    pub(super) fn new(digest: Digest, bytes_max: usize) -> Self {
        Self { digest, bytes_max: u64::try_from(bytes_max).unwrap_or(u64::MAX), length: None }
    }
}

/// The layers of a node, each once, the first to be merged first.
pub(super) fn layers(generation: &Generation, node: NodeId, name: &str, labels: &Labels) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    for index in generation.layers_of(node, name, labels) {
        let Some(layer) = generation.layers.get(usize::from(index)) else { continue };
        if needs.iter().all(|need| need.digest != layer.digest) {
            needs.push(Need::new(layer.digest, LAYER_BYTES_MAX));
        }
    }
    needs
}

/// Files, templates and sealed secrets of a node, each once.
///
/// # Errors
/// When a part is longer than a part may be, or all are together.
pub(super) fn rest<'a>(
    generation: &Generation,
    node: NodeId,
    layers: impl Iterator<Item = &'a Layer>,
) -> Result<Vec<Need>, String> {
    let mut needs: BTreeMap<Digest, Need> = BTreeMap::new();
    let most = u64::try_from(PART_BYTES_MAX).unwrap_or(u64::MAX);
    let mut total: u64 = 0;
    for layer in layers {
        for (path, part) in layer.files.iter().chain(&layer.templates) {
            if part.size > most {
                return Err(format!("`{path}` has {} bytes, {most} are the most", part.size));
            }
            let need = Need { digest: part.digest, bytes_max: part.size, length: Some(part.size) };
            match needs.insert(part.digest, need) {
                Some(other) if other != need => {
                    return Err(format!("`{path}` has two lengths under one digest"));
                }
                Some(_) => {}
                None => total = total.saturating_add(part.size),
            }
        }
    }
    if total > NODE_BYTES_MAX {
        return Err(format!("its files for this node have {total} bytes, {NODE_BYTES_MAX} are the most"));
    }
    for secret in generation.secrets.values() {
        if let Some(digest) = secret.sealed.get(&node) {
            needs.entry(*digest).or_insert_with(|| Need::new(*digest, PART_BYTES_MAX));
        }
    }
    Ok(needs.into_values().collect())
}
