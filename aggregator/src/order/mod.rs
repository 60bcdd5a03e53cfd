//! Orders: stored, sent to their targets, accounted for.
//!
//! `admission` decides what may be submitted, `plan` what happens next, `task` owns the orders in progress and makes
//! durable what came of them before it acknowledges it, `board` shows them, `journal` keeps their output. [`Orders`]
//! is the handle of all of it. What a node does with an order is the node's to decide; nothing here is trusted by it.
//!
//! Invariants: an order is sent to nobody before it is stored together with whom it is sent to; an outcome is
//! acknowledged after the commit that holds it; every target is counted once.

mod admission;
mod board;
mod count;
#[cfg(test)]
pub(crate) mod fixture;
mod follow;
mod journal;
mod output;
mod plan;
mod read;
mod record;
mod task;

use std::collections::BTreeSet;
use std::sync::Arc;

use campanile_common::api::{
    DispatchOptions, Order as ApiOrder, OrderRequest, OrderState, SignatureText, SignedText, Submitted,
    TargetCounts,
};
use campanile_common::authority::{Authority, Catalogue, RunId};
use campanile_common::id::{Digest, NodeId, OrderId};
use campanile_common::time::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::node::{Registry, Sessions};
use crate::os::clock::Clock;
use crate::state::{Keys, StateError, Store};

pub use admission::{Draft, TARGETS_MAX};
pub use board::Figures;
pub use follow::{Follow, FollowEvent};
pub use journal::Outputs;
pub use output::{Cursor, Piece};
pub use read::Sees;
pub use record::Witness;
pub use task::{OrderTask, OrderTaskParts};

/// Requests that wait for the task; past it callers wait, for a commit or two.
const REQUESTS_MAX: usize = 256;
/// Ends of orders that apply a generation that a slow listener may lag behind.
const APPLIES_MAX: usize = 256;

/// Why an order, or what was asked of one, is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OrderError {
    /// No such order.
    #[error("no order `{0}`")]
    NotFound(String),
    /// The request is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// A target is no active node.
    #[error("{0}")]
    UnknownTarget(String),
    /// Made under another version of the authority or the catalogue.
    #[error("{0}")]
    Stale(String),
    /// Too few signatures, or one that does not count.
    #[error("{0}")]
    Signatures(String),
    /// The fleet is frozen.
    #[error("the fleet is frozen: nothing is changed until somebody lifts the freeze")]
    Frozen,
    /// It cannot be done to this order now.
    #[error("{0}")]
    Conflict(String),
    /// A limit is reached.
    #[error("{0}")]
    Busy(String),
    /// The aggregator is stopping.
    #[error("the aggregator is stopping")]
    Stopping,
    /// The store failed.
    #[error("orders cannot be stored or read")]
    State(#[from] StateError),
}

/// What is in force, as it changes.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The authority.
    pub authority: watch::Receiver<Arc<Authority>>,
    /// The catalogue, where there is one.
    pub catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    /// True while the fleet is frozen.
    pub is_frozen: watch::Receiver<bool>,
}

/// An order on its way to the task.
#[derive(Debug)]
struct Submission {
    draft: Draft,
    occurrence: Option<Timestamp>,
    not_permitted: Vec<NodeId>,
    by: String,
    splay_seconds: u32,
}

/// What the task is asked to do.
#[derive(Debug)]
enum Request {
    Submit { submission: Box<Submission>, answer: Answer<RunId> },
    Cancel { run: RunId, by: String, answer: Answer<RunId> },
    Sign { run: RunId, signature: SignatureText, by: String, answer: Answer<RunId> },
}

type Answer<T> = oneshot::Sender<Result<T, OrderError>>;

/// Handle of the orders.
#[derive(Debug, Clone)]
pub struct Orders {
    store: Store,
    keys: Keys,
    registry: Registry,
    clock: Clock,
    in_force: InForce,
    outputs: Outputs,
    board: board::Board,
    applies: broadcast::Sender<Apply>,
    requests: mpsc::Sender<Request>,
}

