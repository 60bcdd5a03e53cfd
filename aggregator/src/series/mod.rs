//! skeleton of the recent series

use std::collections::BTreeMap;

use campanile_common::api::{Coverage, SeriesPoints};
use campanile_common::id::NodeId;
use campanile_common::sample::Sample;
use campanile_common::time::Timestamp;

/// Handle of the recent series: one hour in memory, bounded.
#[derive(Debug, Clone)]
pub struct RecentSeries {}

impl RecentSeries {
    /// A node's newest sample.
    pub fn latest(&self, _node: NodeId) -> Option<Sample> {
        unimplemented!()
    }
    /// Points of every series of this name whose labels include `labels`, within the times.
    pub fn points(
        &self,
        _node: NodeId,
        _name: &str,
        _labels: &BTreeMap<String, String>,
        _from: Timestamp,
        _to: Timestamp,
    ) -> Vec<SeriesPoints> {
        unimplemented!()
    }
    /// Are all seconds there?
    pub fn coverage(&self, _node: NodeId) -> Coverage {
        unimplemented!()
    }
}
