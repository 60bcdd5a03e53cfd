//! A generation: one immutable state of the whole configuration, as one small signed document that names everything
//! else by digest.
//!
//! Numbers only rise: a node never goes to a lower number than the highest it has accepted. Going back is a new
//! generation that names old parts. Which layers a node gets is signed too, for every node that was known when the
//! generation was made; labels that the aggregator tells decide only for nodes that were enrolled later.

mod signed;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::authority::OperatorKey;
use crate::id::{Digest, FleetId, NodeId};
use crate::label::Labels;
use crate::selector::{Selector, Subject};
use crate::time::Timestamp;
use crate::wire::codec;

pub use signed::{SignedGeneration, Tally, VerifiedGeneration};

const FORMAT: u16 = 1;
/// Most bytes of an encoded generation with its signatures.
pub const GENERATION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most layers.
pub const LAYERS_MAX: usize = 4096;
/// Most nodes that are listed.
pub const MEMBERS_MAX: usize = 20_000;
/// Most secrets.
pub const SECRETS_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 1024;

/// What a generation was signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To be looked at: nodes plan it and never apply it.
    Draft,
    /// To be applied: by an order that names it, and by nodes that were away or are enrolled later.
    Release,
}

/// Where a layer stands: a later kind wins over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// `fleet.toml`.
    Fleet,
    /// One of `groups/`; among them the higher priority wins, then the later name.
    Group,
    /// One of `nodes/`.
    Node,
}

/// A layer within a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPart {
    /// Where it stands.
    pub kind: LayerKind,
    /// `fleet`, or the file's name without `.toml`: of a group its name, of a node the node's.
    pub name: String,
    /// Of a group: whom it is for, in selector syntax.
    pub selector: Option<String>,
    /// Of a group: among groups the higher one wins.
    pub priority: i32,
    /// Its bytes, see [`super::Layer`].
    pub digest: Digest,
    /// For the listed members that name it alone; never for a node that was enrolled later.
    pub is_for_members_only: bool,
}

/// What a node that was known when the generation was made gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name then, for templates.
    pub name: String,
    /// Its labels then, for templates.
    pub labels: Labels,
    /// Indices of its layers, the first to be merged first.
    pub layers: Vec<u16>,
}

/// A secret: a sealed copy for each of its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretPart {
    /// Which nodes it was meant for, in selector syntax.
    pub selector: String,
    /// When its value was set.
    pub set: Timestamp,
    /// Digest of the sealed bytes (age, for the node's sealing key) by node.
    pub sealed: BTreeMap<NodeId, Digest>,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Format of this structure.
    pub format: u16,
    /// The fleet.
    pub fleet: FleetId,
    /// 1 for the first, then without a hole for releases; a draft has the number it would get.
    pub number: u64,
    /// Digest of the release before; none for the first.
    pub parent: Option<Digest>,
    /// The authority that its signers read.
    pub authority_version: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it, for people; the signature is what counts.
    pub author: String,
    /// Why, for people.
    pub message: String,
    /// What it was signed for.
    pub purpose: Purpose,
    /// Its layers.
    pub layers: Vec<LayerPart>,
    /// Nodes known when it was made.
    pub members: BTreeMap<NodeId, Member>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, SecretPart>,
}

/// Why a generation is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// The bytes are no generation of a known format.
    #[error("the generation cannot be read")]
    Unreadable,
    /// Of another fleet.
    #[error("the generation is of fleet {found}, ours is {ours}")]
    ForeignFleet {
        /// Its fleet.
        found: FleetId,
        /// Ours.
        ours: FleetId,
    },
    /// Too few valid signatures of distinct operators.
    #[error("the generation carries {found} valid signatures of distinct operators, {needed} are needed")]
    Signatures {
        /// Valid ones.
        found: usize,
        /// Needed ones.
        needed: usize,
    },
    /// The content breaks a rule.
    #[error("the generation is inconsistent: {rule}")]
    Inconsistent {
        /// Which.
        rule: &'static str,
    },
}

/// Why a node does not go to a generation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// A draft is never applied.
    #[error("generation {0} is a draft: it was signed to be planned, not to be applied")]
    Draft(u64),
    /// Lower than one that was accepted before.
    #[error("generation {found} is older than generation {highest}, which this node has accepted")]
    Older {
        /// Its number.
        found: u64,
        /// The highest accepted.
        highest: u64,
    },
    /// Another of the same number was accepted before.
    #[error("another generation {0} was accepted by this node before")]
    Forked(u64),
}

