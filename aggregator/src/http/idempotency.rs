//! `Idempotency-Key`: a POST that is sent again gets the first answer again instead of a second effect.
//!
//! Answers are kept in memory for a day, so much per actor, the oldest going first; a restart forgets them. They
//! may hold secrets that are shown once, which is the point of asking again, and never leave this module but to
//! the actor and key they were made for. Signing in has no actor yet and ignores the key.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;

use super::App;
use super::auth::Caller;
use super::failure::Failure;
use super::request::{BODY_BYTES_MAX, LONG_BODY_BYTES_MAX};

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// Answers kept per actor; the oldest goes when another comes.
const ACTOR_ANSWERS_MAX: usize = 128;
/// Actors with kept answers; another is then served without a memory, as the header's absence would.
const ACTORS_MAX: usize = 256;
/// Longest key.
const KEY_BYTES_MAX: usize = 128;
/// Longest answer that is kept; ours are far shorter.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";

/// An answer as it was given.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    etag: Option<HeaderValue>,
    body: Bytes,
}

#[derive(Debug)]
struct Kept {
    key: String,
    request: Digest,
    at: Timestamp,
    /// None while the first request still runs.
    answer: Option<Answer>,
}

/// Answers to repeat, by actor, oldest first.
#[derive(Debug, Default)]
pub(super) struct Replays {
    kept: Mutex<BTreeMap<String, VecDeque<Kept>>>,
}

#[derive(Debug)]
enum Begun {
    First,
    Running,
    Again(Answer),
    OtherRequest,
    NoRoom,
}

impl Replays {
    fn begin(&self, actor: &str, key: &str, request: Digest, now: Timestamp) -> Begun {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for kept in all.values_mut() {
            kept.retain(|entry| now.since(entry.at) < KEEP);
        }
        all.retain(|_, kept| !kept.is_empty());
        if !all.contains_key(actor) && all.len() >= ACTORS_MAX {
            return Begun::NoRoom;
        }
        let own = all.entry(actor.to_owned()).or_default();
        if let Some(entry) = own.iter().find(|entry| entry.key == key) {
            return match (&entry.answer, entry.request == request) {
                (_, false) => Begun::OtherRequest,
                (None, true) => Begun::Running,
                (Some(answer), true) => Begun::Again(answer.clone()),
            };
        }
        if own.len() == ACTOR_ANSWERS_MAX {
            own.pop_front();
        }
        own.push_back(Kept { key: key.to_owned(), request, at: now, answer: None });
        Begun::First
    }

    /// Keeps the answer, or forgets the request when there is none to keep: it may then be tried again.
    fn end(&self, actor: &str, key: &str, answer: Option<Answer>) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = all.get_mut(actor) else { return };
        match answer {
            Some(answer) => {
                if let Some(entry) = own.iter_mut().find(|entry| entry.key == key) {
                    entry.answer = Some(answer);
                }
            }
            None => own.retain(|entry| entry.key != key),
        }
    }
}

/// Forgets the request when its future is dropped before the answer.
struct Running<'a> {
    replays: &'a Replays,
    actor: &'a str,
    key: &'a str,
    is_done: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.replays.end(self.actor, self.key, None);
        }
    }
}

