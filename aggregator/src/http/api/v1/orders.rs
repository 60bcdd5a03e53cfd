//! Orders: submit, list, show, follow, withdraw.
//!
//! Who sees a part of the fleet sees the orders that reach into that part, and of them that part's targets alone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use campanile_common::api::{Order, OrderRequest, OrderState, OutputPiece, Page, Problem};
use campanile_common::authority::{Action, RunId, Tier};
use campanile_common::id::NodeId;
use campanile_common::selector::Subject;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::OutputStream;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;

use crate::access::{AccessError, Actor, Permission};
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::paging;
use crate::http::request::{LongBody, NoParams, Params, Segment};
use crate::http::stream_limit::OpenStream;
use crate::http::{App, Shared};
use crate::node::Registry;
use crate::order::{Follow, FollowEvent};

/// Events queued for one reader; each holds 16 KiB of output at most. Past it the reader is waited for.
const QUEUE_EVENTS_MAX: usize = 16;
/// Targets that the answer to a new order lists: it is kept to be repeated, and so has to be short. The order itself
/// and its events list all of them.
const ANSWERED_TARGETS_MAX: usize = 100;
/// How often a silent stream shows that it lives; proxies cut idle connections after a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How soon a revoked session or token loses its streams.
const CHECK_ACCESS: Duration = Duration::from_secs(2);

/// Which orders.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only those in this state.
    #[param(inline)]
    state: Option<OrderState>,
    /// Entries per page, 1 to 1000; 100 unless said otherwise.
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Which run of an order.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunParams {
    /// Due time of the run, of a standing order; the newest unless said otherwise.
    #[param(value_type = Option<String>)]
    occurrence: Option<Timestamp>,
}

/// True when the actor may do this to the node, retired or not.
pub(super) fn may(actor: &Actor, registry: &Registry, permission: Permission, node: NodeId) -> bool {
    if actor.may(permission, None) {
        return true;
    }
    let Some(held) = registry.get(node) else { return false };
    let id = node.to_string();
    let subject = Subject { id: &id, name: &held.record.name, labels: &held.record.labels };
    actor.may(permission, Some(&subject))
}

/// What the caller sees of orders: none for all of it.
pub(super) struct Visible {
    actor: Option<Actor>,
    registry: Registry,
}

impl Visible {
    pub(super) fn new(caller: &Caller, shared: &Shared) -> Self {
        let is_restricted = !caller.actor.may(Permission::Observe, None);
        let registry = shared.services.nodes.registry().clone();
        Self { actor: is_restricted.then(|| caller.actor.clone()), registry }
    }

    pub(super) fn sees(&self, node: NodeId) -> bool {
        self.actor.as_ref().is_none_or(|actor| may(actor, &self.registry, Permission::Observe, node))
    }

    pub(super) const fn is_restricted(&self) -> bool {
        self.actor.is_some()
    }
}

/// Calls with what the caller sees: nothing is filtered for who sees everything.
macro_rules! with_sight {
    ($visible:expr, |$sees:ident| $call:expr) => {{
        let visible = &$visible;
        let sees = |node: NodeId| visible.sees(node);
        let $sees: crate::order::Sees<'_> = if visible.is_restricted() { Some(&sees) } else { None };
        $call
    }};
}
pub(super) use with_sight;

/// Where a list goes on: before this order.
fn write_cursor((submitted, run): (Timestamp, RunId)) -> String {
    let due = run.occurrence.map(|due| due.as_millis().to_string()).unwrap_or_default();
    BASE64URL_NOPAD.encode(format!("{}.{}.{due}", submitted.as_millis(), run.order).as_bytes())
}

fn read_cursor(cursor: &str) -> Outcome<(Timestamp, RunId)> {
    let read = || {
        let text =
            String::from_utf8(BASE64URL_NOPAD.decode(cursor.get(..256.min(cursor.len()))?.as_bytes()).ok()?)
                .ok()?;
        let mut parts = text.split('.');
        let submitted = Timestamp::from_millis(parts.next()?.parse().ok()?);
        let order = parts.next()?.parse().ok()?;
        let due = parts.next()?;
        let occurrence = if due.is_empty() { None } else { Some(Timestamp::from_millis(due.parse().ok()?)) };
        Some((submitted, RunId { order, occurrence }))
    };
    read().ok_or_else(|| Failure::invalid("the cursor is none that this list gave; begin without one"))
}

