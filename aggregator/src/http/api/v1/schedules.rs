//! Schedules.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use campanile_common::api::{Page, Problem, Schedule, ScheduleRequest};
use campanile_common::authority::{SignedOrder, Targets};
use campanile_common::id::NodeId;

use super::authority::not_base64;
use crate::access::Permission;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::paging::{self, PageParams, Place};
use crate::http::request::{LongBody, NoParams, Params, Segment};
use crate::http::sight::may;
use crate::http::{App, Shared};

/// True when the caller may do this to each of the nodes. One that is not in the roster takes a grant over all.
fn may_all(shared: &Shared, caller: &Caller, permission: Permission, nodes: &[NodeId]) -> bool {
    let fleet = shared.services.nodes.fleet();
    caller.actor.may(permission, None)
        || !nodes.is_empty()
            && nodes.iter().all(|id| {
                let found = fleet.nodes.iter().find(|view| view.node.node_id == *id);
                found.is_some_and(|view| may(&caller.actor, permission, &view.node))
            })
}

/// The nodes that a request is for, as far as it says.
fn nodes_of(request: &ScheduleRequest) -> Outcome<Vec<NodeId>> {
    let (bytes, signatures) = request.grant.decode().ok_or_else(not_base64)?;
    let order = SignedOrder { bytes, signatures }.read();
    match order.map_err(|error| Failure::invalid(format!("the grant: {error}")))?.targets {
        Targets::Nodes(nodes) => Ok(nodes),
        // Whether these are the leaves is checked when the schedule is made.
        Targets::Tree { .. } => Ok(request.nodes.clone()),
    }
}

/// Schedules, by name.
#[utoipa::path(
    get, path = "/api/v1/schedules", tag = "orders", params(PageParams),
    responses((status = 200, body = Page<Schedule>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Outcome<Json<Page<Schedule>>> {
    caller.require(&shared, Permission::Read, "schedule.list", "schedules").await?;
    let place = |schedule: &Schedule| Place::new(schedule.name.clone(), "");
    let all = shared.services.schedules.all();
    Ok(Json(paging::page(all, place, paging::limit(params.limit)?, params.cursor.as_deref())?))
}

/// One schedule.
#[utoipa::path(
    get, path = "/api/v1/schedules/{name}", tag = "orders", params(("name" = String, Path)),
    responses((status = 200, body = Schedule), (status = "4XX", body = Problem))
)]
pub(super) async fn show(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<Schedule>> {
    caller.require(&shared, Permission::Read, "schedule.read", "schedules").await?;
    Ok(Json(shared.services.schedules.get(&name)?))
}

/// Makes a schedule. Its grant is a standing order that operators signed, or that the catalogue permits.
///
/// `when` is five fields as in cron (minute, hour, day, month, day of week; names, ranges, lists and steps), `@hourly`
/// to `@yearly`, or `@every 90m`. Where the clocks change, a time with a fixed hour that does not exist is due at the
/// next one that does, and one that comes twice is due once; with `*` hours nothing moves.
#[utoipa::path(
    post, path = "/api/v1/schedules", tag = "orders", request_body = ScheduleRequest,
    responses((status = 201, body = Schedule), (status = "4XX", body = Problem))
)]
pub(super) async fn create(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    LongBody(request): LongBody<ScheduleRequest>,
) -> Outcome<(StatusCode, Json<Schedule>)> {
    if !caller.actor.may_somewhere(Permission::Command) {
        return Err(caller.denied(&shared, "schedule.create", "schedules").await);
    }
    let nodes = nodes_of(&request)?;
    if !may_all(&shared, &caller, Permission::Command, &nodes) {
        return Err(caller.denied(&shared, "schedule.create", "schedules").await);
    }
    let (schedules, actor) = (shared.services.schedules.clone(), caller.actor.id);
    let created = shared.to_end(async move { schedules.create(&actor, request).await }).await??;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Removes a schedule; runs that began go on.
#[utoipa::path(
    delete, path = "/api/v1/schedules/{name}", tag = "orders", params(("name" = String, Path)),
    responses((status = 200, body = Schedule), (status = "4XX", body = Problem))
)]
pub(super) async fn remove(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<Schedule>> {
    require(&shared, &caller, Permission::Command, "schedule.remove", &name).await?;
    let (schedules, actor) = (shared.services.schedules.clone(), caller.actor.id);
    Ok(Json(shared.to_end(async move { schedules.remove(&actor, &name).await }).await??))
}

/// Runs a schedule now, where its grant lets it. The next run comes no sooner than the grant says.
#[utoipa::path(
    post, path = "/api/v1/schedules/{name}/run", tag = "orders", params(("name" = String, Path)),
    responses((status = 200, body = Schedule), (status = "4XX", body = Problem))
)]
pub(super) async fn run(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<Schedule>> {
    require(&shared, &caller, Permission::Routine, "schedule.run", &name).await?;
    let (schedules, actor) = (shared.services.schedules.clone(), caller.actor.id);
    Ok(Json(shared.to_end(async move { schedules.run_now(&actor, &name).await }).await??))
}

/// Refuses unless the caller may do this to every node of the schedule.
async fn require(
    shared: &Shared,
    caller: &Caller,
    permission: Permission,
    action: &'static str,
    name: &str,
) -> Outcome<()> {
    if !caller.actor.may_somewhere(permission) {
        return Err(caller.denied(shared, action, &format!("schedule/{name}")).await);
    }
    let nodes = shared.services.schedules.nodes(name)?;
    if may_all(shared, caller, permission, &nodes) {
        Ok(())
    } else {
        Err(caller.denied(shared, action, &format!("schedule/{name}")).await)
    }
}
