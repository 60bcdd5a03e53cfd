//! Owns the orders in progress: takes what happens, asks `plan` what is next, makes it durable, then does it.
//!
//! Everything that waits is taken in one go and committed together, so that a fleet's outcomes share a few syncs.
//! Nothing is sent, shown or acknowledged before the commit that holds it; a store that refuses stops all three, and
//! what was taken is tried again until it succeeds.

mod batch;
mod deliver;
mod keep;
mod load;
mod request;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use campanile_common::api::{OrderState, TargetState};
use campanile_common::authority::{Order, RunId, SignedOrder, TargetTree};
use campanile_common::id::NodeId;
use campanile_common::wire::v1::order::{Outcome, RunResult};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::batch::Batch;
use super::board::{Board, Live};
use super::plan::{Contact, Course, Moment, Settled, Step};
use super::record::{OrderRecord, StateRecord, TargetRecord, Withdrawal, Witness};
use super::{APPLIES_MAX, Apply, OrderParts, Orders, REQUESTS_MAX, Request};
use crate::audit::Audit;
use crate::event::Events;
use crate::node::{DeliveryEvent, DeliveryReport, Nodes, SessionAbilities, SessionChange};
use crate::state::StateError;

/// Reports that wait for this task; sessions wait past it. Output makes up most of it: 16 MiB at most.
const REPORTS_MAX: usize = 1024;
/// Reports and requests that one commit takes in.
const TAKEN_MAX: usize = 512;
/// Deliveries under way to one node: as many as its session has streams for.
const NODE_DELIVERIES_MAX: usize = 16;
/// Orders with targets that are not accounted for.
const IN_PROGRESS_MAX: usize = 2048;
/// Orders that are over but for late outcomes; past it the oldest waits no more.
const LISTENING_MAX: usize = 1024;
/// How soon a store that refused is tried again.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// How often old orders are looked for, and how soon again while there are some.
const KEEP_STEP: Duration = Duration::from_secs(60);
const KEEP_STEP_BUSY: Duration = Duration::from_millis(200);
/// `order.changed` is published this often at most for one order, and at its end.
const EVENT_STEP: Duration = Duration::from_millis(500);

/// An order in progress.
struct LiveOrder {
    record: OrderRecord,
    order: Arc<Order>,
    signed: SignedOrder,
    /// Proves the targets where they are a tree.
    tree: Option<TargetTree>,
    nodes: Vec<NodeId>,
    course: Course,
    withdrawn: Option<Withdrawal>,
    shown: Arc<Live>,
    /// What was last put up of each target.
    states: Vec<TargetState>,
    /// As it was last stored; none before the first time.
    stored: Option<StateRecord>,
    due: Option<Duration>,
    published: Option<Duration>,
}

/// What the task is built from beside [`OrderParts`].
#[derive(Debug)]
pub struct OrderTaskParts {
    /// What it shares with the handle.
    pub parts: OrderParts,
    /// Its records join the commits.
    pub audit: Audit,
    /// Passes deliveries on.
    pub nodes: Nodes,
    /// Where changes are published.
    pub events: Events,
}

/// Owns the orders in progress.
pub struct OrderTask {
    parts: OrderParts,
    audit: Audit,
    nodes: Nodes,
    events: Events,
    board: Board,
    applies: broadcast::Sender<Apply>,
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Receiver<DeliveryReport>,
    report_sender: mpsc::Sender<DeliveryReport>,
    sessions: broadcast::Receiver<SessionChange>,
    here: BTreeMap<NodeId, SessionAbilities>,
    /// Since when nodes that had a session have none; the others have none since the start.
    gone: HashMap<NodeId, Duration>,
    under_way: HashMap<NodeId, usize>,
    witnesses: HashMap<NodeId, Witness>,
    live: BTreeMap<RunId, LiveOrder>,
    /// Orders in progress by their targets.
    by_node: HashMap<NodeId, BTreeSet<RunId>>,
    touched: BTreeSet<RunId>,
    batch: Batch,
    store_retry: Option<Duration>,
    keep_at: Duration,
    started: Instant,
}

impl std::fmt::Debug for OrderTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderTask").field("live", &self.live.len()).finish_non_exhaustive()
    }
}