/// An order that applied a generation of the configuration came to its end.
#[derive(Debug, Clone)]
pub struct Apply {
    /// Which it applied.
    pub generation: Digest,
    /// To whom.
    pub targets: BTreeSet<NodeId>,
    /// On whom of them it went well.
    pub applied: BTreeSet<NodeId>,
    /// It went through all of them, no more failed than may, none took it back, and none fell silent over it.
    pub is_clean: bool,
}

/// A run that a schedule asks for.
#[derive(Debug, Clone)]
pub struct ScheduledRun {
    /// The standing order.
    pub grant: SignedText,
    /// The leaves, where its targets are a tree.
    pub nodes: Vec<NodeId>,
    /// The due time.
    pub occurrence: Timestamp,
    /// How it is spread over its targets.
    pub dispatch: DispatchOptions,
    /// Who asks: `schedule:NAME`.
    pub by: String,
    /// Targets start spread over so many seconds.
    pub splay_seconds: u32,
}

impl Orders {
    /// Checks what somebody wants to submit.
    ///
    /// # Errors
    /// With the first reason against it.
    pub fn admit(&self, request: &OrderRequest) -> Result<Draft, OrderError> {
        self.admit_at(request, None)
    }

    fn admit_at(&self, request: &OrderRequest, occurrence: Option<Timestamp>) -> Result<Draft, OrderError> {
        if *self.in_force.is_frozen.borrow() {
            return Err(OrderError::Frozen);
        }
        let authority = Arc::clone(&self.in_force.authority.borrow());
        let catalogue = self.in_force.catalogue.borrow().clone();
        let facts = admission::Facts {
            authority: &authority,
            catalogue: catalogue.as_deref(),
            now: self.clock.now(),
            occurrence,
        };
        let draft = admission::admit(request, &facts)?;
        self.check_targets(&draft, occurrence.is_some())?;
        Ok(draft)
    }

