//! Reads orders: those in progress from the board, the others from the store.

use std::sync::Arc;

use campanile_common::api::{Order as ApiOrder, OrderState, Proposal, ProposalKind};
use campanile_common::authority::RunId;
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::OutputStream;
use data_encoding::BASE64;

use super::board::{Shown, ShownTarget};
use super::output::{self, Cursor, Piece};
use super::record::{OrderRecord, StateRecord, TargetRecord, order_key, state_key, targets_prefix};
use super::{OrderError, Orders, admission};
use crate::state::{Keys, Range, StateError, Store, from_json, read_json};

/// Target records read at a time.
const PAGE: usize = 512;
/// Bytes of an inline output given to a reader at once.
const INLINE_READ_BYTES: usize = 64 * 1024;

/// Which nodes somebody may see.
pub type Sees<'a> = Option<&'a (dyn Fn(NodeId) -> bool + Sync)>;

/// All target records of a run, in order of their nodes.
pub(super) async fn target_records(
    store: &Store,
    keys: &Keys,
    run: RunId,
) -> Result<Vec<(NodeId, TargetRecord)>, StateError> {
    let prefix = targets_prefix(keys, run);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let range = Range { prefix: prefix.clone(), after, limit: PAGE, descending: false };
        let page = store.range(range).await?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|entry| entry.key.clone());
        for entry in page {
            let node = entry.key[prefix.len()..]
                .parse()
                .map_err(|_| damaged(&entry.key, "its key names no node"))?;
            found.push((node, from_json(&entry.key, &entry.value)?));
        }
        if is_last {
            return Ok(found);
        }
    }
}

pub(super) fn damaged(key: &str, detail: &str) -> StateError {
    StateError::Unreadable { key: key.to_owned(), detail: detail.to_owned() }
}

/// Reads a run from its records; none when there is none.
pub(super) async fn stored(store: &Store, keys: &Keys, run: RunId) -> Result<Option<Shown>, StateError> {
    let key = order_key(keys, run);
    let Some((record, _)) = read_json::<OrderRecord>(&**store, &key).await? else { return Ok(None) };
    let state = read_json::<StateRecord>(&**store, &state_key(keys, run)).await?;
    let (state, _) = state.ok_or_else(|| damaged(&key, "it has no state beside it"))?;
    let signed = record.signed_order().ok_or_else(|| damaged(&key, "its order is no base64"))?;
    let order = signed.read().map_err(|error| damaged(&key, &error.to_string()))?;
    let mut records = target_records(store, keys, run).await?.into_iter().peekable();
    let targets = admission::targets(&order, &record.nodes).iter().map(|node| {
        let own = records.next_if(|(found, _)| found == node).map(|(_, record)| Arc::new(record));
        let state = own.as_ref().map_or(campanile_common::api::TargetState::Waiting, |record| record.state);
        ShownTarget { node: *node, state, record: own, changed: 0 }
    });
    let targets = targets.collect();
    Ok(Some(Shown {
        record: Arc::new(record),
        order: Arc::new(order),
        state: state.state,
        counts: state.counts,
        targets,
    }))
}

impl Orders {
    /// What a node is called, retired or not.
    pub(super) fn name(&self, node: NodeId) -> String {
        self.registry.get(node).map_or_else(|| node.to_string(), |held| held.record.name)
    }

    pub(super) async fn shown(&self, run: RunId) -> Result<Shown, OrderError> {
        if let Some(live) = self.board.live(run) {
            return Ok(live.read(Clone::clone));
        }
        let found = stored(&self.store, &self.keys, run).await?;
        found.ok_or_else(|| OrderError::NotFound(run.order.to_string()))
    }

    /// A run with those of its targets that `sees` lets through.
    ///
    /// # Errors
    /// When there is none, none of its targets is seen, or the store fails.
    pub async fn show(&self, run: RunId, sees: Sees<'_>) -> Result<ApiOrder, OrderError> {
        let shown = self.shown(run).await?;
        let sees = sees.map(|sees| sees as &dyn Fn(NodeId) -> bool);
        if sees.is_some_and(|sees| !shown.targets.iter().any(|target| sees(target.node))) {
            return Err(OrderError::NotFound(run.order.to_string()));
        }
        Ok(shown.to_api(true, |node| self.name(node), sees))
    }

