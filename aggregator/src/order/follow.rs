//! Follows one order to its end: everything so far, then what comes, output before the outcome that it belongs to.
//!
//! A reader goes at its own pace: it is told that something changed, never what, and reads output from where it is
//! kept. So a slow one misses nothing and holds up nobody.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use campanile_common::api::{Order as ApiOrder, OrderState, OrderTarget};
use campanile_common::authority::RunId;
use campanile_common::id::NodeId;
use tokio::sync::watch;

use super::board::{Live, Shown, ShownTarget};
use super::output::{Cursor, Piece};
use super::{OrderError, Orders};

/// What a follower is told.
#[derive(Debug)]
pub enum FollowEvent {
    /// Output came.
    Output {
        /// From which node.
        node: NodeId,
        /// Its name.
        name: String,
        /// The output.
        piece: Piece,
    },
    /// A target changed.
    Target(OrderTarget),
    /// The order as a whole: the last event.
    Order(Box<ApiOrder>),
}

/// Follows one order.
#[derive(Debug)]
pub struct Follow {
    orders: Orders,
    run: RunId,
    /// None for one that is not in progress.
    live: Option<(Arc<Live>, watch::Receiver<u64>)>,
    /// Up to which change targets were told.
    seen: Option<u64>,
    cursors: BTreeMap<NodeId, Cursor>,
    ready: VecDeque<FollowEvent>,
    /// Targets that changed and are still to be told, with their output first.
    changed: VecDeque<ShownTarget>,
    /// What is left of the outputs of targets at work.
    growing: VecDeque<NodeId>,
    end: Option<Shown>,
    is_over: bool,
}

impl Orders {
    /// Follows a run from its beginning.
    pub fn follow(&self, run: RunId) -> Follow {
        let live = self.board.live(run).map(|live| {
            let changes = live.changes.subscribe();
            (live, changes)
        });
        Follow {
            orders: self.clone(),
            run,
            live,
            seen: None,
            cursors: BTreeMap::new(),
            ready: VecDeque::new(),
            changed: VecDeque::new(),
            growing: VecDeque::new(),
            end: None,
            is_over: false,
        }
    }
}

const fn is_last(state: OrderState) -> bool {
    !matches!(state, OrderState::Running)
}

impl Follow {
    /// Waits for the next event; none when the order has come to its end and that was told. Only nodes that `sees`
    /// lets through are told of.
    ///
    /// # Errors
    /// When the store or the output cannot be read.
    pub async fn next(
        &mut self,
        sees: &(dyn Fn(NodeId) -> bool + Sync),
    ) -> Result<Option<FollowEvent>, OrderError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(target) = self.changed.pop_front() {
                self.tell_target(target, sees).await?;
                continue;
            }
            if let Some(node) = self.growing.pop_front() {
                self.tell_growing(node, sees).await?;
                continue;
            }
            if let Some(shown) = self.end.take() {
                self.is_over = true;
                let name = |node| self.orders.name(node);
                let order = shown.to_api(true, name, Some(&|node| sees(node)));
                return Ok(Some(FollowEvent::Order(Box::new(order))));
            }
            if self.is_over {
                return Ok(None);
            }
            self.look().await?;
        }
    }

    /// Waits for a change, unless this is the first look, and notes what is new.
    async fn look(&mut self) -> Result<(), OrderError> {
        let Some((live, changes)) = &mut self.live else {
            let shown = self.orders.shown(self.run).await?;
            self.changed.extend(shown.targets.iter().cloned());
            self.end = Some(shown);
            return Ok(());
        };
        if self.seen.is_some() && changes.changed().await.is_err() {
            return Err(OrderError::Stopping);
        }
        let seen = self.seen;
        // The count first: what changes meanwhile is told again rather than missed.
        let count = *changes.borrow_and_update();
        let (changed, growing, end) = live.read(|shown| {
            let is_new = |target: &&ShownTarget| seen.is_none_or(|seen| target.changed > seen);
            let changed: Vec<ShownTarget> = shown.targets.iter().filter(is_new).cloned().collect();
            let open = shown.targets.iter().filter(|target| target.record.is_none());
            let growing: Vec<NodeId> = open.map(|target| target.node).collect();
            (changed, growing, is_last(shown.state).then(|| shown.clone()))
        });
        self.seen = Some(count);
        self.changed.extend(changed);
        self.growing
            .extend(growing.into_iter().filter(|node| self.orders.outputs.is_growing(self.run, *node)));
        self.end = end;
        Ok(())
    }

    async fn tell_target(
        &mut self,
        target: ShownTarget,
        sees: &(dyn Fn(NodeId) -> bool + Sync),
    ) -> Result<(), OrderError> {
        if !sees(target.node) {
            return Ok(());
        }
        if target.record.is_some() && self.tell_output(&target).await? {
            // More may be left; this target comes after it.
            self.changed.push_front(target);
            return Ok(());
        }
        let name = self.orders.name(target.node);
        self.ready.push_back(FollowEvent::Target(target.to_api(name)));
        Ok(())
    }

    async fn tell_growing(
        &mut self,
        node: NodeId,
        sees: &(dyn Fn(NodeId) -> bool + Sync),
    ) -> Result<(), OrderError> {
        let target = ShownTarget {
            node,
            state: campanile_common::api::TargetState::Running,
            record: None,
            changed: 0,
        };
        if sees(node) && self.tell_output(&target).await? {
            self.growing.push_front(node);
        }
        Ok(())
    }

    /// Makes the next pieces of a node's output ready; false when there are none.
    async fn tell_output(&mut self, target: &ShownTarget) -> Result<bool, OrderError> {
        let node = target.node;
        let cursor = self.cursors.entry(node).or_default();
        let pieces = self.orders.pieces(self.run, node, target.record.as_deref(), cursor).await?;
        let name = self.orders.name(node);
        let has_some = !pieces.is_empty();
        self.ready.extend(pieces.into_iter().map(|piece| FollowEvent::Output {
            node,
            name: name.clone(),
            piece,
        }));
        Ok(has_some)
    }
}
