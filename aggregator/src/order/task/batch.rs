//! What one commit takes in, and what is done after it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use campanile_common::api::{AuditOutcome, OrderState, TargetState};
use campanile_common::authority::{Action, ConfigMode, RunId};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::DeliveryMode;
use data_encoding::BASE64;
use serde_json::json;
use tokio::sync::oneshot;

use super::{EVENT_STEP, OrderTask, STORE_RETRY, acknowledge, is_accounted_for};
use crate::audit::Record as AuditRecord;
use crate::order::board::Entry;
use crate::order::count::describe;
use crate::order::plan::Moment;
use crate::order::record::{
    RunKey, StateRecord, TargetRecord, Witness, order_key, state_key, target_key, witness_key, write_bits,
};
use crate::order::{Answer, Apply, OrderError};
use crate::state::{Committed, Compare, StateError, TRANSACTION_OPERATIONS_MAX, Transaction, Write, to_json};

/// Writes of one transaction; the audit log adds two of its own.
const WRITES_MAX: usize = TRANSACTION_OPERATIONS_MAX - 8;
/// Bytes of them; a transaction takes a mebibyte.
const BYTES_MAX: usize = 768 * 1024;

/// The state of one order, to be stored.
#[derive(Debug)]
pub(super) struct StateWrite {
    pub(super) record: StateRecord,
    /// The order itself, where it is new or was signed.
    pub(super) order: Option<Vec<u8>>,
    pub(super) is_new: bool,
    /// An event tells of it.
    pub(super) is_published: bool,
    pub(super) audit: Option<AuditRecord>,
    pub(super) answer: Option<Answer<RunId>>,
}

/// What one commit takes in.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: BTreeMap<(RunId, NodeId), TargetRecord>,
    pub(super) witnesses: BTreeMap<NodeId, Witness>,
    pub(super) states: BTreeMap<RunId, StateWrite>,
    pub(super) changed: BTreeMap<RunId, BTreeMap<usize, TargetState>>,
    pub(super) deliveries: Vec<(RunId, NodeId, DeliveryMode)>,
    pub(super) durable: Vec<oneshot::Sender<()>>,
    pub(super) grown: BTreeSet<(RunId, NodeId, Timestamp)>,
    pub(super) ended: HashMap<(RunId, NodeId), Timestamp>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.witnesses.is_empty()
            && self.states.is_empty()
            && self.changed.is_empty()
            && self.deliveries.is_empty()
            && self.durable.is_empty()
            && self.grown.is_empty()
            && self.ended.is_empty()
    }
}

impl OrderTask {
    /// Notes the order's state for the commit, where it differs from what is stored.
    pub(super) fn note_state(&mut self, run: RunId, now: Moment) {
        let Some(live) = self.live.get_mut(&run) else { return };
        let (state, counts) = (live.course.order_state(), live.course.counts());
        let record = StateRecord {
            order_id: run.order,
            occurrence: run.occurrence,
            submitted_at: live.record.submitted_at,
            state,
            counts,
            sent: write_bits(live.course.sent()),
            scores: BASE64.encode(&live.course.scores()),
            is_open: live.course.is_open(),
            withdrawn: live.withdrawn.clone(),
        };
        let before = live.stored.as_ref();
        let is_counted = is_accounted_for(state);
        let is_same = before.is_some_and(|before| {
            let counts = if is_counted { counts } else { before.counts };
            *before == StateRecord { counts, ..record.clone() }
        });
        if is_same {
            return;
        }
        let is_new_state = before.is_none_or(|before| before.state != state);
        let has_ended = is_counted && (is_new_state || before.is_none_or(|before| before.counts != counts));
        live.stored = Some(record.clone());
        if is_new_state {
            self.board.count_order(live.order.action.kind(), state);
        }
        let is_change = has_ended || is_new_state;
        let is_due = live.published.is_none_or(|last| now.up.saturating_sub(last) >= EVENT_STEP);
        let is_published = is_change || is_due;
        if is_published {
            live.published = Some(now.up);
        }
        let audit = has_ended.then(|| AuditRecord {
            actor: "aggregator".to_owned(),
            action: "order.outcome",
            target: format!("order:{}", RunKey(run)),
            outcome: if counts.ok == counts.targeted { AuditOutcome::Ok } else { AuditOutcome::Failed },
            detail: describe(&counts),
        });
        match self.batch.states.get_mut(&run) {
            Some(write) => {
                write.record = record;
                write.is_published |= is_published;
                if write.audit.is_none() {
                    write.audit = audit;
                }
            }
            None => {
                let write =
                    StateWrite { record, order: None, is_new: false, is_published, audit, answer: None };
                self.batch.states.insert(run, write);
            }
        }
    }

