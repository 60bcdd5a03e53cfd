//! New orders, withdrawals, signatures.

use std::sync::Arc;

use campanile_common::api::{AuditOutcome, OrderState, SignatureText, TargetState};
use campanile_common::authority::{Order, RunId, SignedOrder, TargetTree, Targets};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;

use super::batch::StateWrite;
use super::{IN_PROGRESS_MAX, LiveOrder, OrderTask};
use crate::audit::Record as AuditRecord;
use crate::order::admission::{self, Signer};
use crate::order::board::{Live, Shown, ShownTarget};
use crate::order::plan::{Course, Known, Rules};
use crate::order::record::{Approval, OrderRecord, RunKey, TargetRecord, Withdrawal};
use crate::order::{Answer, OrderError, Request, Submission};
use crate::state::to_json;

impl OrderTask {
    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Submit { submission, answer } => self.submit(*submission, answer),
            Request::Cancel { run, by, answer } => {
                if let Err((error, answer)) = self.cancel(run, by, answer) {
                    drop(answer.send(Err(error)));
                }
            }
            Request::Sign { run, signature, by, answer } => {
                if let Err((error, answer)) = self.sign(run, &signature, by, answer) {
                    drop(answer.send(Err(error)));
                }
            }
        }
    }

    fn submit(&mut self, submission: Submission, answer: Answer<RunId>) {
        let run = RunId { order: submission.draft.order.id, occurrence: submission.occurrence };
        if self.board.entry(run).is_some() || self.live.contains_key(&run) {
            self.submit_again(run, submission, answer);
            return;
        }
        if self.in_progress() >= IN_PROGRESS_MAX {
            let reason =
                format!("{IN_PROGRESS_MAX} orders are in progress, which is the most; try again later");
            drop(answer.send(Err(OrderError::Busy(reason))));
            return;
        }
        let now = self.now();
        let Submission { draft, occurrence, not_permitted, by, splay_seconds } = submission;
        let is_proposed = draft.is_proposal();
        let nodes = draft.nodes().len();
        let approvals = draft.signers.into_iter().map(|signer| approval(signer, &by, now.wall));
        let record = OrderRecord {
            order_id: draft.order.id,
            occurrence,
            signed: draft.signed,
            nodes: draft.leaves,
            not_permitted,
            submitted_by: by.clone(),
            submitted_at: now.wall,
            dispatch: draft.dispatch,
            splay_seconds,
            approvals: approvals.collect(),
            signatures_needed: draft.needed,
        };
        let audit = audit(&by, "order.submit", run, submitted(&draft.order, nodes, is_proposed));
        let bytes = to_json(&record);
        let unsent = |_| Known { was_sent: false, state: None };
        let Ok(live) = LiveOrder::new(record, unsent, is_proposed, None, now.up) else {
            drop(answer.send(Err(OrderError::Invalid("the order cannot be read".to_owned()))));
            return;
        };
        for node in &live.record.not_permitted {
            let detail = format!("role: {by} has no role that permits this on this node");
            let denied = TargetRecord::without_outcome(TargetState::Denied, Some("denied"), &detail);
            self.batch.records.insert((run, *node), denied);
        }
        self.insert_live(run, live);
        // The first step joins the commit: what is sent is known to be sent from the first record on.
        self.touched.remove(&run);
        self.step(run, now);
        if let Some(write) = self.batch.states.get_mut(&run) {
            (write.order, write.is_new, write.answer) = (Some(bytes), true, Some(answer));
            write.audit = Some(audit);
        }
    }

    /// The same order a second time: the same answer, if it is the same.
    fn submit_again(&self, run: RunId, submission: Submission, answer: Answer<RunId>) {
        let live = self.live.get(&run);
        let is_same = live.is_some_and(|live| {
            live.record.submitted_by == submission.by
                && live.record.signed.bytes == submission.draft.signed.bytes
        });
        let is_waiting = self.batch.states.get(&run).is_some_and(|write| write.is_new);
        if is_same && !is_waiting {
            drop(answer.send(Ok(run)));
            return;
        }
        if is_waiting || live.is_some() {
            drop(answer.send(Err(used())));
            return;
        }
        // Not in progress: its record tells.
        let (store, keys) = (Arc::clone(&self.parts.store), self.parts.keys.clone());
        tokio::spawn(async move {
            let found = crate::order::read::stored(&store, &keys, run).await;
            let result = match found {
                Ok(Some(shown))
                    if shown.record.submitted_by == submission.by
                        && shown.record.signed.bytes == submission.draft.signed.bytes =>
                {
                    Ok(run)
                }
                Ok(_) => Err(used()),
                Err(error) => Err(OrderError::State(error)),
            };
            drop(answer.send(result));
        });
    }

    fn cancel(
        &mut self,
        run: RunId,
        by: String,
        answer: Answer<RunId>,
    ) -> Result<(), (OrderError, Answer<RunId>)> {
        let now = self.now();
        let Some(live) = self.live.get_mut(&run) else {
            return Err((nothing_left(run), answer));
        };
        let counts = live.course.counts();
        if counts.pending + counts.queued == 0 || live.withdrawn.is_some() {
            return Err((nothing_left(run), answer));
        }
        live.course.withdraw();
        live.course.approve();
        live.withdrawn = Some(Withdrawal { by: by.clone(), at: now.wall });
        self.step(run, now);
        let detail = String::new();
        self.answer_after_commit(run, audit(&by, "order.cancel", run, detail), None, answer);
        Ok(())
    }

    fn sign(
        &mut self,
        run: RunId,
        signature: &SignatureText,
        by: String,
        answer: Answer<RunId>,
    ) -> Result<(), (OrderError, Answer<RunId>)> {
        let now = self.now();
        let authority = Arc::clone(&self.parts.in_force.authority.borrow());
        let Some(live) =
            self.live.get_mut(&run).filter(|live| live.course.order_state() == OrderState::Proposed)
        else {
            let reason = format!("order {} waits for no signatures", run.order);
            return Err((OrderError::Conflict(reason), answer));
        };
        let mut text = live.record.signed.clone();
        text.signatures.retain(|known| known.key != signature.key);
        text.signatures.push(signature.clone());
        let signed = text.decode().map(|(bytes, signatures)| SignedOrder { bytes, signatures });
        let Some(signed) = signed else {
            return Err((OrderError::Invalid("the signature is no base64".to_owned()), answer));
        };
        let (signers, needed) = match admission::signers(&live.order, &signed, &authority) {
            Ok(counted) => counted,
            Err(error) => return Err((error, answer)),
        };
        if live.record.approvals.iter().any(|approval| approval.key == signature.key) {
            let reason = "this operator has signed already; it takes the signatures of distinct operators";
            return Err((OrderError::Conflict(reason.to_owned()), answer));
        }
        let known = live.record.approvals.clone();
        live.record.approvals = signers
            .into_iter()
            .map(|signer| {
                let before = known.iter().find(|approval| approval.key == signer.key).cloned();
                before.unwrap_or_else(|| approval(signer, &by, now.wall))
            })
            .collect();
        live.record.signatures_needed = needed;
        (live.record.signed, live.signed) = (text, signed);
        let found = live.record.approvals.len();
        if found >= usize::from(needed) {
            live.course.approve();
        }
        let bytes = to_json(&live.record);
        self.step(run, now);
        let detail = format!("key={} signatures={found}/{needed}", signature.key);
        self.answer_after_commit(run, audit(&by, "order.approve", run, detail), Some(bytes), answer);
        Ok(())
    }

    /// The answer goes out when the commit that holds this is done.
    fn answer_after_commit(
        &mut self,
        run: RunId,
        audit: AuditRecord,
        order: Option<Vec<u8>>,
        answer: Answer<RunId>,
    ) {
        if let Some(write) = self.batch.states.get_mut(&run) {
            (write.audit, write.answer) = (Some(audit), Some(answer));
            write.order = order.or(write.order.take());
            return;
        }
        let Some(record) = self.live.get(&run).and_then(|live| live.stored.clone()) else { return };
        let (audit, answer) = (Some(audit), Some(answer));
        let write = StateWrite { record, order, is_new: false, is_published: true, audit, answer };
        self.batch.states.insert(run, write);
    }

    pub(super) fn insert_live(&mut self, run: RunId, live: LiveOrder) {
        for node in &live.nodes {
            self.by_node.entry(*node).or_default().insert(run);
        }
        self.board.put_live(run, Arc::clone(&live.shown));
        self.live.insert(run, live);
        self.touched.insert(run);
    }

    pub(super) fn forget_live(&mut self, run: RunId) {
        let Some(live) = self.live.remove(&run) else { return };
        for node in &live.nodes {
            if let Some(runs) = self.by_node.get_mut(node) {
                runs.remove(&run);
                if runs.is_empty() {
                    self.by_node.remove(node);
                }
            }
        }
        self.board.take_live(run);
    }
}