/// Submits an order.
///
/// Targets on which the caller has no role for it are denied and the others go on. Where signatures of further
/// operators are missing, the order is proposed and shows in the approvals. The same order again gets the same answer.
#[utoipa::path(
    post, path = "/api/v1/orders", tag = "orders", request_body = OrderRequest,
    responses((status = 201, body = Order), (status = "4XX", body = Problem))
)]
pub(super) async fn submit(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    LongBody(request): LongBody<OrderRequest>,
) -> Outcome<(StatusCode, Json<Order>)> {
    let orders = &shared.services.orders;
    if !caller.actor.may_somewhere(Permission::Command) {
        caller.require_somewhere(&shared, Permission::Routine, "order.submit").await?;
    }
    let draft = orders.admit(&request)?;
    if let Action::Config { generation, mode } = draft.order().action {
        shared.services.config.admit(generation, mode, !draft.is_proposal())?;
    }
    let permission =
        if draft.order().tier > Tier::Routine { Permission::Command } else { Permission::Routine };
    let registry = shared.services.nodes.registry();
    let not_permitted: Vec<NodeId> = draft
        .nodes()
        .iter()
        .copied()
        .filter(|node| !may(&caller.actor, registry, permission, *node))
        .collect();
    // Who has another node's files restored somewhere has a role for both.
    let may_read = |source| may(&caller.actor, registry, permission, source);
    if not_permitted.len() == draft.nodes().len() || draft.source().is_some_and(|source| !may_read(source)) {
        let target = format!("order:{}", draft.order().id);
        return Err(caller.denied(&shared, "order.submit", &target).await);
    }
    let mut order = orders.submit(draft, not_permitted, &caller.actor.id).await?;
    if order.targets.len() > ANSWERED_TARGETS_MAX {
        order.targets = Vec::new();
    }
    Ok((StatusCode::CREATED, Json(order)))
}

/// Orders, newest first, without their targets.
#[utoipa::path(
    get, path = "/api/v1/orders", tag = "orders", params(ListParams),
    responses((status = 200, body = Page<Order>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Outcome<Json<Page<Order>>> {
    caller.require_somewhere(&shared, Permission::Observe, "order.list").await?;
    let limit = paging::limit(params.limit)?;
    let before = params.cursor.as_deref().map(read_cursor).transpose()?;
    let visible = Visible::new(&caller, &shared);
    // One more than the page holds tells whether there is another page.
    let mut found = with_sight!(visible, |sees| {
        shared.services.orders.list(params.state, before, limit + 1, sees).await?
    });
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| !is_last).map(|(place, _)| write_cursor(*place));
    Ok(Json(Page { items: found.into_iter().map(|(_, order)| order).collect(), next_cursor }))
}

/// One order with its targets.
#[utoipa::path(
    get, path = "/api/v1/orders/{id}", tag = "orders", params(("id" = String, Path), RunParams),
    responses((status = 200, body = Order), (status = "4XX", body = Problem))
)]
pub(super) async fn show(
    State(shared): App,
    caller: Caller,
    Segment(id): Segment,
    Params(params): Params<RunParams>,
) -> Outcome<Json<Order>> {
    caller.require_somewhere(&shared, Permission::Observe, "order.read").await?;
    let run = shared.services.orders.find(&id, params.occurrence)?;
    let visible = Visible::new(&caller, &shared);
    Ok(Json(with_sight!(visible, |sees| shared.services.orders.show(run, sees).await?)))
}

/// Withdraws what was not sent yet. What runs on nodes goes on: an order that cancels it stops it.
#[utoipa::path(
    post, path = "/api/v1/orders/{id}/cancel", tag = "orders", params(("id" = String, Path), RunParams),
    responses((status = 200, body = Order), (status = "4XX", body = Problem))
)]
pub(super) async fn cancel(
    State(shared): App,
    caller: Caller,
    Segment(id): Segment,
    Params(params): Params<RunParams>,
) -> Outcome<Json<Order>> {
    caller.require_somewhere(&shared, Permission::Command, "order.cancel").await?;
    let orders = &shared.services.orders;
    let run = orders.find(&id, params.occurrence)?;
    let order = orders.show(run, None).await?;
    let registry = shared.services.nodes.registry();
    let may_all =
        order.targets.iter().all(|target| may(&caller.actor, registry, Permission::Command, target.node_id));
    if !may_all {
        return Err(caller.denied(&shared, "order.cancel", &format!("order:{id}")).await);
    }
    Ok(Json(orders.cancel(run, &caller.actor.id).await?))
}

