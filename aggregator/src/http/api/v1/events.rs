//! Live events over SSE.
//!
//! A task per stream reads the event bus and fills a bounded queue, so that a slow reader delays nobody: it lags
//! behind the bus, loses events and is told to start over with a `reset` event. The task checks every few seconds
//! whether the caller's session or token still holds, and with which grants.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use campanile_common::api::Problem;
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;

use crate::access::{AccessError, Permission};
use crate::event::{Event, Subscription};
use crate::http::auth::Caller;
use crate::http::failure::Outcome;
use crate::http::request::{NoParams, Params};
use crate::http::sight::Sight;
use crate::http::stream_limit::OpenStream;
use crate::http::{App, Shared};

/// Events queued for one reader; past it the reader lags behind the bus.
const QUEUE_EVENTS_MAX: usize = 64;
/// How often a silent stream shows that it lives; proxies cut idle connections after a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How soon a revoked session or token loses its streams.
const CHECK_ACCESS: Duration = Duration::from_secs(2);
/// How long a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);

/// What happens, as it happens.
///
/// `id` can be sent back as `Last-Event-ID` to get what came since. `event` is the kind: `node.enrolled`,
/// `node.changed`, `node.retired`, `node.liveness-changed`, `node.status-changed`, `fleet.judged` (each second at
/// most), `order.changed`, `order.proposed`, `authority.changed`, `catalogue.changed`, `freeze.changed`,
/// `schedule.changed`, `schedule.left-out`, and `reset` when events were missed: read everything anew. `data` is JSON.
/// At most 16 streams per caller.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "fleet", params(("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = "4XX", body = Problem))
)]
pub(in crate::http) async fn stream(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    headers: HeaderMap,
) -> Outcome<Response> {
    caller.require_somewhere(&shared, Permission::Read, "events.read").await?;
    let open = shared.stream_limit.open(&caller.actor.id)?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let run = Run(shared.services.fleet.started_at);
    let (subscription, is_foreign) = match last.map(|text| run.read(text)) {
        None => (shared.services.events.subscribe(None), false),
        Some(Some(id)) => (shared.services.events.subscribe(Some(id)), false),
        Some(None) => (shared.services.events.subscribe(None), true),
    };
    let (sender, receiver) = mpsc::channel(QUEUE_EVENTS_MAX);
    let subscription = Subscription { has_missed: subscription.has_missed || is_foreign, ..subscription };
    let mut check = tokio::time::interval(CHECK_ACCESS);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let feed = Feed { shared: Arc::clone(&shared), caller, run, sender, check, _open: open };
    // Ends when the reader goes, the access goes, or the program stops; the server waits for it then.
    drop(shared.streams.spawn(feed.run(subscription)));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive).into_response())
}

/// Event ids begin anew with each run of the aggregator; the run in the id tells them apart.
#[derive(Debug, Clone, Copy)]
struct Run(Timestamp);

impl Run {
    fn write(self, id: u64) -> String {
        format!("{}-{id}", self.0.as_millis())
    }

    fn read(self, text: &str) -> Option<u64> {
        let (run, id) = text.split_once('-')?;
        (run.parse() == Ok(self.0.as_millis())).then(|| id.parse().ok())?
    }
}

/// Why a stream ends.
#[derive(Debug)]
struct Ended;

struct Feed {
    shared: Arc<Shared>,
    caller: Caller,
    run: Run,
    sender: mpsc::Sender<Result<SseEvent, Infallible>>,
    check: Interval,
    _open: OpenStream,
}

