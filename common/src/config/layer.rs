//! One layer: variables and resources as they were written, and the files they use. A part of a generation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::Digest;

/// Most bytes of an encoded layer.
pub const LAYER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A file or template that a layer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePart {
    /// [`super::part_digest`] of its bytes.
    pub digest: Digest,
    /// How many.
    pub size: u64,
}

/// What one file of a bundle says: `fleet.toml`, one of `groups/` or one of `nodes/`. Not merged and not typed yet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Variables, nested as they were written.
    #[serde(default)]
    pub vars: Map<String, Value>,
    /// Resources by kind (`file`, `package`...) and name.
    #[serde(default)]
    pub resources: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    /// Files by their path below `files/`.
    #[serde(default)]
    pub files: BTreeMap<String, FilePart>,
    /// Templates by their path below `templates/`.
    #[serde(default)]
    pub templates: BTreeMap<String, FilePart>,
}

/// Bytes that are no layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a layer cannot be read: {0}")]
pub struct LayerError(String);

impl Layer {
    /// The exact bytes: JSON without blanks, keys in order.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("keys are text and numbers are finite")
    }

    /// Reads a part.
    ///
    /// # Errors
    /// When it is too long or no layer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LayerError> {
        if bytes.len() > LAYER_BYTES_MAX {
            return Err(LayerError(format!("it has more than {LAYER_BYTES_MAX} bytes")));
        }
        serde_json::from_slice(bytes).map_err(|error| LayerError(error.to_string()))
    }
}
