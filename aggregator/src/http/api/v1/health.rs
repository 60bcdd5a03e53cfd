//! Health of the fleet, and the fleet at a glance.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use campanile_common::api::{FleetStatus, Problem, SystemHealthMetrics};

use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::health;
use crate::http::request::{NoParams, Params};

/// Health of every node and of the fleet. A figure without a source is null; every lost point has its cause.
///
/// A caller whose grants cover a part of the fleet sees that part; `overallSystemHealth` then counts only what that
/// part costs.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "fleet",
    responses((status = 200, body = SystemHealthMetrics), (status = "4XX", body = Problem))
)]
pub(super) async fn health(State(shared): App, caller: Caller, _: Params<NoParams>) -> Outcome<Response> {
    let sight = caller.sight(&shared, "health.read").await?;
    let json = health::render(&shared, &sight).map_err(|_| Failure::broken())?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// The fleet at a glance.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "fleet",
    responses((status = 200, body = FleetStatus), (status = "4XX", body = Problem))
)]
pub(super) async fn status(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
) -> Outcome<Json<FleetStatus>> {
    let sight = caller.sight(&shared, "status.read").await?;
    let frozen = shared.services.freezer.details();
    Ok(Json(FleetStatus { frozen, ..health::status(&sight, &shared.services.fleet) }))
}