    /// Makes the batch durable, then shows, answers, acknowledges and sends. A store that refuses leaves all of it
    /// to the next time, but for new orders, which are refused.
    pub(super) async fn commit(&mut self) {
        match self.write().await {
            Ok(()) => self.store_retry = None,
            Err(error) => {
                let is_first = self.store_retry.is_none();
                self.store_retry = Some(self.now().up + STORE_RETRY);
                if is_first {
                    tracing::error!(%error, "orders cannot be stored: nothing is sent or acknowledged until they can");
                }
                self.refuse_new(&error);
                return;
            }
        }
        let mut batch = std::mem::take(&mut self.batch);
        for (node, witness) in &batch.witnesses {
            self.board.put_witness(*node, *witness);
        }
        self.show(&mut batch);
        for (run, node) in batch.ended.keys() {
            self.parts.outputs.finish(*run, *node);
        }
        for (run, node) in batch.grown.iter().map(|(run, node, _)| (run, node)) {
            if !batch.ended.contains_key(&(*run, *node))
                && let Some(live) = self.live.get(run)
            {
                live.shown.tell();
            }
        }
        for (run, write) in batch.states {
            self.tell_apply(run, &write.record);
            if let Some(answer) = write.answer {
                drop(answer.send(Ok(run)));
            }
        }
        batch.durable.into_iter().for_each(acknowledge);
        self.send(batch.deliveries).await;
        self.close_done();
    }

    async fn write(&mut self) -> Result<(), StateError> {
        self.write_outputs().await?;
        let keys = self.parts.keys.clone();
        let mut writes = Vec::new();
        for ((run, node), record) in &mut self.batch.records {
            if let Some(output) = self.parts.outputs.short(*run, *node) {
                record.output = Some(BASE64.encode(&output));
            }
            if self.batch.ended.contains_key(&(*run, *node)) {
                record.output_kept = self.parts.outputs.grown(*run, *node);
            }
            writes.push(Write::put(target_key(&keys, *run, *node), to_json(record)));
        }
        for (node, witness) in &self.batch.witnesses {
            writes.push(Write::put(witness_key(&keys, *node), to_json(witness)));
        }
        let audited: Vec<RunId> =
            self.batch.states.iter().filter(|(_, s)| s.audit.is_some()).map(|(r, _)| *r).collect();
        for (run, write) in self.batch.states.iter().filter(|(_, write)| write.audit.is_none()) {
            writes.push(Write::put(state_key(&keys, *run), to_json(&write.record)));
        }
        let mut chunks = chunks(writes);
        // The usual batch is of one order and fits into the commit of its audit entry.
        let mut last = if audited.is_empty() { Vec::new() } else { chunks.pop().unwrap_or_default() };
        for writes in chunks {
            let transaction = Transaction { compares: Vec::new(), writes };
            if self.parts.store.commit(transaction).await? == Committed::Conflict {
                unreachable!("nothing was compared");
            }
        }
        for run in audited {
            let mut writes = std::mem::take(&mut last);
            let bytes: usize = writes.iter().map(size).sum();
            let own = self.batch.states.get(&run).and_then(|write| write.order.as_ref()).map_or(0, Vec::len);
            if bytes + own > BYTES_MAX {
                let transaction = Transaction { compares: Vec::new(), writes: std::mem::take(&mut writes) };
                let _done = self.parts.store.commit(transaction).await?;
            }
            self.write_audited(run, writes).await?;
        }
        Ok(())
    }

    async fn write_audited(&mut self, run: RunId, mut writes: Vec<Write>) -> Result<(), StateError> {
        let keys = &self.parts.keys;
        let Some(write) = self.batch.states.get_mut(&run) else { return Ok(()) };
        let Some(audit) = write.audit.clone() else { return Ok(()) };
        let mut compares = Vec::new();
        writes.push(Write::put(state_key(keys, run), to_json(&write.record)));
        if let Some(order) = &write.order {
            let key = order_key(keys, run);
            if write.is_new {
                compares.push(Compare::Absent(key.clone()));
            }
            writes.push(Write::put(key, order.clone()));
        }
        match self.audit.commit(compares, writes, audit).await? {
            Committed::Done(_) => {
                // Should a later part of this batch fail, this one is not written a second time.
                (write.is_new, write.audit, write.order) = (false, None, None);
                Ok(())
            }
            Committed::Conflict => Err(StateError::Unavailable {
                detail: format!("order {run} was stored by another process at the same moment"),
            }),
        }
    }

