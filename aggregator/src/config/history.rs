//! Generations and nodes as they are shown.

use std::collections::BTreeMap;

use campanile_common::api::{GenerationSummary, NodeConfig};
use campanile_common::id::{Digest, NodeId};

use super::report;
use super::{Config, ConfigError, Known};

/// Figures as of now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Number of the head; 0 before the first.
    pub generation: u64,
    /// Nodes by what they reported last.
    pub phases: BTreeMap<&'static str, u64>,
    /// Resources that differ by another hand.
    pub drifted: u64,
    /// Bytes of all parts.
    pub parts_bytes: u64,
}

impl Known {
    fn nodes_at(&self, digest: Digest) -> u32 {
        let at = |report: &&std::sync::Arc<super::record::ReportRecord>| {
            report.report.current.is_some_and(|(_, current)| current == digest)
        };
        u32::try_from(self.nodes.values().filter(at).count()).unwrap_or(u32::MAX)
    }
}

impl Config {
    /// The generation of this digest.
    pub(super) fn generation(&self, digest: Digest) -> Option<GenerationSummary> {
        let known = self.known();
        let record = known.generations.get(&digest)?;
        Some(record.to_api(known.nodes_at(digest)))
    }

    /// The generation of this digest, or the release of this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &str) -> Result<GenerationSummary, ConfigError> {
        let digest = match name.parse::<u64>() {
            Ok(number) if name.len() <= 20 => self.known().releases.get(&number).copied(),
            _ => name.parse().ok(),
        };
        let found = digest.and_then(|digest| self.generation(digest));
        found.ok_or_else(|| {
            ConfigError::NotFound(format!("there is no generation {name}, or it is no longer kept"))
        })
    }

    /// Up to `limit` releases with numbers below `before`, newest first.
    pub fn releases(&self, before: Option<u64>, limit: usize) -> Vec<GenerationSummary> {
        let known = self.known();
        let mut at: BTreeMap<Digest, u32> = BTreeMap::new();
        for (_, digest) in known.nodes.values().filter_map(|node| node.report.current) {
            *at.entry(digest).or_default() += 1;
        }
        let releases = known.releases.range(..before.unwrap_or(u64::MAX)).rev().take(limit);
        releases
            .filter_map(|(_, digest)| known.generations.get(digest))
            .map(|record| record.to_api(at.get(&record.point.digest).copied().unwrap_or(0)))
            .collect()
    }

    /// The exact bytes of a generation with their signatures.
    ///
    /// # Errors
    /// When there is none, or its file is damaged.
    pub async fn signed(&self, digest: Digest) -> Result<Vec<u8>, ConfigError> {
        let part = self.known().generations.get(&digest).map(|record| record.signed);
        let part = part.ok_or_else(|| ConfigError::NotFound(format!("there is no generation {digest}")))?;
        self.read_part(part).await
    }

    /// How a node stood when it last said so.
    pub fn node(&self, node: NodeId, name: &str, is_connected: bool) -> NodeConfig {
        let record = self.known().nodes.get(&node).cloned();
        report::to_api(node, name, is_connected, record.as_deref())
    }

    /// Figures as of now.
    pub fn figures(&self) -> Figures {
        let known = self.known();
        let mut figures = Figures {
            generation: known.head.as_ref().map_or(0, |head| head.point.number),
            parts_bytes: self.parts().total(),
            ..Figures::default()
        };
        for record in known.nodes.values() {
            *figures.phases.entry(report::phase(record.report.phase)).or_default() += 1;
            figures.drifted += u64::from(record.report.drifted_count);
        }
        figures
    }
}
