//! Configuration: the head, generations and their parts, how nodes stand to it.
//!
//! A generation is of the whole fleet: who reads or releases one does so over all nodes. What nodes report is shown
//! node by node.

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use campanile_common::api::{
    ConfigHead, GenerationSummary, NodeConfig, Page, PartsMissing, PartsQuery, Problem,
};
use campanile_common::config::{GENERATION_BYTES_MAX, PART_BYTES_MAX};
use campanile_common::id::Digest;
use serde::Deserialize;

use crate::access::Permission;
use crate::config::{ConfigError, Expected};
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::paging::{self, PageParams};
use crate::http::request::{NoParams, Params, Segment};
use crate::http::{App, Shared};
use crate::node::NodeView;

/// Digests of one question for parts.
const DIGESTS_MAX: usize = 10_000;
/// Longest question for parts: each digest with its quotes, comma and a blank.
const QUERY_BYTES_MAX: usize = DIGESTS_MAX * 72;

/// Which nodes, and which page of them.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NodesParams {
    /// Label selector, e.g. `role=web,region!=us`.
    #[serde(default)]
    selector: String,
    /// Entries per page, 1 to 1000.
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

fn etag(digest: Digest) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{digest}\"")).expect("hexadecimal digits in quotes are a header value")
}

fn digest(text: &str) -> Outcome<Digest> {
    text.parse().map_err(|_| Failure::invalid(format!("`{text}` is no digest; it has 64 hexadecimal digits")))
}

/// What `If-Match` or `If-None-Match` says of the head.
fn expected(headers: &HeaderMap) -> Outcome<Expected> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default().trim());
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Expected::Unsaid),
        (None, Some("*")) => Ok(Expected::Nothing),
        (Some(tag), None) => {
            let inner = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            Ok(Expected::Head(digest(inner.unwrap_or(tag))?))
        }
        _ => Err(Failure::invalid("send `If-Match: \"DIGEST\"` or `If-None-Match: *`, not both")),
    }
}

/// A body of bytes. So many are held in memory at once: whoever comes then waits.
async fn bytes(shared: &Shared, request: Request, most: usize) -> Outcome<Vec<u8>> {
    let _place = shared.uploads.acquire().await.map_err(|_| Failure::broken())?;
    let body = to_bytes(request.into_body(), most).await;
    let body = body.map_err(|_| {
        Failure::too_large(format!("the body is longer than {most} bytes, or could not be read to its end"))
    })?;
    Ok(body.to_vec())
}

fn octets(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

/// The generation that the fleet is meant to be at. The ETag is its digest. 404 `config_none` before the first.
#[utoipa::path(
    get, path = "/api/v1/config", tag = "config",
    responses((status = 200, body = ConfigHead), (status = "4XX", body = Problem))
)]
pub(super) async fn show(State(shared): App, caller: Caller, _: Params<NoParams>) -> Outcome<Response> {
    caller.require_somewhere(&shared, Permission::Read, "config.read").await?;
    let head = shared.services.config.head().ok_or(ConfigError::None)?;
    Ok(([(header::ETAG, etag(head.digest))], Json(head)).into_response())
}

/// Which of these parts the aggregator lacks; up to 10000 digests.
#[utoipa::path(
    post, path = "/api/v1/config/parts/missing", tag = "config", request_body = PartsQuery,
    responses((status = 200, body = PartsMissing), (status = "4XX", body = Problem))
)]
pub(super) async fn missing(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    request: Request,
) -> Outcome<Json<PartsMissing>> {
    caller.require_somewhere(&shared, Permission::Config, "config.submit").await?;
    let body = bytes(&shared, request, QUERY_BYTES_MAX).await?;
    let query: PartsQuery =
        serde_json::from_slice(&body).map_err(|error| Failure::invalid(format!("the body: {error}")))?;
    if query.digests.len() > DIGESTS_MAX {
        return Err(Failure::invalid(format!("ask for at most {DIGESTS_MAX} parts at once")));
    }
    Ok(Json(PartsMissing { missing: shared.services.config.missing_parts(&query.digests) }))
}

/// Hands in a part under the SHA-256 of its bytes: a layer, a file, a template or a sealed secret. Parts that no
/// generation names within an hour go.
#[utoipa::path(
    put, path = "/api/v1/config/parts/{digest}", tag = "config", params(("digest" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204), (status = "4XX", body = Problem))
)]
pub(super) async fn put_part(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
    request: Request,
) -> Outcome<StatusCode> {
    caller.require_somewhere(&shared, Permission::Config, "config.submit").await?;
    let digest = digest(&name)?;
    let body = bytes(&shared, request, PART_BYTES_MAX).await?;
    let config = shared.services.config.clone();
    shared.to_end(async move { config.put_part(digest, body).await }).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// The bytes of a part.
#[utoipa::path(
    get, path = "/api/v1/config/parts/{digest}", tag = "config", params(("digest" = String, Path)),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = "4XX", body = Problem)
    )
)]
pub(super) async fn part(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
) -> Outcome<Response> {
    caller.require(&shared, Permission::Read, "config.read", "config").await?;
    Ok(octets(shared.services.config.read_part(digest(&name)?).await?))
}

