//! The journal of a unit of a node, as a stream.
//!
//! A task per stream passes on what the node sends, as fast as the reader takes it. It ends when the node ends it, the
//! reader goes, the caller's access goes, or the program stops; whichever it is, the node hears of it and stops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use campanile_common::api::Problem;
use campanile_common::authority::is_unit_name;
use campanile_common::wire::v1::request::{JOURNAL_LINES_MAX, Reply, Request};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;

use crate::access::{AccessError, Permission};
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::request::{Params, Segment};
use crate::http::sight::may;
use crate::http::stream_limit::OpenStream;
use crate::http::{App, Shared};
use crate::node::NodeView;

/// Lines from before now, when the caller does not say.
const LINES_DEFAULT: u32 = 100;
/// Pieces that wait for a slow reader; then the node waits.
const PIECES_MAX: usize = 4;
/// How long a refusal of the node may take. A journal that is followed may be silent; then the answer begins without.
const FIRST_PIECE_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon a revoked session or token loses its streams.
const CHECK_ACCESS: Duration = Duration::from_secs(2);

/// Which part of which journal.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JournalParams {
    /// Full name of the unit, e.g. `nginx.service`.
    unit: String,
    /// Only lines from the last so many seconds.
    since_s: Option<u32>,
    /// At most so many lines from before now, the newest; 100 unless said otherwise.
    lines: Option<u32>,
    /// Go on with new lines until the reader goes.
    #[serde(default)]
    follow: bool,
}

/// The journal of a unit, in the form of journalctl's `short-iso`, where the node's policy lets it be observed. An
/// answer that breaks off says that the node's did. At most 16 at a time per caller.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}/journal", tag = "nodes",
    params(("idOrName" = String, Path), JournalParams),
    responses((status = 200, content_type = "text/plain", body = String), (status = "4XX", body = Problem))
)]
pub(super) async fn journal(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    Params(params): Params<JournalParams>,
) -> Outcome<Response> {
    let request = request(params)?;
    let view = caller.node(&shared, &id_or_name, Permission::Observe, "node.journal").await?;
    let open = shared.journal_limit.open(&caller.actor.id)?;
    let mut replies = shared.services.nodes.ask_stream(view.node.node_id, request).await?;
    let first = match tokio::time::timeout(FIRST_PIECE_TIMEOUT, replies.recv()).await {
        Ok(reply) => reply.map(|reply| piece(reply, &view)).transpose()?,
        Err(_) => None,
    };
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    if let Some(first) = first {
        // There is room: nothing was sent before.
        drop(sender.try_send(Ok(first)));
    }
    let feed = Feed { shared: Arc::clone(&shared), caller, view, sender, _open: open };
    // Ends when the reader goes, the access goes, or the program stops; the server waits for it then.
    drop(shared.streams.spawn(feed.run(replies)));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        // Compressing would hold lines back until a block is full.
        (header::CONTENT_ENCODING, HeaderValue::from_static("identity")),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(pieces))).into_response())
}

fn request(params: JournalParams) -> Outcome<Request> {
    let JournalParams { unit, since_s, lines, follow } = params;
    if !is_unit_name(&unit) {
        return Err(Failure::invalid(format!("`{unit}` is no name of a unit, e.g. nginx.service")));
    }
    let lines = lines.unwrap_or(LINES_DEFAULT);
    if lines > JOURNAL_LINES_MAX {
        return Err(Failure::invalid(format!("lines must be 0 to {JOURNAL_LINES_MAX}")));
    }
    Ok(Request::Journal { unit, since_s, lines, is_followed: follow })
}

fn piece(reply: Reply, view: &NodeView) -> Outcome<Bytes> {
    let node = &view.node.name;
    match reply {
        Reply::Journal(bytes) => Ok(Bytes::from(bytes)),
        Reply::Denied(denial) => Err(Failure::denied(format!("node `{node}`: {denial}"))),
        Reply::Failed(detail) => Err(crate::node::NodeError::NoAnswer { node: node.clone(), detail }.into()),
        Reply::TopProcesses(_)
        | Reply::Pong
        | Reply::Description(_)
        | Reply::Unit(_)
        | Reply::Audit(_)
        | Reply::Checkpoints(_) => {
            let detail = "it answered something else".to_owned();
            Err(crate::node::NodeError::NoAnswer { node: node.clone(), detail }.into())
        }
    }
}

/// Why a stream ends before the node's does.
#[derive(Debug)]
struct Ended;

struct Feed {
    shared: Arc<Shared>,
    caller: Caller,
    view: NodeView,
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
    _open: OpenStream,
}

impl Feed {
    async fn run(mut self, replies: mpsc::Receiver<Reply>) {
        let shutdown = self.shared.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = self.feed(replies) => {}
        }
    }

    async fn feed(&mut self, mut replies: mpsc::Receiver<Reply>) -> Result<(), Ended> {
        let mut check = tokio::time::interval(CHECK_ACCESS);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting: Option<Result<Bytes, io::Error>> = None;
        loop {
            let is_waiting = waiting.is_some();
            tokio::select! {
                () = self.sender.closed() => return Err(Ended),
                _ = check.tick() => self.check_access().await?,
                permit = self.sender.clone().reserve_owned(), if is_waiting => {
                    let permit = permit.map_err(|_| Ended)?;
                    if let Some(piece) = waiting.take() {
                        let is_last = piece.is_err();
                        permit.send(piece);
                        if is_last {
                            return Ok(());
                        }
                    }
                }
                reply = replies.recv(), if !is_waiting => match reply {
                    None => return Ok(()),
                    Some(reply) => {
                        let piece = piece(reply, &self.view);
                        waiting = Some(piece.map_err(|failure| io::Error::other(failure.problem().detail)));
                    }
                },
            }
        }
    }

    /// As for live events: changed grants are taken over, and a store that cannot be asked for a moment ends nothing.
    async fn check_access(&mut self) -> Result<(), Ended> {
        let now = self.shared.services.clock.now();
        match self.caller.credentials.actor(&self.shared).await {
            Ok(actor) if may(&actor, Permission::Observe, &self.view.node) => self.caller.actor = actor,
            Err(AccessError::State(_)) if self.caller.actor.expires_at > now => {}
            Ok(_) | Err(_) => return Err(Ended),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(unit: &str, lines: Option<u32>) -> JournalParams {
        JournalParams { unit: unit.to_owned(), since_s: None, lines, follow: true }
    }

    #[test]
    fn a_unit_that_is_none_and_too_many_lines_are_refused() {
        assert!(request(params("--flush", None)).is_err());
        assert!(request(params("a.service;b", None)).is_err());
        assert!(request(params("a.service", Some(JOURNAL_LINES_MAX + 1))).is_err());
        let expected =
            Request::Journal { unit: "a.service".to_owned(), since_s: None, lines: 100, is_followed: true };
        assert_eq!(request(params("a.service", None)), Ok(expected));
    }
}
