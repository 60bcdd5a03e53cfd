//! Recent series: what agents sampled in the last hour, in memory and in a journal.
//!
//! `intake` accounts for every tick, `recent` keeps samples, `journal` makes them durable, `pending` decides what is
//! synced and acknowledged when, `task` drives it. The full series store is its own piece and takes the journal's place.
//!
//! Invariant: a sample is acknowledged only after it was synced to disk.

mod intake;
mod journal;
pub mod pending;
mod recent;
mod task;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use campanile_common::api::{Coverage, SeriesPoints};
use campanile_common::connection::LaneItem;
use campanile_common::id::{InstanceId, NodeId};
use campanile_common::sample::Sample;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::Lane;

pub use journal::{Journal, JournalError};
pub use task::{Ingest, IngestTask};

use recent::NodeSeries;

/// How long samples are kept.
pub const RETENTION: Duration = Duration::from_secs(3600);

/// One session of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// An item that came by a lane of a node.
#[derive(Debug, Clone)]
pub struct TakenItem {
    /// By which session.
    pub session: SessionKey,
    /// Whose.
    pub node: NodeId,
    /// By which lane.
    pub lane: Lane,
    /// The item.
    pub item: LaneItem,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: HashMap<NodeId, NodeSeries>,
    samples_total: HashMap<NodeId, u64>,
    gap_ticks_total: HashMap<NodeId, u64>,
    readings_total: u64,
}

/// Handle of the recent series.
#[derive(Debug, Clone, Default)]
pub struct RecentSeries(Arc<Mutex<Inner>>);

impl RecentSeries {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node's newest sample.
    pub fn latest(&self, node: NodeId) -> Option<Arc<Sample>> {
        self.lock().nodes.get(&node)?.latest.clone()
    }

    /// A node's newest sample and the one before it, for rates.
    pub fn newest_two(&self, node: NodeId) -> (Option<Arc<Sample>>, Option<Arc<Sample>>) {
        let inner = self.lock();
        let series = inner.nodes.get(&node);
        (series.and_then(|s| s.latest.clone()), series.and_then(|s| s.previous.clone()))
    }

    /// Points of every series of this name whose labels include `labels`, within the times.
    pub fn points(
        &self,
        node: NodeId,
        name: &str,
        labels: &BTreeMap<String, String>,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesPoints> {
        self.lock().nodes.get(&node).map_or_else(Vec::new, |series| series.points(name, labels, from, to))
    }

    /// Are all seconds there?
    pub fn coverage(&self, node: NodeId) -> Coverage {
        let inner = self.lock();
        let none = Coverage { runs: Vec::new(), not_running: 0 };
        inner.nodes.get(&node).map_or(none, |series| series.intake.coverage())
    }

    /// All ticks of this run up to here are accounted for on disk.
    pub fn accounted_to(&self, node: NodeId, instance: InstanceId) -> Option<u64> {
        self.lock().nodes.get(&node).and_then(|series| series.intake.accounted_to(instance))
    }

    /// Samples taken in and ticks declared lost, since the aggregator started.
    pub fn totals(&self, node: NodeId) -> (u64, u64) {
        let inner = self.lock();
        let of = |totals: &HashMap<NodeId, u64>| totals.get(&node).copied().unwrap_or_default();
        (of(&inner.samples_total), of(&inner.gap_ticks_total))
    }

    /// Readings taken in since the aggregator started.
    pub fn readings_total(&self) -> u64 {
        self.lock().readings_total
    }

    /// Forgets a node that was retired.
    pub fn forget(&self, node: NodeId) {
        let mut inner = self.lock();
        inner.nodes.remove(&node);
        inner.samples_total.remove(&node);
        inner.gap_ticks_total.remove(&node);
    }

    /// Shows a live sample, whether or not it can be made durable.
    fn show(&self, node: NodeId, sample: &Sample) {
        let mut inner = self.lock();
        inner.readings_total += sample.readings.len() as u64;
        *inner.samples_total.entry(node).or_default() += 1;
        inner.nodes.entry(node).or_default().show(sample);
    }

    /// Takes in what is durable now.
    fn take(&self, node: NodeId, lane: Lane, item: &LaneItem, now: Timestamp) {
        let mut inner = self.lock();
        let is_new = inner.nodes.entry(node).or_default().take(lane, item, now);
        match item {
            LaneItem::Gap(gap) if is_new => {
                let total = inner.gap_ticks_total.entry(node).or_default();
                // The node says how many; its own total is all it can spoil.
                *total = total.saturating_add(gap.last - gap.first + 1);
            }
            LaneItem::Sample(sample) if is_new && lane == Lane::Backfill => {
                inner.readings_total += sample.readings.len() as u64;
                *inner.samples_total.entry(node).or_default() += 1;
            }
            _ => {}
        }
    }

    /// True when the item needs no second copy.
    fn is_known(&self, node: NodeId, item: &LaneItem) -> bool {
        let LaneItem::Sample(sample) = item else { return false };
        self.lock().nodes.get(&node).is_some_and(|series| series.intake.is_known(sample.position))
    }
}
