//! The fleet freeze.

use axum::Json;
use axum::extract::State;
use campanile_common::api::{Freeze, FreezeRequest, Problem};

use crate::access::Permission;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::Outcome;
use crate::http::request::{Body, NoParams, Params};

/// Whether the fleet is frozen, and why.
#[utoipa::path(
    get, path = "/api/v1/freeze", tag = "fleet",
    responses((status = 200, body = Freeze), (status = "4XX", body = Problem))
)]
pub(super) async fn show(State(shared): App, caller: Caller, _: Params<NoParams>) -> Outcome<Json<Freeze>> {
    caller.require_somewhere(&shared, Permission::Read, "freeze.read").await?;
    Ok(Json(shared.services.freezer.to_api()))
}

/// Freezes the fleet: every change is refused with 423 `frozen`, and queued orders and schedules are held, until it is
/// thawed. Reads go on, and so do orders that nodes have begun.
#[utoipa::path(
    put, path = "/api/v1/freeze", tag = "fleet", request_body = FreezeRequest,
    responses((status = 200, body = Freeze), (status = "4XX", body = Problem))
)]
pub(super) async fn freeze(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    Body(request): Body<FreezeRequest>,
) -> Outcome<Json<Freeze>> {
    caller.require(&shared, Permission::Freeze, "fleet.freeze", "fleet").await?;
    let (freezer, actor) = (shared.services.freezer.clone(), caller.actor.id);
    Ok(Json(shared.to_end(async move { freezer.freeze(&actor, &request.reason).await }).await??))
}

/// Thaws the fleet.
#[utoipa::path(
    delete, path = "/api/v1/freeze", tag = "fleet",
    responses((status = 200, body = Freeze), (status = "4XX", body = Problem))
)]
pub(super) async fn thaw(State(shared): App, caller: Caller, _: Params<NoParams>) -> Outcome<Json<Freeze>> {
    caller.require(&shared, Permission::Freeze, "fleet.thaw", "fleet").await?;
    let (freezer, actor) = (shared.services.freezer.clone(), caller.actor.id);
    Ok(Json(shared.to_end(async move { freezer.thaw(&actor).await }).await??))
}