/// An order as it goes on.
///
/// Everything so far, then what comes: `output` (`OutputPiece`), `target` (`OrderTarget`) behind the output that
/// belongs to it, and last `order` (`Order`), when the order is done, cancelled or proposed; then the stream ends. A
/// reader that comes back begins anew.
#[utoipa::path(
    get, path = "/api/v1/orders/{id}/events", tag = "orders", params(("id" = String, Path), RunParams),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = "4XX", body = Problem))
)]
pub(super) async fn events(
    State(shared): App,
    caller: Caller,
    Segment(id): Segment,
    Params(params): Params<RunParams>,
) -> Outcome<Response> {
    caller.require_somewhere(&shared, Permission::Observe, "order.read").await?;
    let run = shared.services.orders.find(&id, params.occurrence)?;
    let visible = Visible::new(&caller, &shared);
    if visible.is_restricted() {
        with_sight!(visible, |sees| shared.services.orders.show(run, sees).await?);
    }
    let open = shared.stream_limit.open(&caller.actor.id)?;
    let (sender, receiver) = mpsc::channel(QUEUE_EVENTS_MAX);
    let mut check = tokio::time::interval(CHECK_ACCESS);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and the caller has just been checked.
    check.reset();
    let follow = shared.services.orders.follow(run);
    let feed = Feed { shared: Arc::clone(&shared), caller, sender, check, _open: open };
    drop(shared.streams.spawn(feed.run(follow)));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive).into_response())
}

/// Why a stream ends early.
#[derive(Debug)]
struct Ended;

struct Feed {
    shared: Arc<Shared>,
    caller: Caller,
    sender: mpsc::Sender<Result<SseEvent, Infallible>>,
    check: Interval,
    _open: OpenStream,
}

impl Feed {
    async fn run(mut self, follow: Follow) {
        let shutdown = self.shared.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = self.feed(follow) => {}
        }
    }

    async fn feed(&mut self, mut follow: Follow) -> Result<(), Ended> {
        loop {
            let visible = Visible::new(&self.caller, &self.shared);
            let sees = |node: NodeId| visible.sees(node);
            let event = tokio::select! {
                () = self.sender.closed() => return Err(Ended),
                _ = self.check.tick() => {
                    self.check_access().await?;
                    continue;
                }
                event = follow.next(&sees) => event,
            };
            match event {
                Ok(Some(event)) => {
                    let event = to_sse(event).ok_or(Ended)?;
                    self.send(event).await?;
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "an order cannot be followed");
                    return Err(Ended);
                }
            }
        }
    }

    /// Ends the stream when the credentials no longer hold; takes over changed grants.
    async fn check_access(&mut self) -> Result<(), Ended> {
        match self.caller.credentials.actor(&self.shared).await {
            Ok(actor) if actor.may_somewhere(Permission::Observe) => self.caller.actor = actor,
            Err(AccessError::State(_)) if self.caller.actor.expires_at > self.shared.services.clock.now() => {
            }
            Ok(_) | Err(_) => return Err(Ended),
        }
        Ok(())
    }

    /// Waits for room in the queue, but not longer than the caller's access lasts.
    async fn send(&mut self, event: SseEvent) -> Result<(), Ended> {
        let sender = self.sender.clone();
        loop {
            tokio::select! {
                permit = sender.reserve() => {
                    permit.map_err(|_| Ended)?.send(Ok(event));
                    return Ok(());
                }
                _ = self.check.tick() => self.check_access().await?,
            }
        }
    }
}

fn to_sse(event: FollowEvent) -> Option<SseEvent> {
    let (kind, body) = match event {
        FollowEvent::Output { node, name, piece } => {
            let stream = match piece.stream {
                OutputStream::Stdout => "stdout",
                OutputStream::Stderr => "stderr",
            };
            let piece = OutputPiece {
                node_id: node,
                name,
                stream: stream.to_owned(),
                offset: piece.offset,
                data: BASE64.encode(&piece.bytes),
            };
            ("output", serde_json::to_string(&piece))
        }
        FollowEvent::Target(target) => ("target", serde_json::to_string(&target)),
        FollowEvent::Order(order) => ("order", serde_json::to_string(&order)),
    };
    Some(SseEvent::default().event(kind).data(body.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::id::OrderId;

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        for occurrence in [None, Some(Timestamp::from_millis(9))] {
            let run = RunId { order: OrderId::from_bytes([7; 16]), occurrence };
            let place = (Timestamp::from_millis(5), run);
            assert_eq!(read_cursor(&write_cursor(place)).unwrap(), place);
        }
        for bad in ["", "hello!", &BASE64URL_NOPAD.encode(b"1.2.3"), &"A".repeat(5000)] {
            assert!(read_cursor(bad).is_err(), "{bad}");
        }
    }
}
