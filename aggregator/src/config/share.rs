//! What a node may fetch of a generation: the generation itself, the layers that are for it with their files, and the
//! secrets that are sealed to it. What was read once is remembered, so that a fleet that asks at once reads it once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use campanile_common::config::{Generation, Layer, SignedGeneration};
use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::v1::config::ConfigOffer;

use super::{Config, ConfigError};

/// Generations that are held in memory; each has at most 4 MiB.
const GENERATIONS_MAX: usize = 4;
/// Layers whose files are remembered; past it all are forgotten and read anew.
const LAYERS_MAX: usize = 8192;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Opened {
    generations: Mutex<VecDeque<(Digest, Arc<Generation>)>>,
    files: Mutex<HashMap<Digest, Arc<[Digest]>>>,
}

/// What one node may fetch.
#[derive(Debug, Clone)]
pub struct Share {
    /// The generation, and the part that holds its bytes with their signatures.
    pub generation: (Digest, Digest),
    /// Everything else.
    pub parts: HashSet<Digest>,
}

impl Share {
    /// The part that is meant by what a node wants; none where it is not the node's.
    pub fn part(&self, wanted: Digest) -> Option<Digest> {
        let (digest, signed) = self.generation;
        if wanted == digest {
            return Some(signed);
        }
        self.parts.contains(&wanted).then_some(wanted)
    }
}

impl Config {
    /// The files and templates that a layer uses. Blocks.
    pub(super) fn files_of(&self, layer: Digest) -> Result<Arc<[Digest]>, ConfigError> {
        let files = || self.shared.opened.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = files().get(&layer) {
            return Ok(Arc::clone(known));
        }
        let read = Layer::from_bytes(&self.parts().read(layer)?)
            .map_err(|error| ConfigError::Invalid(format!("part {layer}: {error}")))?;
        let parts = read.files.values().chain(read.templates.values()).map(|part| part.digest);
        let found: Arc<[Digest]> = parts.collect::<BTreeSet<_>>().into_iter().collect();
        let mut files = files();
        if files.len() >= LAYERS_MAX {
            files.clear();
        }
        files.insert(layer, Arc::clone(&found));
        Ok(found)
    }

    /// A stored generation. It was verified when it was submitted. Blocks.
    pub(super) fn read_generation(&self, digest: Digest) -> Result<Arc<Generation>, ConfigError> {
        let generations = || self.shared.opened.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = generations().iter().find(|(known, _)| *known == digest) {
            return Ok(Arc::clone(known));
        }
        let part = self.known().generations.get(&digest).map(|record| record.signed);
        let part = part.ok_or_else(|| ConfigError::NotFound(format!("there is no generation {digest}")))?;
        let read = Arc::new(SignedGeneration::decode(&self.parts().read(part)?)?.read()?);
        let mut generations = generations();
        if generations.len() >= GENERATIONS_MAX {
            generations.pop_front();
        }
        generations.push_back((digest, Arc::clone(&read)));
        Ok(read)
    }

    /// The generation with this digest and, by digest, what `of` takes from each of its layers.
    ///
    /// # Errors
    /// When it is not here any more, or damaged.
    pub async fn with_layers<T: Send + 'static>(
        &self,
        digest: Digest,
        of: fn(Layer) -> T,
    ) -> Result<(Arc<Generation>, BTreeMap<Digest, T>), ConfigError> {
        self.blocking(move |config| {
            let generation = config.read_generation(digest)?;
            let mut layers = BTreeMap::new();
            for layer in generation.layers.iter().map(|layer| layer.digest).collect::<BTreeSet<_>>() {
                let read = Layer::from_bytes(&config.parts().read(layer)?)
                    .map_err(|error| ConfigError::Invalid(format!("part {layer}: {error}")))?;
                layers.insert(layer, of(read));
            }
            Ok((generation, layers))
        })
        .await
    }

    /// Everything that a generation names, its own bytes included. Blocks.
    pub(super) fn parts_of(&self, digest: Digest, signed: Digest) -> Result<HashSet<Digest>, ConfigError> {
        let generation = self.read_generation(digest)?;
        let mut parts = HashSet::from([signed]);
        for layer in generation.layers.iter().map(|layer| layer.digest).collect::<BTreeSet<_>>() {
            parts.insert(layer);
            parts.extend(self.files_of(layer)?.iter().copied());
        }
        parts.extend(generation.secrets.values().flat_map(|secret| secret.sealed.values().copied()));
        Ok(parts)
    }

    /// What a node to which this is offered may fetch.
    ///
    /// # Errors
    /// When the generation is not here any more, or damaged.
    pub async fn share(&self, node: NodeId, offer: &ConfigOffer) -> Result<Share, ConfigError> {
        let (digest, name, labels) = (offer.generation, offer.name.clone(), offer.labels.clone());
        self.blocking(move |config| {
            let generation = config.read_generation(digest)?;
            let record = config.known().generations.get(&digest).cloned();
            let record =
                record.ok_or_else(|| ConfigError::NotFound(format!("there is no generation {digest}")))?;
            if record.is_waiting() {
                return Err(ConfigError::Invalid(format!("generation {digest} lacks signatures")));
            }
            let signed = record.signed;
            let mut parts = HashSet::new();
            for index in generation.layers_of(node, &name, &labels) {
                if let Some(layer) = generation.layers.get(usize::from(index)) {
                    parts.insert(layer.digest);
                    parts.extend(config.files_of(layer.digest)?.iter().copied());
                }
            }
            let sealed = generation.secrets.values().filter_map(|secret| secret.sealed.get(&node));
            parts.extend(sealed.copied());
            Ok(Share { generation: (digest, signed), parts })
        })
        .await
    }
}
