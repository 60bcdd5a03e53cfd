//! API tokens: bearer tokens for tools. Whose tokens a caller may see and revoke is decided, and denials are audited,
//! where they are kept.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use campanile_common::api::{ApiToken, ApiTokenRequest, CreatedApiToken, Page, Problem};

use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::Outcome;
use crate::http::paging::{self, PageParams, Place};
use crate::http::request::{Body, NoParams, Params, Segment};

/// The caller's API tokens; everybody's for who may manage people.
#[utoipa::path(
    get, path = "/api/v1/api-tokens", tag = "api tokens", params(PageParams),
    responses((status = 200, body = Page<ApiToken>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Outcome<Json<Page<ApiToken>>> {
    let tokens = shared.services.access.api_tokens(&caller.actor).await?;
    let place = |token: &ApiToken| Place::new(token.name.clone(), token.token_id.clone());
    Ok(Json(paging::page(tokens, place, paging::limit(params.limit)?, params.cursor.as_deref())?))
}

/// Makes an API token with at most the caller's own grants. The answer is the only time its text is shown.
#[utoipa::path(
    post, path = "/api/v1/api-tokens", tag = "api tokens", request_body = ApiTokenRequest,
    responses((status = 201, body = CreatedApiToken), (status = "4XX", body = Problem))
)]
pub(super) async fn create(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    Body(request): Body<ApiTokenRequest>,
) -> Outcome<(StatusCode, Json<CreatedApiToken>)> {
    let created = shared.services.access.create_api_token(&caller.actor, request).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revokes an API token at once.
#[utoipa::path(
    delete, path = "/api/v1/api-tokens/{id}", tag = "api tokens", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem))
)]
pub(super) async fn revoke(
    State(shared): App,
    caller: Caller,
    Segment(id): Segment,
    _: Params<NoParams>,
) -> Outcome<StatusCode> {
    shared.services.access.revoke_api_token(&caller.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