impl OrderTask {
    /// Reads what is stored. Returns the handle too.
    ///
    /// # Errors
    /// When the store fails, a record is damaged, or the outputs are not accessible.
    pub async fn open(parts: OrderTaskParts) -> Result<(Self, Orders), StateError> {
        let OrderTaskParts { parts, audit, nodes, events } = parts;
        let (request_sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (report_sender, reports) = mpsc::channel(REPORTS_MAX);
        let (here, sessions) = parts.sessions.subscribe();
        let (board, applies) = (Board::default(), broadcast::Sender::new(APPLIES_MAX));
        let handle = Orders {
            store: Arc::clone(&parts.store),
            keys: parts.keys.clone(),
            registry: parts.registry.clone(),
            clock: parts.clock.clone(),
            in_force: parts.in_force.clone(),
            outputs: parts.outputs.clone(),
            board: board.clone(),
            applies: applies.clone(),
            requests: request_sender,
        };
        let mut task = Self {
            parts,
            audit,
            nodes,
            events,
            board,
            applies,
            requests,
            reports,
            report_sender,
            sessions,
            here,
            gone: HashMap::new(),
            under_way: HashMap::new(),
            witnesses: HashMap::new(),
            live: BTreeMap::new(),
            by_node: HashMap::new(),
            touched: BTreeSet::new(),
            batch: Batch::default(),
            store_retry: None,
            keep_at: KEEP_STEP,
            started: Instant::now(),
        };
        task.load().await?;
        Ok((task, handle))
    }

    /// Works until cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        self.started = Instant::now();
        let mut frozen = self.parts.in_force.is_frozen.clone();
        loop {
            self.advance().await;
            let due = self.started + self.next_look();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = frozen.changed() => self.touched.extend(self.live.keys().copied()),
                change = self.sessions.recv() => self.session_changed(change),
                report = self.reports.recv() => if let Some(report) = report { self.report(report) },
                request = self.requests.recv() => match request {
                    Some(request) => self.request(request),
                    None => return,
                },
                () = tokio::time::sleep_until(due) => {}
            }
            self.take_what_waits();
        }
    }

    fn take_what_waits(&mut self) {
        for _ in 0..TAKEN_MAX {
            if let Ok(report) = self.reports.try_recv() {
                self.report(report);
            } else if let Ok(request) = self.requests.try_recv() {
                self.request(request);
            } else {
                match self.sessions.try_recv() {
                    Ok(change) => self.session_changed(Ok(change)),
                    Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                        self.session_changed(Err(broadcast::error::RecvError::Lagged(missed)));
                    }
                    Err(_) => return,
                }
            }
        }
    }

    fn now(&self) -> Moment {
        Moment { up: self.started.elapsed(), wall: self.parts.clock.now() }
    }

    fn next_look(&self) -> Duration {
        let dues = self.live.values().filter_map(|live| live.due);
        let work = dues.chain([self.keep_at]).min().unwrap_or(self.keep_at);
        self.store_retry.map_or(work, |retry| work.min(retry))
    }

    fn report(&mut self, report: DeliveryReport) {
        let DeliveryReport { node, run, event } = report;
        let now = self.now();
        let found = self.live.get_mut(&run).and_then(|live| {
            let index = live.nodes.binary_search(&node).ok()?;
            Some((live, index))
        });
        let Some((live, index)) = found else {
            if let DeliveryEvent::Outcome { durable, .. } = event {
                // Over and stored: the node may forget it.
                acknowledge(durable);
            }
            return;
        };
        let was_under_way = live.course.is_under_way(index);
        match event {
            DeliveryEvent::Preparing => {
                live.course.preparing(index, now);
                self.touched.insert(run);
            }
            DeliveryEvent::Received(journal) => {
                self.witnesses.entry(node).or_default().note(Some(journal), None);
                live.course.received(index, now);
                self.touched.insert(run);
            }
            DeliveryEvent::Output(chunk) => {
                let most = live.order.limits.output_bytes.into();
                if self.parts.outputs.take(run, node, &chunk, most) {
                    self.batch.grown.insert((run, node, live.record.submitted_at));
                }
            }
            DeliveryEvent::Outcome { outcome, durable } => {
                if outcome.run == run {
                    self.batch.durable.push(durable);
                    self.outcome(run, node, index, &outcome, now);
                } else {
                    tracing::warn!(%node, order = %run, "an outcome of another order, not taken");
                    live.course.lost(index, now);
                }
                self.touched.insert(run);
            }
            DeliveryEvent::Lost => {
                live.course.lost(index, now);
                self.touched.insert(run);
            }
        }
        self.note_under_way(run, node, index, was_under_way);
    }

    /// Keeps count of the deliveries under way; a place that became free may be another order's.
    fn note_under_way(&mut self, run: RunId, node: NodeId, index: usize, was: bool) {
        let is = self.live.get(&run).is_some_and(|live| live.course.is_under_way(index));
        let count = self.under_way.entry(node).or_default();
        if was && !is {
            if *count >= NODE_DELIVERIES_MAX {
                self.touched.extend(self.by_node.get(&node).into_iter().flatten());
            }
            *count = count.saturating_sub(1);
        } else if is && !was {
            *count += 1;
        }
    }

    fn outcome(&mut self, run: RunId, node: NodeId, index: usize, outcome: &Outcome, now: Moment) {
        let Some(live) = self.live.get_mut(&run) else { return };
        let witness = self.witnesses.entry(node).or_default();
        witness.note(outcome.journal, outcome.audit);
        let record = match outcome.result {
            RunResult::Unknown => match live.course.unknown(index, now) {
                Some(settled) => settled_record(settled),
                None => return,
            },
            _ => {
                let record = TargetRecord::of_outcome(outcome);
                live.note_exit(index, record.exit_code);
                if !live.course.ended(index, record.state) {
                    return;
                }
                record
            }
        };
        self.batch.witnesses.insert(node, *witness);
        self.batch.ended.insert((run, node), live.record.submitted_at);
        self.batch.records.insert((run, node), record);
    }

    /// Asks what is next, makes it durable, does it.
    async fn advance(&mut self) {
        let now = self.now();
        self.keep(now).await;
        let due = self.live.iter().filter(|(_, live)| live.due.is_some_and(|due| due <= now.up));
        self.touched.extend(due.map(|(run, _)| *run));
        for run in std::mem::take(&mut self.touched) {
            self.step(run, now);
        }
        if self.store_retry.is_some_and(|retry| now.up < retry) || self.batch.is_empty() {
            return;
        }
        self.commit().await;
    }

    fn step(&mut self, run: RunId, now: Moment) {
        let Some(live) = self.live.get_mut(&run) else { return };
        let is_frozen = *self.parts.in_force.is_frozen.borrow();
        let (here, gone, under_way) = (&self.here, &self.gone, &self.under_way);
        let scores = if live.course.has_waves() { deliver::scores(&self.nodes) } else { HashMap::new() };
        let contact = |node: NodeId| match here.get(&node) {
            Some(abilities) => Contact::Here {
                score: scores.get(&node).copied(),
                takes_orders: abilities.takes_orders,
                has_room: under_way.get(&node).is_none_or(|count| *count < NODE_DELIVERIES_MAX),
            },
            None => Contact::Gone { since: gone.get(&node).copied().unwrap_or_default() },
        };
        let Step { deliver, settled, look_at } = live.course.step(now, is_frozen, &contact);
        live.due = look_at;
        for (index, settled) in settled {
            self.batch.records.insert((run, live.nodes[index]), settled_record(settled));
        }
        for (index, mode) in deliver {
            let node = live.nodes[index];
            *self.under_way.entry(node).or_default() += 1;
            self.batch.deliveries.push((run, node, mode));
        }
        for (index, shown) in live.states.iter_mut().enumerate() {
            let state = live.course.state(index);
            if *shown != state || self.batch.records.contains_key(&(run, live.nodes[index])) {
                *shown = state;
                self.batch.changed.entry(run).or_default().insert(index, state);
            }
        }
        self.note_state(run, now);
    }

    /// Orders that are not accounted for.
    fn in_progress(&self) -> usize {
        self.live.values().filter(|live| !live.course.is_listening()).count()
    }
}

fn acknowledge(durable: oneshot::Sender<()>) {
    if durable.send(()).is_err() {
        tracing::debug!(
            "an outcome's stream broke before it was acknowledged; the node keeps it for a while"
        );
    }
}

fn settled_record(settled: Settled) -> TargetRecord {
    TargetRecord::without_outcome(settled.state(), settled.result(), settled.detail())
}

const fn is_accounted_for(state: OrderState) -> bool {
    matches!(state, OrderState::Done | OrderState::Cancelled)
}
