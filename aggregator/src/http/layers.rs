//! What surrounds every request: limits, headers, counting, compression; and the routes it surrounds.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use super::failure::Failure;
use super::request::BODY_BYTES_MAX;
use super::{App, Shared, api, assets, frozen, idempotency, metrics, openapi, packages, probes};

/// How long a request may take until its answer begins; asking a node has its own, shorter limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Nothing but our own files, no frame around us, no form to elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Sent with every answer.
const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("strict-transport-security", "max-age=31536000"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The whole site.
pub(super) fn site(shared: Arc<Shared>) -> Router {
    let (api, document) = openapi::parts(api::v1::routes());
    let document = openapi::render(&document);
    Router::new()
        .merge(api)
        .route("/api/v1/openapi.json", get(move || openapi::serve(document.clone())))
        .route("/metrics", get(metrics::serve))
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .merge(assets::routes())
        .merge(packages::routes())
        .fallback(|| async {
            Failure::not_found("there is nothing at this address; see /docs for what there is")
        })
        .method_not_allowed_fallback(|| async { Failure::invalid_method() })
        .layer(from_fn_with_state(Arc::clone(&shared), idempotency::replay))
        // Around the answers that are kept, so that a refusal is not kept.
        .layer(from_fn_with_state(Arc::clone(&shared), frozen::refuse))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(within_time))
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(CompressionLayer::new())
        .layer(from_fn(with_headers))
        .layer(from_fn_with_state(Arc::clone(&shared), count))
        .with_state(shared)
}

async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::unavailable(format!(
            "no answer within {} s; whether a change was made is unknown, look before you try again",
            REQUEST_TIMEOUT.as_secs()
        ))
        .into_response(),
    }
}

fn after_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = %text, "a request broke an invariant");
    Failure::broken().into_response()
}

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    secure(response.headers_mut());
    response
}

fn secure(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(header::HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // Answers are for the caller alone; only the page's own files say otherwise.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

async fn count(State(shared): App, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let path = path.as_ref().map_or(metrics::requests::UNMATCHED, MatchedPath::as_str);
    let code = response.status().as_u16();
    shared.requests.count(&method, path, code);
    tracing::debug!(%method, path, code, "request answered");
    response
}
