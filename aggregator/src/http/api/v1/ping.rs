//! How long the agents take to answer.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use campanile_common::api::{Pong, Problem};
use campanile_common::selector::Subject;
use campanile_common::wire::v1::request::{Reply, Request};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::request::Params;

/// Longest wait for an agent. All are asked at once, so it is that of the whole answer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Which nodes.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PingParams {
    /// Label selector, e.g. `role=web,region!=us`; every node without it.
    #[serde(default)]
    selector: String,
}

/// Asks the agents of the selected nodes for an answer, all at once. One that is not connected, or gives none within
/// five seconds, has no time.
#[utoipa::path(
    get, path = "/api/v1/ping", tag = "nodes", params(PingParams),
    responses((status = 200, body = [Pong]), (status = "4XX", body = Problem))
)]
pub(super) async fn ping(
    State(shared): App,
    caller: Caller,
    Params(params): Params<PingParams>,
) -> Outcome<Json<Vec<Pong>>> {
    let sight = caller.sight(&shared, "node.ping").await?;
    let selector = crate::http::sight::selector(&params.selector)?;
    let mut pongs = Vec::new();
    let mut asked = JoinSet::new();
    for view in sight.active() {
        let (node, id) = (&view.node, view.node.node_id.to_string());
        if !selector.matches(&Subject { id: &id, name: &node.name, labels: &node.labels }) {
            continue;
        }
        let index = pongs.len();
        pongs.push(Pong { node: node.name.clone(), rtt_ms: None });
        if view.connection.is_some() {
            let (nodes, id) = (shared.services.nodes.clone(), node.node_id);
            asked.spawn(async move {
                let begun = Instant::now();
                let answer = tokio::time::timeout(PING_TIMEOUT, nodes.ask(id, Request::Ping)).await;
                let took = begun.elapsed();
                (index, matches!(answer, Ok(Ok(Reply::Pong))).then_some(took))
            });
        }
    }
    while let Some(answered) = asked.join_next().await {
        let (index, took) = answered.map_err(|_| Failure::broken())?;
        pongs[index].rtt_ms = took.map(|took| took.as_secs_f64() * 1000.0);
    }
    Ok(Json(pongs))
}
