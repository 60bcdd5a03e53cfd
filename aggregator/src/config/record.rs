//! What is stored of the configuration beside its parts.

use campanile_common::api::{ConfigHead, GenerationSummary, LayerSummary};
use campanile_common::config::{Purpose, Tally};
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::ConfigReport;
use serde::{Deserialize, Serialize};

use crate::state::{Keys, Record};

/// A generation by number and digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Point {
    pub number: u64,
    pub digest: Digest,
}

/// Which generation the fleet is meant to be at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeadRecord {
    pub point: Point,
    /// The newest release of which it is known that it does no harm.
    pub settled: Option<Point>,
}

/// A generation that was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerationRecord {
    pub point: Point,
    pub parent: Option<Digest>,
    pub purpose: Purpose,
    pub created: Timestamp,
    pub submitted: Timestamp,
    pub submitted_by: String,
    pub author: String,
    pub operators: Vec<String>,
    /// How many operators had to sign when the last of them did.
    #[serde(default)]
    pub signatures_needed: u32,
    pub message: String,
    pub layers: Vec<LayerSummary>,
    pub secrets: Vec<String>,
    pub members: u32,
    /// The part that holds its bytes with their signatures.
    pub signed: Digest,
}

/// What a node said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportRecord {
    pub node: NodeId,
    pub at: Timestamp,
    pub report: ConfigReport,
}

impl Record for HeadRecord {}
impl Record for GenerationRecord {}
impl Record for ReportRecord {}

pub(super) fn head_key(keys: &Keys) -> String {
    keys.of("config-head", "fleet")
}

pub(super) fn generation_key(keys: &Keys, digest: Digest) -> String {
    keys.of("config-generation", &digest.to_string())
}

pub(super) fn report_key(keys: &Keys, node: NodeId) -> String {
    keys.of("config-node", &node.to_string())
}

impl Point {
    pub(super) const fn to_api(self) -> ConfigHead {
        ConfigHead { number: self.number, digest: self.digest }
    }
}

impl GenerationRecord {
    /// Of a generation whose bytes are this part.
    pub(super) fn new(tally: &Tally, signed: Digest, by: &str, now: Timestamp) -> Self {
        let generation = &tally.generation;
        let layers = generation.layers.iter().map(|layer| LayerSummary {
            kind: layer.kind.as_str().to_owned(),
            name: layer.name.clone(),
            selector: layer.selector.clone(),
            priority: layer.priority,
            digest: layer.digest,
        });
        Self {
            point: Point { number: generation.number, digest: tally.digest },
            parent: generation.parent,
            purpose: generation.purpose,
            created: generation.created,
            submitted: now,
            submitted_by: by.to_owned(),
            author: generation.author.clone(),
            operators: tally.operators.clone(),
            signatures_needed: u32::try_from(tally.needed).unwrap_or(u32::MAX),
            message: generation.message.clone(),
            layers: layers.collect(),
            secrets: generation.secrets.keys().cloned().collect(),
            members: u32::try_from(generation.members.len()).unwrap_or(u32::MAX),
            signed,
        }
    }

    /// A release that counts.
    pub(super) fn is_release(&self) -> bool {
        self.purpose == Purpose::Release && !self.is_waiting()
    }

    /// It lacks signatures: no order applies it and no node is given it.
    pub(super) fn is_waiting(&self) -> bool {
        self.signatures_missing() > 0
    }

    fn signatures_missing(&self) -> u32 {
        self.signatures_needed.saturating_sub(u32::try_from(self.operators.len()).unwrap_or(u32::MAX))
    }

    /// A release that was made on top of another head than `head` never becomes the head.
    pub(super) fn is_overtaken(&self, head: Option<Digest>) -> bool {
        self.purpose == Purpose::Release && self.parent != head
    }

    /// As lists show it; `nodes` report it as theirs.
    pub(super) fn to_api(&self, nodes: u32) -> GenerationSummary {
        GenerationSummary {
            number: self.point.number,
            digest: self.point.digest,
            parent: self.parent,
            created: self.created,
            author: self.author.clone(),
            operators: self.operators.clone(),
            signatures_missing: self.signatures_missing(),
            message: self.message.clone(),
            purpose: self.purpose.as_str().to_owned(),
            layers: self.layers.clone(),
            secrets: self.secrets.clone(),
            members: self.members,
            nodes,
        }
    }
}
