//! Signing in and out, and the caller's own password and second factor.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use campanile_common::api::{LinkSignIn, PasswordChange, Problem, Session, SignIn, TotpConfirm, TotpSetup};

use crate::access::{Actor, NewSession};
use crate::http::App;
use crate::http::auth::{self, Caller, Credentials, Source};
use crate::http::failure::{Failure, Outcome};
use crate::http::request::{Body, NoParams, Params};

fn session(actor: Actor) -> Session {
    Session { actor: actor.id, name: actor.name, grants: actor.grants, expires_at: actor.expires_at }
}

fn signed_in(new: NewSession) -> Outcome<Response> {
    let cookie = auth::set_cookie(&new.secret)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(session(new.actor))).into_response())
}

/// Signs in with a password and, where one is set, a second factor. Sets the `__Host-campanile` cookie.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "session", request_body = SignIn, security(()),
    responses((status = 200, body = Session), (status = "4XX", body = Problem))
)]
pub(super) async fn sign_in(
    State(shared): App,
    source: Source,
    _: Params<NoParams>,
    Body(request): Body<SignIn>,
) -> Outcome<Response> {
    signed_in(shared.services.access.sign_in(request, &source.0).await?)
}

/// Signs in with a one-time link. Sets the `__Host-campanile` cookie.
#[utoipa::path(
    post, path = "/api/v1/session/link", tag = "session", request_body = LinkSignIn, security(()),
    responses((status = 200, body = Session), (status = "4XX", body = Problem))
)]
pub(super) async fn sign_in_with_link(
    State(shared): App,
    source: Source,
    _: Params<NoParams>,
    Body(request): Body<LinkSignIn>,
) -> Outcome<Response> {
    signed_in(shared.services.access.sign_in_with_link(&request.link, &source.0).await?)
}

/// Who the caller is and what it may do.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "session",
    responses((status = 200, body = Session), (status = "4XX", body = Problem))
)]
pub(super) async fn show(caller: Caller, _: Params<NoParams>) -> Outcome<Json<Session>> {
    Ok(Json(session(caller.actor)))
}

/// Signs out: ends the session and takes the cookie away.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "session",
    responses((status = 204), (status = "4XX", body = Problem))
)]
pub(super) async fn sign_out(State(shared): App, caller: Caller, _: Params<NoParams>) -> Outcome<Response> {
    let Credentials::Session(secret) = &caller.credentials else {
        return Err(Failure::invalid(
            "an API token has no session to end; revoke it with DELETE /api/v1/api-tokens/ID",
        ));
    };
    shared.services.access.sign_out(secret).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, auth::clear_cookie())]).into_response())
}

/// Sets the caller's own password and ends the caller's other sessions.
#[utoipa::path(
    put, path = "/api/v1/session/password", tag = "session", request_body = PasswordChange,
    responses((status = 204), (status = "4XX", body = Problem))
)]
pub(super) async fn set_password(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    Body(change): Body<PasswordChange>,
) -> Outcome<StatusCode> {
    shared.services.access.set_password(&caller.actor, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins setting up the caller's second factor; it counts once confirmed.
#[utoipa::path(
    post, path = "/api/v1/session/totp", tag = "session",
    responses((status = 200, body = TotpSetup), (status = "4XX", body = Problem))
)]
pub(super) async fn begin_totp(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
) -> Outcome<Json<TotpSetup>> {
    Ok(Json(shared.services.access.begin_totp(&caller.actor).await?))
}

/// Confirms the second factor with a first code.
#[utoipa::path(
    post, path = "/api/v1/session/totp/confirm", tag = "session", request_body = TotpConfirm,
    responses((status = 204), (status = "4XX", body = Problem))
)]
pub(super) async fn confirm_totp(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    Body(confirm): Body<TotpConfirm>,
) -> Outcome<StatusCode> {
    shared.services.access.confirm_totp(&caller.actor, &confirm.code).await?;
    Ok(StatusCode::NO_CONTENT)
}
