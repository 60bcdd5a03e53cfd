//! Orders as everybody sees them: the ones in progress with their targets, and where all the others are stored.
//!
//! The task puts up what is durable; readers never wait for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_common::api::{Order as ApiOrder, OrderState, OrderTarget, TargetCounts, TargetState};
use campanile_common::authority::{Action, ConfigMode, Order, RunId};
use campanile_common::id::{NodeId, OrderId};
use campanile_common::time::Timestamp;
use tokio::sync::watch;

use super::record::{OrderRecord, TargetRecord, Witness};

/// A target as it is shown.
#[derive(Debug, Clone)]
pub(super) struct ShownTarget {
    pub(super) node: NodeId,
    pub(super) state: TargetState,
    /// How it ended.
    pub(super) record: Option<Arc<TargetRecord>>,
    /// The count of changes at which it was last changed.
    pub(super) changed: u64,
}

/// An order as it is shown.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) record: Arc<OrderRecord>,
    pub(super) order: Arc<Order>,
    pub(super) state: OrderState,
    pub(super) counts: TargetCounts,
    pub(super) targets: Vec<ShownTarget>,
}

/// An order in progress.
#[derive(Debug)]
pub(super) struct Live {
    shown: Mutex<Shown>,
    /// Counts changes, of targets and of output.
    pub(super) changes: watch::Sender<u64>,
}

/// Where an order is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) submitted: Timestamp,
    pub(super) state: OrderState,
}

/// Counted since the aggregator started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Orders that came into each state, by kind.
    pub orders: BTreeMap<(String, OrderState), u64>,
    /// Targets that came to an end, by how.
    pub targets: BTreeMap<TargetState, u64>,
    /// Orders with targets that are not accounted for.
    pub in_flight: usize,
}

#[derive(Debug, Default)]
struct Inner {
    by_run: BTreeMap<RunId, Entry>,
    by_time: BTreeMap<(Timestamp, RunId), OrderState>,
    live: HashMap<RunId, Arc<Live>>,
    witnesses: HashMap<NodeId, Witness>,
    figures: Figures,
}

/// Handle of the board. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct Board(Arc<Mutex<Inner>>);

impl Live {
    pub(super) fn new(shown: Shown) -> Self {
        Self { shown: Mutex::new(shown), changes: watch::Sender::new(0) }
    }

    /// What is shown now.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Shown) -> T) -> T {
        read(&self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is shown. Readers are told by [`Live::tell`].
    pub(super) fn change(&self, change: impl FnOnce(&mut Shown, u64)) {
        let next = *self.changes.borrow() + 1;
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner), next);
    }

    /// Wakes whoever reads.
    pub(super) fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where an order is found, and in which state.
    pub(super) fn note(&self, run: RunId, entry: Entry) {
        let mut inner = self.lock();
        inner.by_run.insert(run, entry);
        inner.by_time.insert((entry.submitted, run), entry.state);
    }

    /// Forgets a deleted order.
    pub(super) fn forget(&self, run: RunId) {
        let mut inner = self.lock();
        if let Some(entry) = inner.by_run.remove(&run) {
            inner.by_time.remove(&(entry.submitted, run));
        }
        inner.live.remove(&run);
    }

    /// Targets of orders that apply a generation and are not over.
    pub(super) fn apply_targets(&self) -> BTreeSet<NodeId> {
        let live: Vec<Arc<Live>> = self.lock().live.values().map(Arc::clone).collect();
        let mut targets = BTreeSet::new();
        for live in live {
            live.read(|shown| {
                let is_apply =
                    matches!(shown.order.action, Action::Config { mode: ConfigMode::Apply { .. }, .. });
                if is_apply && shown.state == OrderState::Running {
                    targets.extend(shown.targets.iter().map(|target| target.node));
                }
            });
        }
        targets
    }

    /// Whether a node is at work on an order that has it restore what `source` saved. Sent counts: the node may have
    /// begun before its word is here.
    pub(super) fn reads_from(&self, node: NodeId, source: NodeId) -> bool {
        let live: Vec<Arc<Live>> = self.lock().live.values().map(Arc::clone).collect();
        live.iter().any(|live| {
            live.read(|shown| {
                let Action::Backup(backup) = &shown.order.action else { return false };
                let state = shown.target(node).map(|target| target.state);
                let is_at_work = matches!(state, Some(TargetState::Sent | TargetState::Running));
                backup.source() == Some(source) && is_at_work
            })
        })
    }

    pub(super) fn entry(&self, run: RunId) -> Option<Entry> {
        self.lock().by_run.get(&run).copied()
    }

    /// The newest run of an order, or the one at this due time.
    pub(super) fn find(&self, order: OrderId, occurrence: Option<Timestamp>) -> Option<RunId> {
        let inner = self.lock();
        let from = RunId { order, occurrence: None };
        let to = RunId { order, occurrence: Some(Timestamp::from_millis(u64::MAX)) };
        match occurrence {
            Some(_) => {
                let run = RunId { order, occurrence };
                inner.by_run.contains_key(&run).then_some(run)
            }
            None => inner.by_run.range(from..=to).next_back().map(|(run, _)| *run),
        }
    }

    /// Up to `limit` orders before `before`, newest first.
    pub(super) fn list(
        &self,
        state: Option<OrderState>,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
    ) -> Vec<(Timestamp, RunId)> {
        let inner = self.lock();
        let mut found = Vec::new();
        let upper = before.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        for (place, found_state) in
            inner.by_time.range::<(Timestamp, RunId), _>((std::ops::Bound::Unbounded, upper)).rev()
        {
            if state.is_none_or(|state| state == *found_state) {
                found.push(*place);
                if found.len() == limit {
                    break;
                }
            }
        }
        found
    }

    /// How many there are, and the oldest.
    pub(super) fn oldest(&self) -> (usize, Option<(Timestamp, RunId)>) {
        let inner = self.lock();
        (inner.by_time.len(), inner.by_time.keys().next().copied())
    }

    /// The oldest that is wanted.
    pub(super) fn find_oldest(&self, is_wanted: impl Fn(RunId) -> bool) -> Option<(Timestamp, RunId)> {
        self.lock().by_time.keys().find(|(_, run)| is_wanted(*run)).copied()
    }

    pub(super) fn live(&self, run: RunId) -> Option<Arc<Live>> {
        self.lock().live.get(&run).cloned()
    }

    pub(super) fn put_live(&self, run: RunId, live: Arc<Live>) {
        self.lock().live.insert(run, live);
    }

    pub(super) fn take_live(&self, run: RunId) {
        self.lock().live.remove(&run);
    }

    pub(super) fn witness(&self, node: NodeId) -> Option<Witness> {
        self.lock().witnesses.get(&node).copied()
    }

    pub(super) fn put_witness(&self, node: NodeId, witness: Witness) {
        self.lock().witnesses.insert(node, witness);
    }

    pub(super) fn count_order(&self, kind: &str, state: OrderState) {
        *self.lock().figures.orders.entry((kind.to_owned(), state)).or_default() += 1;
    }

    pub(super) fn count_target(&self, state: TargetState) {
        *self.lock().figures.targets.entry(state).or_default() += 1;
    }

    pub(super) fn figures(&self) -> Figures {
        let inner = self.lock();
        let in_flight = |live: &&Arc<Live>| live.read(|shown| shown.state == OrderState::Running);
        Figures { in_flight: inner.live.values().filter(in_flight).count(), ..inner.figures.clone() }
    }
}

