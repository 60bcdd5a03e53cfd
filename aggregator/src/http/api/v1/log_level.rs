//! The aggregator's log level, while it runs.

use axum::Json;
use axum::extract::State;
use campanile_common::api::{AuditOutcome, LogLevel, Problem};

use crate::access::Permission;
use crate::audit::Record;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::request::{Body, NoParams, Params};

/// Longest directives.
const LEVEL_BYTES_MAX: usize = 1024;

/// The level in force.
#[utoipa::path(
    get, path = "/api/v1/log-level", tag = "aggregator",
    responses((status = 200, body = LogLevel), (status = "4XX", body = Problem))
)]
pub(super) async fn show(State(shared): App, caller: Caller, _: Params<NoParams>) -> Outcome<Json<LogLevel>> {
    caller.require(&shared, Permission::Administer, "log-level.read", "aggregator").await?;
    Ok(Json(LogLevel { level: shared.services.log_level.get() }))
}

/// Puts another level in force until the next start.
#[utoipa::path(
    put, path = "/api/v1/log-level", tag = "aggregator", request_body = LogLevel,
    responses((status = 200, body = LogLevel), (status = "4XX", body = Problem))
)]
pub(super) async fn change(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    Body(LogLevel { level }): Body<LogLevel>,
) -> Outcome<Json<LogLevel>> {
    caller.require(&shared, Permission::Administer, "log-level.change", "aggregator").await?;
    if level.len() > LEVEL_BYTES_MAX {
        return Err(Failure::invalid(format!("a level is at most {LEVEL_BYTES_MAX} bytes")));
    }
    let before = shared.services.log_level.get();
    shared.services.log_level.set(&level).map_err(Failure::invalid)?;
    let record = Record {
        actor: caller.actor.id.clone(),
        action: "log-level.change",
        target: "aggregator".to_owned(),
        outcome: AuditOutcome::Ok,
        detail: format!("{before} -> {level}"),
    };
    if let Err(error) = shared.services.audit.record(record).await {
        // What cannot be recorded is not done.
        if let Err(reason) = shared.services.log_level.set(&before) {
            tracing::warn!(reason, "log level could not be put back");
        }
        return Err(error.into());
    }
    Ok(Json(LogLevel { level: shared.services.log_level.get() }))
}