impl Feed {
    async fn run(mut self, subscription: Subscription) {
        let shutdown = self.shared.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = self.feed(subscription) => {}
        }
    }

    async fn feed(&mut self, subscription: Subscription) -> Result<(), Ended> {
        let Subscription { backlog, has_missed, newest, mut receiver } = subscription;
        // Something at once, so that the reader knows the stream is open.
        self.send(SseEvent::default().retry(RETRY).comment("open")).await?;
        if has_missed {
            self.reset(newest).await?;
        }
        for event in backlog {
            self.pass(&event).await?;
        }
        let mut last = newest;
        loop {
            tokio::select! {
                () = self.sender.closed() => return Err(Ended),
                _ = self.check.tick() => self.check_access().await?,
                received = receiver.recv() => match received {
                    Ok(event) => {
                        last = event.id;
                        self.pass(&event).await?;
                    }
                    Err(RecvError::Lagged(missed)) => {
                        last += missed;
                        self.reset(last).await?;
                    }
                    Err(RecvError::Closed) => return Err(Ended),
                },
            }
        }
    }

    /// Ends the stream when the credentials no longer hold; takes over changed grants. A store that cannot be asked
    /// for a moment ends nothing, the expiry does.
    async fn check_access(&mut self) -> Result<(), Ended> {
        match self.caller.credentials.actor(&self.shared).await {
            Ok(actor) if actor.may_somewhere(Permission::Read) => self.caller.actor = actor,
            Err(AccessError::State(_)) if self.caller.actor.expires_at > self.shared.services.clock.now() => {
            }
            Ok(_) | Err(_) => return Err(Ended),
        }
        Ok(())
    }

    async fn reset(&mut self, newest: u64) -> Result<(), Ended> {
        self.send(SseEvent::default().id(self.run.write(newest)).event("reset").data("{}")).await
    }

    async fn pass(&mut self, event: &Event) -> Result<(), Ended> {
        let sight = Sight::new(self.shared.services.nodes.fleet(), &self.caller.actor);
        let Some(body) = visible_body(event, &sight) else { return Ok(()) };
        self.send(SseEvent::default().id(self.run.write(event.id)).event(event.kind).data(&*body)).await
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

/// What the caller may see of an event.
fn visible_body(event: &Event, sight: &Sight) -> Option<Arc<str>> {
    if sight.whole().is_some() {
        return Some(Arc::clone(&event.body));
    }
    match event.node {
        Some(node) => sight.by_id(node).map(|_| Arc::clone(&event.body)),
        None => visible_part(&event.body, sight).map(Arc::from),
    }
}

/// An event about the whole fleet, cut down to the nodes that the caller sees.
fn visible_part(body: &str, sight: &Sight) -> Option<String> {
    let mut body: Value = serde_json::from_str(body).ok()?;
    let object = body.as_object_mut()?;
    // Only what is known to be fit for everybody or to be cut: anything else about the fleet stays hidden.
    object.retain(|key, _| matches!(key.as_str(), "score" | "nodes"));
    object.insert("score".to_owned(), json!(sight.score()));
    if let Some(nodes) = object.get_mut("nodes").and_then(Value::as_array_mut) {
        nodes.retain(|node| {
            let id = node.get("nodeId").and_then(Value::as_str).and_then(|id| id.parse::<NodeId>().ok());
            id.is_some_and(|id| sight.by_id(id).is_some())
        });
    }
    Some(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture;

    #[test]
    fn an_id_of_another_run_is_not_taken_for_one_of_this() {
        let (this, other) = (Run(Timestamp::from_millis(7)), Run(Timestamp::from_millis(8)));
        assert_eq!(this.read(&this.write(3)), Some(3));
        assert_eq!(this.read(&other.write(3)), None);
        assert_eq!(this.read("3"), None);
    }

    #[test]
    fn a_caller_who_sees_everything_gets_the_shared_text() {
        let event = Event { id: 1, kind: "fleet.judged", body: "{\"score\":1}".into(), node: None };
        let body = visible_body(&event, &Sight::of_everything(fixture::fleet())).unwrap();
        assert!(Arc::ptr_eq(&body, &event.body));
    }

    #[test]
    fn nodes_that_are_not_seen_are_cut_out_of_an_event_about_the_fleet() {
        let sight = Sight::of_everything(fixture::fleet());
        let seen = fixture::id(1);
        let unseen = NodeId::from_bytes([0xee; 8]);
        let body =
            json!({"score": 3, "secret": 1, "nodes": [{"nodeId": seen}, {"nodeId": unseen}]}).to_string();
        let part: Value = serde_json::from_str(&visible_part(&body, &sight).unwrap()).unwrap();
        assert_eq!(part["nodes"], json!([{"nodeId": seen}]));
        assert_eq!(part.get("secret"), None);
        assert_eq!(part["score"], json!(sight.score()));
    }
}