impl Shown {
    /// Everything but the targets.
    pub(super) fn clone_head(&self) -> Self {
        Self {
            record: Arc::clone(&self.record),
            order: Arc::clone(&self.order),
            state: self.state,
            counts: self.counts,
            targets: Vec::new(),
        }
    }

    /// As the API shows it, with those targets that `sees` lets through; its counts are then of these.
    pub(super) fn to_api(
        &self,
        has_targets: bool,
        name: impl Fn(NodeId) -> String,
        sees: Option<&dyn Fn(NodeId) -> bool>,
    ) -> ApiOrder {
        let (record, order) = (&self.record, &self.order);
        let seen = |target: &&ShownTarget| sees.is_none_or(|sees| sees(target.node));
        let counts = match sees {
            Some(_) => super::count::count(self.targets.iter().filter(seen).map(|target| target.state)),
            None => self.counts,
        };
        let mut targets: Vec<OrderTarget> = if has_targets {
            self.targets.iter().filter(seen).map(|target| target.to_api(name(target.node))).collect()
        } else {
            Vec::new()
        };
        targets.sort_by(|a, b| a.name.cmp(&b.name).then(a.node_id.cmp(&b.node_id)));
        ApiOrder {
            order_id: record.order_id,
            occurrence: record.occurrence,
            kind: order.action.kind().to_owned(),
            action: order.action.to_string(),
            tier: order.tier.number(),
            reason: order.reason.clone(),
            submitted_by: record.submitted_by.clone(),
            submitted_at: record.submitted_at,
            not_before: order.not_before,
            expires_at: order.expires,
            signed_by: record.approvals.iter().map(|approval| approval.operator.clone()).collect(),
            signatures_needed: record.signatures_needed,
            state: self.state,
            counts,
            dispatch: record.dispatch.clone(),
            targets,
        }
    }

    pub(super) fn target(&self, node: NodeId) -> Option<&ShownTarget> {
        let index = self.targets.binary_search_by_key(&node, |target| target.node).ok()?;
        self.targets.get(index)
    }
}

impl ShownTarget {
    pub(super) fn to_api(&self, name: String) -> OrderTarget {
        let record = self.record.as_deref();
        OrderTarget {
            node_id: self.node,
            name,
            state: self.state,
            result: record.and_then(|record| record.result.clone()),
            detail: record.map(|record| record.detail.clone()).unwrap_or_default(),
            exit_code: record.and_then(|record| record.exit_code),
            started_at: record.and_then(|record| record.started_at),
            finished_at: record.and_then(|record| record.finished_at),
            output_bytes: record.map_or(0, |record| record.output_bytes),
            output_kept: record.map_or(0, |record| record.output_kept),
        }
    }
}