impl LayerKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Group => "group",
            Self::Node => "node",
        }
    }
}

impl Purpose {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Release => "release",
        }
    }
}

impl Generation {
    /// The format that this program writes.
    pub const FORMAT: u16 = FORMAT;

    /// Checks everything that does not take a signature.
    ///
    /// # Errors
    /// At the first rule that is broken.
    pub fn check(&self) -> Result<(), GenerationError> {
        let rule =
            |holds: bool, rule| if holds { Ok(()) } else { Err(GenerationError::Inconsistent { rule }) };
        rule(self.format == FORMAT, "its format is unknown")?;
        rule(self.number >= 1, "numbers begin at 1")?;
        rule(self.parent.is_some() == (self.number > 1), "all but the first have a parent")?;
        rule(self.layers.len() <= LAYERS_MAX, "it has too many layers")?;
        rule(self.members.len() <= MEMBERS_MAX, "it has too many members")?;
        rule(self.secrets.len() <= SECRETS_MAX, "it has too many secrets")?;
        let fits = |text: &str| text.len() <= TEXT_BYTES_MAX && !text.contains('\0');
        rule(fits(&self.author) && fits(&self.message), "a text in it is too long")?;
        for layer in &self.layers {
            rule(!layer.name.is_empty() && fits(&layer.name), "a layer has no name, or too long a one")?;
            let is_group = layer.kind == LayerKind::Group;
            rule(is_group == layer.selector.is_some(), "groups have a selector, other layers none")?;
            let selector = layer.selector.as_deref().unwrap_or_default();
            rule(
                !is_group || selector.parse::<Selector>().is_ok(),
                "the selector of a group cannot be read",
            )?;
        }
        for member in self.members.values() {
            let is_known = |index: &u16| usize::from(*index) < self.layers.len();
            rule(member.layers.iter().all(is_known), "a member names a layer that is not there")?;
        }
        Ok(())
    }

    /// Indices of the layers of a node, the first to be merged first: those listed for a member; of any other node
    /// the fleet's, the groups' that select its labels, and its own.
    pub fn layers_of(&self, node: NodeId, name: &str, labels: &Labels) -> Vec<u16> {
        match self.members.get(&node) {
            Some(member) => member.layers.clone(),
            None => self.select_layers(&Subject { id: &node.to_string(), name, labels }),
        }
    }

    /// Indices of the layers that are for whoever has this name and these labels, the first to be merged first:
    /// the fleet's, then groups by priority and name, then the node's own.
    pub fn select_layers(&self, subject: &Subject<'_>) -> Vec<u16> {
        let is_for = |layer: &LayerPart| match layer.kind {
            _ if layer.is_for_members_only => false,
            LayerKind::Fleet => true,
            LayerKind::Group => layer
                .selector
                .as_deref()
                .and_then(|text| text.parse::<Selector>().ok())
                .is_some_and(|selector| selector.matches(subject)),
            LayerKind::Node => layer.name == subject.name,
        };
        let mut found: Vec<(usize, &LayerPart)> =
            self.layers.iter().enumerate().filter(|(_, layer)| is_for(layer)).collect();
        found.sort_by_key(|(_, layer)| (layer.kind, layer.priority, &layer.name));
        found.into_iter().filter_map(|(index, _)| u16::try_from(index).ok()).collect()
    }

    /// The exact bytes to sign.
    ///
    /// # Errors
    /// When the content breaks a rule.
    pub fn to_bytes(&self) -> Result<Vec<u8>, GenerationError> {
        self.check()?;
        let long = GenerationError::Inconsistent { rule: "it is longer than 4 MiB" };
        codec::encode_long("Generation", self, GENERATION_BYTES_MAX).map_err(|_| long)
    }

    /// The generation with a signature of each of `keys`.
    ///
    /// # Errors
    /// When the content breaks a rule.
    pub fn sign(&self, keys: &[&OperatorKey]) -> Result<SignedGeneration, GenerationError> {
        let mut signed = SignedGeneration { bytes: self.to_bytes()?, signatures: Vec::new() };
        keys.iter().for_each(|key| signed.add_signature(key));
        Ok(signed)
    }
}

#[cfg(test)]
mod tests;