/// Middleware: repeats answers to POSTs that bear a key.
pub(super) async fn replay(State(shared): App, request: Request, next: Next) -> Response {
    let signs_in = request.uri().path().starts_with("/api/v1/session");
    // A question, whose answer may be long.
    let asks = request.uri().path() == "/api/v1/config/parts/missing";
    if request.method() != Method::POST || signs_in || asks || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    match replay_keyed(&shared, request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn replay_keyed(
    shared: &Arc<super::Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let key = key_of(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, shared).await?;
    let most = body_bytes_max(parts.uri.path());
    let body = to_bytes(body, most)
        .await
        .map_err(|_| Failure::too_large(format!("the body is longer than {most} bytes")))?;
    let digest = campanile_common::authority::sha256(&[parts.uri.path().as_bytes(), b"\0", body.as_ref()]);
    let actor = caller.actor.id;
    match shared.replays.begin(&actor, &key, digest, shared.services.clock.now()) {
        Begun::OtherRequest => return Err(Failure::key_reused()),
        Begun::Running => {
            return Err(Failure::conflict(
                "the first request with this Idempotency-Key still runs; try again",
            ));
        }
        Begun::Again(answer) => return Ok(repeated(answer)),
        Begun::NoRoom => return Ok(next.run(Request::from_parts(parts, Body::from(body))).await),
        Begun::First => {}
    }
    let mut running = Running { replays: &shared.replays, actor: &actor, key: &key, is_done: false };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_success() {
        return Ok(response); // It had no effect: the same request may be tried again.
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_BYTES_MAX).await.map_err(|_| Failure::broken())?;
    let answer = Answer {
        status: parts.status,
        content_type: parts.headers.get(header::CONTENT_TYPE).cloned(),
        etag: parts.headers.get(header::ETAG).cloned(),
        body: body.clone(),
    };
    running.is_done = true;
    shared.replays.end(&actor, &key, Some(answer));
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Bodies that hold something signed may be longer.
fn body_bytes_max(path: &str) -> usize {
    if path == "/api/v1/orders" { LONG_BODY_BYTES_MAX } else { BODY_BYTES_MAX }
}

fn key_of(headers: &HeaderMap) -> Result<String, Failure> {
    headers
        .get(KEY)
        .and_then(|value| value.to_str().ok())
        .filter(|key| !key.is_empty() && key.len() <= KEY_BYTES_MAX)
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::invalid(format!("Idempotency-Key must be 1 to {KEY_BYTES_MAX} ASCII characters"))
        })
}

fn repeated(answer: Answer) -> Response {
    let mut response = (answer.status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.extend(answer.content_type.map(|value| (header::CONTENT_TYPE, value)));
    headers.extend(answer.etag.map(|value| (header::ETAG, value)));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn answer() -> Answer {
        Answer { status: StatusCode::CREATED, content_type: None, etag: None, body: Bytes::from_static(b"x") }
    }

    #[test]
    fn the_same_request_gets_the_first_answer_for_a_day() {
        let replays = Replays::default();
        assert!(matches!(replays.begin("a", "k", digest(1), at(0)), Begun::First));
        assert!(matches!(replays.begin("a", "k", digest(1), at(1)), Begun::Running));
        replays.end("a", "k", Some(answer()));
        assert!(matches!(replays.begin("a", "k", digest(1), at(86_399)), Begun::Again(_)));
        assert!(matches!(replays.begin("a", "k", digest(1), at(86_400)), Begun::First));
    }

    #[test]
    fn the_same_key_for_another_request_is_refused_and_other_actors_have_their_own() {
        let replays = Replays::default();
        assert!(matches!(replays.begin("a", "k", digest(1), at(0)), Begun::First));
        assert!(matches!(replays.begin("a", "k", digest(2), at(0)), Begun::OtherRequest));
        assert!(matches!(replays.begin("b", "k", digest(2), at(0)), Begun::First));
    }

    #[test]
    fn a_request_that_failed_may_be_tried_again() {
        let replays = Replays::default();
        assert!(matches!(replays.begin("a", "k", digest(1), at(0)), Begun::First));
        drop(Running { replays: &replays, actor: "a", key: "k", is_done: false });
        assert!(matches!(replays.begin("a", "k", digest(1), at(0)), Begun::First));
    }

    #[test]
    fn memory_is_bounded_per_actor_and_in_actors() {
        let replays = Replays::default();
        for index in 0..ACTOR_ANSWERS_MAX + 10 {
            assert!(matches!(replays.begin("a", &index.to_string(), digest(1), at(0)), Begun::First));
        }
        assert_eq!(replays.kept.lock().unwrap()["a"].len(), ACTOR_ANSWERS_MAX);
        for index in 1..ACTORS_MAX {
            assert!(matches!(replays.begin(&format!("b{index}"), "k", digest(1), at(0)), Begun::First));
        }
        assert!(matches!(replays.begin("late", "k", digest(1), at(0)), Begun::NoRoom));
    }

    #[test]
    fn odd_keys_are_refused() {
        let headers = |value: &str| {
            HeaderMap::from_iter([(
                header::HeaderName::from_static(KEY),
                HeaderValue::from_str(value).unwrap(),
            )])
        };
        assert!(key_of(&headers("")).is_err());
        assert!(key_of(&headers(&"x".repeat(KEY_BYTES_MAX + 1))).is_err());
        assert_eq!(key_of(&headers("8e03978e-40d5")).as_deref(), Ok("8e03978e-40d5"));
    }
}
