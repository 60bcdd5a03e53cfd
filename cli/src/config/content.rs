//! What a bundle holds, as the parts of a generation: its layers, and the files and templates that they use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use campanile_common::config::{Layer, LayerKind, LayerPart, PART_BYTES_MAX, part_digest};
use campanile_common::id::Digest;

use crate::os::file;

/// A layer as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ContentLayer {
    /// Where it stands.
    pub(crate) kind: LayerKind,
    /// Its name.
    pub(crate) name: String,
    /// Of a group: whom it is for.
    pub(crate) selector: Option<String>,
    /// Of a group: the higher one wins.
    pub(crate) priority: i32,
    /// What it says.
    pub(crate) layer: Layer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Bytes(Vec<u8>),
    File { path: PathBuf, size: u64 },
}

/// Parts by digest. Those of files are read when they are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    sources: BTreeMap<Digest, Source>,
}

impl Parts {
    /// Adds a part that is at hand.
    pub(crate) fn add(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = part_digest(&bytes);
        self.sources.insert(digest, Source::Bytes(bytes));
        digest
    }

    /// Adds a part that a file holds.
    pub(crate) fn add_file(&mut self, digest: Digest, path: PathBuf, size: u64) {
        self.sources.insert(digest, Source::File { path, size });
    }

    /// Their names.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.sources.keys().copied()
    }

    /// Whether it is one of them.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.sources.contains_key(digest)
    }

    /// How long a part is.
    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        self.sources.get(digest).map(|source| match source {
            Source::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Source::File { size, .. } => *size,
        })
    }

    /// The bytes of a part.
    ///
    /// # Errors
    /// When its file cannot be read, or changed since.
    pub(crate) fn read(&self, digest: &Digest) -> anyhow::Result<Vec<u8>> {
        match self.sources.get(digest).context("a part that the bundle lacks is wanted")? {
            Source::Bytes(bytes) => Ok(bytes.clone()),
            Source::File { path, .. } => {
                let bytes = file::read_up_to(path, PART_BYTES_MAX)?;
                if part_digest(&bytes) != *digest {
                    bail!("{} changed while it was read; run it again", path.display());
                }
                Ok(bytes)
            }
        }
    }
}

/// A bundle.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Content {
    /// Its layers: the fleet's, the groups', the nodes'.
    pub(crate) layers: Vec<ContentLayer>,
    /// Everything that a generation of it names.
    pub(crate) parts: Parts,
}

impl Content {
    /// Makes parts of layers; files and templates are read from below `dir` when they are sent.
    pub(crate) fn of_layers(layers: Vec<ContentLayer>, dir: &Path) -> Self {
        let mut parts = Parts::default();
        for layer in &layers {
            parts.add(layer.layer.to_bytes());
            for (folder, used) in [("files", &layer.layer.files), ("templates", &layer.layer.templates)] {
                for (name, part) in used {
                    parts.add_file(part.digest, dir.join(folder).join(name), part.size);
                }
            }
        }
        Self { layers, parts }
    }

    /// The layers as a generation names them.
    pub(crate) fn layer_parts(&self) -> Vec<LayerPart> {
        let part = |layer: &ContentLayer| LayerPart {
            kind: layer.kind,
            name: layer.name.clone(),
            selector: layer.selector.clone(),
            priority: layer.priority,
            digest: part_digest(&layer.layer.to_bytes()),
            is_for_members_only: false,
        };
        self.layers.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::config::FilePart;

    #[test]
    fn a_bundle_becomes_layers_and_the_files_they_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        std::fs::write(folder.path().join("files/motd"), "ding dong\n").unwrap();
        let digest = part_digest(b"ding dong\n");
        let layer =
            Layer { files: [("motd".to_owned(), FilePart { digest, size: 10 })].into(), ..Layer::default() };
        let read = ContentLayer {
            kind: LayerKind::Fleet,
            name: "fleet".to_owned(),
            selector: None,
            priority: 0,
            layer: layer.clone(),
        };
        let content = Content::of_layers(vec![read], folder.path());
        assert_eq!(content.layer_parts()[0].digest, part_digest(&layer.to_bytes()));
        assert_eq!(content.parts.digests().count(), 2);
        assert_eq!(content.parts.size(&digest), Some(10));
        assert_eq!(content.parts.read(&digest).unwrap(), b"ding dong\n");

        std::fs::write(folder.path().join("files/motd"), "other").unwrap();
        let error = content.parts.read(&digest).unwrap_err().to_string();
        assert!(error.ends_with("motd changed while it was read; run it again"), "{error}");
    }
}