    /// Up to `limit` orders in this state, newest first, from behind `before` on, without their targets; with each
    /// its place. Those without a target that `sees` lets through are left out.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(
        &self,
        state: Option<OrderState>,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
        sees: Sees<'_>,
    ) -> Result<Vec<((Timestamp, RunId), ApiOrder)>, OrderError> {
        let (mut found, mut before) = (Vec::new(), before);
        while found.len() < limit {
            let places = self.board.list(state, before, limit);
            let is_last = places.len() < limit;
            before = places.last().copied().or(before);
            for place in places {
                let summary = match self.summary(place.1, sees.is_some()).await {
                    Ok(summary) => summary,
                    // Deleted meanwhile.
                    Err(OrderError::NotFound(_)) => continue,
                    Err(error) => return Err(error),
                };
                let sees = sees.map(|sees| sees as &dyn Fn(NodeId) -> bool);
                if sees.is_none_or(|sees| summary.targets.iter().any(|target| sees(target.node))) {
                    found.push((place, summary.to_api(false, |node| self.name(node), sees)));
                }
            }
            if is_last {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// A run; its targets only where they are asked for.
    async fn summary(&self, run: RunId, has_targets: bool) -> Result<Shown, OrderError> {
        if has_targets {
            return self.shown(run).await;
        }
        if let Some(live) = self.board.live(run) {
            return Ok(live.read(Shown::clone_head));
        }
        let not_found = || OrderError::NotFound(run.order.to_string());
        let key = order_key(&self.keys, run);
        let (record, _) = read_json::<OrderRecord>(&*self.store, &key).await?.ok_or_else(not_found)?;
        let state = read_json::<StateRecord>(&*self.store, &state_key(&self.keys, run)).await?;
        let (state, _) = state.ok_or_else(not_found)?;
        let signed = record.signed_order().ok_or_else(|| damaged(&key, "its order is no base64"))?;
        let order = signed.read().map_err(|error| damaged(&key, &error.to_string()))?;
        let (record, order) = (Arc::new(record), Arc::new(order));
        Ok(Shown { record, order, state: state.state, counts: state.counts, targets: Vec::new() })
    }

    /// Orders that wait for signatures, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn proposals(&self, sees: Sees<'_>) -> Result<Vec<Proposal>, OrderError> {
        let mut proposals = Vec::new();
        for (_, run) in self.board.list(Some(OrderState::Proposed), None, usize::MAX) {
            match self.proposal(run, sees).await {
                Ok(proposal) => proposals.push(proposal),
                Err(OrderError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(proposals)
    }

    /// One order that waits for signatures.
    ///
    /// # Errors
    /// When there is none, none of its targets is seen, or the store fails.
    pub async fn proposal(&self, run: RunId, sees: Sees<'_>) -> Result<Proposal, OrderError> {
        let shown = self.shown(run).await?;
        let is_seen = sees.is_none_or(|sees| shown.targets.iter().any(|target| sees(target.node)));
        if shown.state != OrderState::Proposed || !is_seen {
            return Err(OrderError::NotFound(run.order.to_string()));
        }
        let (record, order) = (&shown.record, &shown.order);
        Ok(Proposal {
            id: record.order_id.to_string(),
            kind: ProposalKind::Order,
            summary: format!("tier {} on {} nodes: {}", order.tier, shown.targets.len(), order.action),
            proposed_by: record.submitted_by.clone(),
            proposed_at: record.submitted_at,
            expires_at: order.expires,
            signed_by: record.approvals.iter().map(|approval| approval.operator.clone()).collect(),
            signatures_needed: record.signatures_needed,
            signed: record.signed.clone(),
        })
    }

    /// Some of a run's output on a node, from the cursor on, which moves.
    ///
    /// # Errors
    /// When the output cannot be read.
    pub(super) async fn pieces(
        &self,
        run: RunId,
        node: NodeId,
        record: Option<&TargetRecord>,
        cursor: &mut Cursor,
    ) -> Result<Vec<Piece>, OrderError> {
        if let Some(inline) = record.and_then(|record| record.output.as_ref()) {
            let framed = BASE64
                .decode(inline.as_bytes())
                .map_err(|_| damaged(&targets_prefix(&self.keys, run), "its output is no base64"))?;
            let from = usize::try_from(cursor.framed).unwrap_or(usize::MAX);
            return Ok(output::read(framed.get(from..).unwrap_or_default(), cursor, INLINE_READ_BYTES));
        }
        let has_none = record.is_some_and(|record| record.output_kept == 0);
        if has_none || record.is_none() && !self.outputs.is_growing(run, node) {
            return Ok(Vec::new());
        }
        let (outputs, mut place) = (self.outputs.clone(), *cursor);
        let read = tokio::task::spawn_blocking(move || {
            let pieces = outputs.read(run, node, &mut place)?;
            Ok::<_, std::io::Error>((pieces, place))
        });
        let unreadable = |detail: String| OrderError::State(StateError::Unavailable { detail });
        let (pieces, place) = read
            .await
            .map_err(|error| unreadable(error.to_string()))?
            .map_err(|error| unreadable(format!("cannot read output: {error}")))?;
        *cursor = place;
        Ok(pieces)
    }

    /// All kept output of a run on a node: both streams as they came, or one of them.
    ///
    /// # Errors
    /// When there is no such target, its output is no longer kept, or cannot be read.
    pub async fn output(
        &self,
        run: RunId,
        node: NodeId,
        stream: Option<OutputStream>,
    ) -> Result<Vec<u8>, OrderError> {
        let shown = self.shown(run).await?;
        let target = shown
            .target(node)
            .ok_or_else(|| OrderError::NotFound(format!("{} for node {node}", run.order)))?;
        let record = target.record.as_deref();
        let (mut cursor, mut content) = (Cursor::default(), Vec::new());
        loop {
            let pieces = self.pieces(run, node, record, &mut cursor).await?;
            if pieces.is_empty() {
                break;
            }
            let wanted =
                pieces.into_iter().filter(|piece| stream.is_none_or(|stream| stream == piece.stream));
            content.extend(wanted.flat_map(|piece| piece.bytes));
        }
        if cursor == Cursor::default() && record.is_some_and(|record| record.output_kept > 0) {
            return Err(OrderError::NotFound(format!(
                "{}: its output was removed to make room for newer output",
                run.order
            )));
        }
        Ok(content)
    }
}
