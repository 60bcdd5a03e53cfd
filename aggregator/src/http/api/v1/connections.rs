//! The agents' sessions.

use axum::Json;
use axum::extract::State;
use campanile_common::api::{Connection, Page, Problem};

use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::Outcome;
use crate::http::paging::{self, PageParams, Place};
use crate::http::request::Params;

/// Sessions of the agents that the caller may see, in order of their nodes' names.
#[utoipa::path(
    get, path = "/api/v1/connections", tag = "nodes", params(PageParams),
    responses((status = 200, body = Page<Connection>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Outcome<Json<Page<Connection>>> {
    let sight = caller.sight(&shared, "connection.list").await?;
    let connections = sight.active().filter_map(|view| view.connection.clone());
    let place = |connection: &Connection| Place::new(connection.name.clone(), connection.node_id.to_string());
    Ok(Json(paging::page(connections, place, paging::limit(params.limit)?, params.cursor.as_deref())?))
}