/// Hands in a signed generation under its digest, once all its parts are here. A release names the head that it follows
/// with `If-Match: "DIGEST"`, or says `If-None-Match: *` as the first; when another came first the answer is 412
/// `config_conflict`.
#[utoipa::path(
    put, path = "/api/v1/config/generations/{digest}", tag = "config",
    params(
        ("digest" = String, Path),
        ("If-Match" = Option<String>, Header, description = "Digest of the head, in quotes."),
        ("If-None-Match" = Option<String>, Header, description = "`*` for the first release.")
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = GenerationSummary), (status = "4XX", body = Problem))
)]
pub(super) async fn submit(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
    request: Request,
) -> Outcome<Json<GenerationSummary>> {
    caller.require_somewhere(&shared, Permission::Config, "config.submit").await?;
    let (digest, expected) = (digest(&name)?, expected(request.headers())?);
    if expected != Expected::Unsaid {
        // What is meant as a release is of all nodes; a draft is looked at alone.
        caller.require(&shared, Permission::Config, "config.release", "config").await?;
    }
    let body = bytes(&shared, request, GENERATION_BYTES_MAX).await?;
    let (config, by) = (shared.services.config.clone(), caller.actor.id.clone());
    let submitted = shared.to_end(async move { config.submit(digest, body, expected, &by).await }).await?;
    if matches!(submitted, Err(ConfigError::Signatures(_))) {
        let target = format!("generation:{digest}");
        shared.services.access.audit_denial(&caller.actor.id, "config.submit", &target).await;
    }
    Ok(Json(submitted?))
}

/// Releases, newest first.
#[utoipa::path(
    get, path = "/api/v1/config/generations", tag = "config", params(PageParams),
    responses((status = 200, body = Page<GenerationSummary>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Outcome<Json<Page<GenerationSummary>>> {
    caller.require(&shared, Permission::Read, "config.read", "config").await?;
    let limit = paging::limit(params.limit)?;
    let before = params.cursor.as_deref().map(str::parse::<u64>).transpose();
    let before =
        before.map_err(|_| Failure::invalid("the cursor is none that this list gave; begin without one"))?;
    let mut items = shared.services.config.releases(before, limit + 1);
    let is_last = items.len() <= limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| !is_last).map(|last| last.number.to_string());
    Ok(Json(Page { items, next_cursor }))
}

/// One generation, by digest or, of a release, by number.
#[utoipa::path(
    get, path = "/api/v1/config/generations/{digest}", tag = "config", params(("digest" = String, Path)),
    responses((status = 200, body = GenerationSummary), (status = "4XX", body = Problem))
)]
pub(super) async fn generation(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<GenerationSummary>> {
    caller.require(&shared, Permission::Read, "config.read", "config").await?;
    Ok(Json(shared.services.config.find(&name)?))
}

/// The exact bytes of a generation with their signatures.
#[utoipa::path(
    get, path = "/api/v1/config/generations/{digest}/signed", tag = "config", params(("digest" = String, Path)),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = "4XX", body = Problem)
    )
)]
pub(super) async fn signed(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
) -> Outcome<Response> {
    caller.require(&shared, Permission::Read, "config.read", "config").await?;
    let config = &shared.services.config;
    Ok(octets(config.signed(config.find(&name)?.digest).await?))
}

fn node_config(shared: &Arc<Shared>, view: &NodeView) -> NodeConfig {
    shared.services.config.node(view.node.node_id, &view.node.name, view.connection.is_some())
}

/// How the nodes that the caller may see stand to their configuration, in order of their names.
#[utoipa::path(
    get, path = "/api/v1/config/nodes", tag = "config", params(NodesParams),
    responses((status = 200, body = Page<NodeConfig>), (status = "4XX", body = Problem))
)]
pub(super) async fn nodes(
    State(shared): App,
    caller: Caller,
    Params(params): Params<NodesParams>,
) -> Outcome<Json<Page<NodeConfig>>> {
    let sight = caller.sight(&shared, "config.nodes").await?;
    let page = sight.selected_page(&params.selector, params.limit, params.cursor.as_deref())?;
    let items = page.items.into_iter().map(|view| node_config(&shared, view)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// How one node stands to its configuration, by id or name.
#[utoipa::path(
    get, path = "/api/v1/config/nodes/{idOrName}", tag = "config", params(("idOrName" = String, Path)),
    responses((status = 200, body = NodeConfig), (status = "4XX", body = Problem))
)]
pub(super) async fn node(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<NodeConfig>> {
    let view = caller.node(&shared, &id_or_name, Permission::Read, "config.nodes").await?;
    Ok(Json(node_config(&shared, &view)))
}