    async fn write_outputs(&self) -> Result<(), StateError> {
        let grown: Vec<_> = self.batch.grown.iter().copied().collect();
        let ended: Vec<_> = self.batch.ended.iter().map(|((run, node), at)| (*run, *node, *at)).collect();
        if grown.is_empty() {
            // Output that has a file is synced when it ends, even if nothing of it is new.
            let has_file = ended.iter().any(|(run, node, _)| self.parts.outputs.has_file(*run, *node));
            if !has_file {
                return Ok(());
            }
        }
        let outputs = self.parts.outputs.clone();
        let flushed = tokio::task::spawn_blocking(move || outputs.flush(&grown, &ended)).await;
        let unavailable =
            |detail: String| StateError::Unavailable { detail: format!("cannot write output: {detail}") };
        flushed
            .map_err(|error| unavailable(error.to_string()))?
            .map_err(|error| unavailable(error.to_string()))
    }

    /// New orders are refused by a store that refuses; everything else waits for it.
    fn refuse_new(&mut self, error: &StateError) {
        let new: Vec<RunId> =
            self.batch.states.iter().filter(|(_, write)| write.is_new).map(|(run, _)| *run).collect();
        for run in new {
            if let Some(answer) = self.batch.states.remove(&run).and_then(|write| write.answer) {
                drop(answer.send(Err(OrderError::State(error.clone()))));
            }
            self.forget_live(run);
            self.batch.changed.remove(&run);
            self.batch.records.retain(|(of, _), _| *of != run);
            self.batch.deliveries.retain(|(of, node, _)| {
                if *of == run
                    && let Some(count) = self.under_way.get_mut(node)
                {
                    *count = count.saturating_sub(1);
                }
                *of != run
            });
        }
    }

    fn show(&mut self, batch: &mut Batch) {
        let told: BTreeSet<RunId> = batch.changed.keys().chain(batch.states.keys()).copied().collect();
        for (run, changed) in std::mem::take(&mut batch.changed) {
            let Some(live) = self.live.get(&run) else { continue };
            live.shown.change(|shown, change| {
                for (index, state) in changed {
                    let target = &mut shown.targets[index];
                    if let Some(record) = batch.records.remove(&(run, target.node)) {
                        self.board.count_target(record.state);
                        target.record = Some(Arc::new(record));
                    }
                    (target.state, target.changed) = (state, change);
                }
                shown.counts = live.course.counts();
                shown.state = live.course.order_state();
            });
        }
        for (run, write) in &batch.states {
            let entry = Entry { submitted: write.record.submitted_at, state: write.record.state };
            self.board.note(*run, entry);
            if let Some(live) = self.live.get(run) {
                live.shown.change(|shown, _| {
                    shown.state = write.record.state;
                    shown.counts = write.record.counts;
                    if shown.record.approvals.len() != live.record.approvals.len() {
                        shown.record = Arc::new(live.record.clone());
                    }
                });
            }
            if write.is_published {
                self.publish(*run, &write.record);
            }
        }
        for run in told {
            if let Some(live) = self.live.get(&run) {
                live.shown.tell();
            }
        }
    }

    /// Tells of an order that applied a generation and is over. May be told again with a late outcome.
    fn tell_apply(&self, run: RunId, record: &StateRecord) {
        let Some(live) = self.live.get(&run).filter(|_| is_accounted_for(record.state)) else { return };
        let Action::Config { generation, mode: ConfigMode::Apply { .. } } = live.order.action else { return };
        let counts = record.counts;
        let most = live.record.dispatch.max_fail.unwrap_or(0);
        let is_through = record.state == OrderState::Done && counts.skipped == 0;
        let is_clean =
            is_through && counts.failed + counts.denied <= most && live.course.is_known_to_be_harmless();
        let is_ok = |(node, state)| (state == TargetState::Ok).then_some(node);
        let nodes = live.nodes.iter().copied();
        let applied = nodes.clone().zip(live.course.states()).filter_map(is_ok).collect();
        // Nobody listens: then nothing is settled by itself.
        drop(self.applies.send(Apply { generation, targets: nodes.collect(), applied, is_clean }));
    }

    fn publish(&self, run: RunId, record: &StateRecord) {
        let kind = if record.state == OrderState::Proposed { "order.proposed" } else { "order.changed" };
        let body = json!({
            "orderId": run.order, "occurrence": run.occurrence, "state": record.state, "counts": record.counts,
        });
        self.events.publish(kind, None, &body);
    }
}

fn size(write: &Write) -> usize {
    match write {
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Delete { key } => key.len(),
    }
}

/// The writes in parts that a transaction takes.
fn chunks(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let (mut chunks, mut bytes): (Vec<Vec<Write>>, usize) = (Vec::new(), 0);
    for write in writes {
        let own = size(&write);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < WRITES_MAX && bytes + own <= BYTES_MAX => {
                chunk.push(write);
                bytes += own;
            }
            _ => {
                chunks.push(vec![write]);
                bytes = own;
            }
        }
    }
    chunks
}
