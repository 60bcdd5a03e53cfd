//! What an order printed on a node.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use campanile_common::api::Problem;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::OutputStream;
use serde::Deserialize;

use crate::access::Permission;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::Outcome;
use crate::http::request::Params;

/// Which output of which run.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OutputParams {
    /// Due time of the run, of a standing order; the newest unless said otherwise.
    #[param(value_type = Option<String>)]
    occurrence: Option<Timestamp>,
    /// `stdout` or `stderr` alone; both as they came without it.
    #[param(inline)]
    stream: Option<StreamName>,
}

/// Where output was written to.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum StreamName {
    Stdout,
    Stderr,
}

/// The kept output of an order on a node: both streams as they came, or one of them.
#[utoipa::path(
    get, path = "/api/v1/orders/{id}/output/{node}", tag = "orders",
    params(("id" = String, Path), ("node" = String, Path), OutputParams),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = "4XX", body = Problem)
    )
)]
pub(super) async fn output(
    State(shared): App,
    caller: Caller,
    Path((id, node)): Path<(String, String)>,
    Params(params): Params<OutputParams>,
) -> Outcome<Response> {
    let view = caller.node(&shared, &node, Permission::Observe, "order.output").await?;
    let run = shared.services.orders.find(&id, params.occurrence)?;
    let stream = params.stream.map(|stream| match stream {
        StreamName::Stdout => OutputStream::Stdout,
        StreamName::Stderr => OutputStream::Stderr,
    });
    let output = shared.services.orders.output(run, view.node.node_id, stream).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], output).into_response())
}