impl LiveOrder {
    /// An order in progress out of its record; `known` tells what is known of each target.
    ///
    /// # Errors
    /// When the record is damaged.
    pub(super) fn new(
        record: OrderRecord,
        known: impl Fn(NodeId) -> Known,
        is_proposed: bool,
        withdrawn: Option<Withdrawal>,
        up: std::time::Duration,
    ) -> Result<Self, String> {
        let signed = record.signed_order().ok_or("its order is no base64")?;
        let order = signed.read().map_err(|error| error.to_string())?;
        let rules = admission::rules(&order, &record.dispatch, record.occurrence);
        let rules: Rules = rules.map_err(|error| error.to_string())?;
        let nodes = admission::targets(&order, &record.nodes).to_vec();
        let tree = match &order.targets {
            Targets::Nodes(_) => None,
            Targets::Tree { .. } => TargetTree::new(order.fleet, nodes.iter().copied()),
        };
        let targets = nodes.iter().map(|node| {
            let denied = record.not_permitted.binary_search(node).is_ok();
            let known = if denied {
                Known { was_sent: false, state: Some(TargetState::Denied) }
            } else {
                known(*node)
            };
            (*node, known, begin(&record, *node))
        });
        let course = Course::new(rules, targets, is_proposed, withdrawn.is_some(), up);
        let order = Arc::new(order);
        let targets = nodes.iter().enumerate().map(|(index, node)| ShownTarget {
            node: *node,
            state: course.state(index),
            record: None,
            changed: 0,
        });
        let shown = Shown {
            record: Arc::new(record.clone()),
            order: Arc::clone(&order),
            state: course.order_state(),
            counts: course.counts(),
            targets: targets.collect(),
        };
        Ok(Self {
            states: course.states().collect(),
            shown: Arc::new(Live::new(shown)),
            record,
            order,
            signed,
            tree,
            nodes,
            course,
            withdrawn,
            stored: None,
            due: None,
            published: None,
        })
    }
}

