//! Enrolment tokens. A caller whose grants cover a part of the fleet deals in tokens whose labels place the new
//! node in that part.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use campanile_common::api::{CreatedToken, EnrollmentToken, Page, Problem, TokenRequest};
use campanile_common::label::Labels;
use campanile_common::selector::Subject;

use crate::access::{Actor, Permission};
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::paging::{self, PageParams, Place};
use crate::http::request::{Body, NoParams, Params, Segment};

/// True when the actor may enrol nodes with these labels. A node's id and, without a fixed name, its name are not
/// known beforehand, so that a grant which asks for them does not hold.
fn may_enroll(actor: &Actor, labels: &Labels, name: Option<&str>) -> bool {
    actor.may(Permission::Enroll, None)
        || actor.may(Permission::Enroll, Some(&Subject { id: "", name: name.unwrap_or_default(), labels }))
}

/// Enrolment tokens, without their secrets.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "enrolment", params(PageParams),
    responses((status = 200, body = Page<EnrollmentToken>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Outcome<Json<Page<EnrollmentToken>>> {
    caller.require_somewhere(&shared, Permission::Enroll, "token.list").await?;
    let tokens = shared.services.nodes.tokens().await?;
    let own = tokens.into_iter().filter(|t| may_enroll(&caller.actor, &t.labels, t.name.as_deref()));
    // Newest first: times count down in the sort key.
    let place = |token: &EnrollmentToken| {
        Place::new(format!("{:020}", u64::MAX - token.created_at.as_millis()), token.token_id.clone())
    };
    Ok(Json(paging::page(own, place, paging::limit(params.limit)?, params.cursor.as_deref())?))
}

/// Makes an enrolment token. The answer is the only time its text is shown.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "enrolment", request_body = TokenRequest,
    responses((status = 201, body = CreatedToken), (status = "4XX", body = Problem))
)]
pub(super) async fn create(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    Body(request): Body<TokenRequest>,
) -> Outcome<(StatusCode, Json<CreatedToken>)> {
    if !may_enroll(&caller.actor, &request.labels, request.name.as_deref()) {
        return Err(caller.denied(&shared, "token.create", "tokens").await);
    }
    let created = shared.services.nodes.create_token(&caller.actor.id, request).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revokes an enrolment token; nodes that it enrolled stay.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "enrolment", params(("id" = String, Path)),
    responses((status = 200, body = EnrollmentToken), (status = "4XX", body = Problem))
)]
pub(super) async fn revoke(
    State(shared): App,
    caller: Caller,
    Segment(id): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<EnrollmentToken>> {
    caller.require_somewhere(&shared, Permission::Enroll, "token.revoke").await?;
    let tokens = shared.services.nodes.tokens().await?;
    let is_own =
        tokens.iter().any(|t| t.token_id == id && may_enroll(&caller.actor, &t.labels, t.name.as_deref()));
    if !is_own {
        return Err(Failure::not_found(format!("no enrolment token `{id}`")));
    }
    Ok(Json(shared.services.nodes.revoke_token(&caller.actor.id, &id).await?))
}