    /// Every target is an active node. A standing order outlives nodes: its runs leave retired ones silent.
    fn check_targets(&self, draft: &Draft, is_standing: bool) -> Result<(), OrderError> {
        use campanile_common::api::NodeState;
        for node in draft.nodes() {
            match self.registry.get(*node) {
                None => {
                    return Err(OrderError::UnknownTarget(format!("there is no node {node}")));
                }
                Some(held) if held.record.state == NodeState::Retired && !is_standing => {
                    return Err(OrderError::UnknownTarget(format!(
                        "node `{}` ({node}) is retired",
                        held.record.name
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Stores an order and sets it going, or stores it as proposed where signatures are missing. Targets in
    /// `not_permitted` are recorded as denied. The same order of the same submitter again gets the same answer.
    ///
    /// # Errors
    /// When its id was used for another, too much is in progress, or the store fails; nothing is sent then.
    pub async fn submit(
        &self,
        draft: Draft,
        not_permitted: Vec<NodeId>,
        by: &str,
    ) -> Result<ApiOrder, OrderError> {
        let submission =
            Submission { draft, occurrence: None, not_permitted, by: by.to_owned(), splay_seconds: 0 };
        let run = self.ask(|answer| Request::Submit { submission: Box::new(submission), answer }).await?;
        self.show(run, None).await
    }

    /// Sets one run of a standing order going.
    ///
    /// # Errors
    /// As [`Orders::admit`] and [`Orders::submit`].
    pub async fn submit_run(&self, asked: ScheduledRun) -> Result<RunId, OrderError> {
        let ScheduledRun { grant, nodes, occurrence, dispatch, by, splay_seconds } = asked;
        let request = OrderRequest { order: grant, nodes, dispatch };
        let draft = self.admit_at(&request, Some(occurrence))?;
        let submission =
            Submission { draft, occurrence: Some(occurrence), not_permitted: Vec::new(), by, splay_seconds };
        self.ask(|answer| Request::Submit { submission: Box::new(submission), answer }).await
    }

    /// Withdraws what was not sent; what is at work goes on.
    ///
    /// # Errors
    /// When there is no such order, nothing of it is left to withdraw, or the store fails.
    pub async fn cancel(&self, run: RunId, by: &str) -> Result<ApiOrder, OrderError> {
        let by = by.to_owned();
        let run = self.ask(|answer| Request::Cancel { run, by, answer }).await?;
        self.show(run, None).await
    }

    /// Adds a signature to a proposed order, which sets it going when it was the last that was missing.
    ///
    /// # Errors
    /// When there is no such proposal, the signature does not count, or the store fails.
    pub async fn add_signature(
        &self,
        run: RunId,
        signature: SignatureText,
        by: &str,
    ) -> Result<Submitted, OrderError> {
        if *self.in_force.is_frozen.borrow() {
            return Err(OrderError::Frozen);
        }
        let by = by.to_owned();
        let run = self.ask(|answer| Request::Sign { run, signature, by, answer }).await?;
        let order = self.show(run, None).await?;
        Ok(Submitted {
            in_force: order.state != OrderState::Proposed,
            id: order.order_id.to_string(),
            signed_by: order.signed_by,
            signatures_needed: order.signatures_needed,
        })
    }

    async fn ask(&self, request: impl FnOnce(Answer<RunId>) -> Request) -> Result<RunId, OrderError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| OrderError::Stopping)?;
        answered.await.map_err(|_| OrderError::Stopping)?
    }

    /// The newest run of an order, or the one due at this time.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, order: &str, occurrence: Option<Timestamp>) -> Result<RunId, OrderError> {
        let id: Option<OrderId> = order.parse().ok();
        let found = id.and_then(|id| self.board.find(id, occurrence));
        found.ok_or_else(|| OrderError::NotFound(order.to_owned()))
    }

    /// True when every target of a run is accounted for; queued ones may still wait for their nodes. A run that is
    /// not known any more is over.
    pub fn is_over(&self, run: RunId) -> bool {
        let state = self.board.entry(run).map(|entry| entry.state);
        !matches!(state, Some(OrderState::Running | OrderState::Proposed))
    }

    /// Counts of a run's targets while it is in progress or just over; none when it is not shown any more.
    pub fn live_counts(&self, run: RunId) -> Option<TargetCounts> {
        Some(self.board.live(run)?.read(|shown| shown.counts))
    }

    /// The newest points of a node's journal and audit chain that came with outcomes.
    pub fn witness(&self, node: NodeId) -> Option<Witness> {
        self.board.witness(node)
    }

    /// Ends of orders that apply a generation, from now on.
    pub fn subscribe_applies(&self) -> broadcast::Receiver<Apply> {
        self.applies.subscribe()
    }

    /// Targets of orders that apply a generation and are not over.
    pub fn apply_targets(&self) -> BTreeSet<NodeId> {
        self.board.apply_targets()
    }

    /// Whether a node is at work, as far as is known here, on an order that has it restore what `source` saved: then and
    /// only then it may read that node's part of the backup store.
    pub fn reads_from(&self, node: NodeId, source: NodeId) -> bool {
        self.board.reads_from(node, source)
    }

    /// Figures since the aggregator started.
    pub fn figures(&self) -> Figures {
        self.board.figures()
    }
}

/// Everything that orders are made of.
#[derive(Debug, Clone)]
pub struct OrderParts {
    /// The state store.
    pub store: Store,
    /// Its keys.
    pub keys: Keys,
    /// The roster.
    pub registry: Registry,
    /// Who is connected.
    pub sessions: Sessions,
    /// What is in force.
    pub in_force: InForce,
    /// Their output.
    pub outputs: Outputs,
    /// The time.
    pub clock: Clock,
}
