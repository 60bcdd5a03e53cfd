//! `/healthz` and `/readyz`: for whoever starts and watches this process.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::App;

#[derive(Debug, Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The process runs and answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether it can do its work.
pub(super) async fn readyz(State(shared): App) -> Response {
    let reason = shared.services.readiness.reason();
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready: reason.is_none(), reason })).into_response()
}