/// When a target may begin: its part of the splay, the same at each run of an order, spread by the node's id.
fn begin(record: &OrderRecord, node: NodeId) -> Timestamp {
    let Some(due) = record.occurrence else { return Timestamp::from_millis(0) };
    let span = u64::from(record.splay_seconds) * 1000;
    let digest = campanile_common::authority::sha256(&[record.order_id.as_bytes(), node.as_bytes()]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    let part = (u64::from(u32::from_le_bytes([a, b, c, d])) * span) >> 32;
    due + std::time::Duration::from_millis(part)
}

fn approval(signer: Signer, by: &str, at: Timestamp) -> Approval {
    Approval { operator: signer.operator, key: signer.key, submitted_by: by.to_owned(), at }
}

fn audit(by: &str, action: &'static str, run: RunId, detail: String) -> AuditRecord {
    let target = format!("order:{}", RunKey(run));
    AuditRecord { actor: by.to_owned(), action, target, outcome: AuditOutcome::Ok, detail }
}

fn submitted(order: &Order, nodes: usize, is_proposed: bool) -> String {
    let proposed = if is_proposed { " proposed" } else { "" };
    format!("tier={} kind={} nodes={nodes}{proposed}: {}", order.tier, order.action.kind(), order.action)
}

fn used() -> OrderError {
    OrderError::Conflict(
        "the order's id was used for another order; make a new one with an id of its own".to_owned(),
    )
}

fn nothing_left(run: RunId) -> OrderError {
    OrderError::Conflict(format!(
        "order {} has nothing left to withdraw; to stop what runs on nodes, sign an order that cancels it",
        run.order
    ))
}
