//! The floor of backups: reading it, handing in what operators signed, and dropping that.

use axum::Json;
use axum::extract::State;
use campanile_common::api::{FloorStanding, Problem, SignedText, Submitted};
use campanile_common::authority::{Signature, SignedFloor};

use super::authority::not_base64;
use crate::access::Permission;
use crate::backup::FloorError;
use crate::http::auth::Caller;
use crate::http::failure::Outcome;
use crate::http::request::{LongBody, NoParams, Params};
use crate::http::{App, Shared};

/// The floor in force, and what waits to take its place.
#[utoipa::path(
    get, path = "/api/v1/backups/floor", tag = "backups",
    responses((status = 200, body = FloorStanding), (status = "4XX", body = Problem))
)]
pub(super) async fn show(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
) -> Outcome<Json<FloorStanding>> {
    caller.require_somewhere(&shared, Permission::Read, "backup.floor-read").await?;
    Ok(Json(shared.services.backups.floor(&shared.services.authorities.current())))
}

/// Hands in a decision about the floor. Without all the signatures that tier 3 takes it waits for them among the
/// approvals; a lower floor then counts once the old one has passed.
#[utoipa::path(
    post, path = "/api/v1/backups/floor", tag = "backups", request_body = SignedText,
    responses((status = 200, body = Submitted), (status = "4XX", body = Problem))
)]
pub(super) async fn submit(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    LongBody(signed): LongBody<SignedText>,
) -> Outcome<Json<Submitted>> {
    caller.require(&shared, Permission::Command, "backup.floor-decide", "backup/floor").await?;
    let (bytes, signatures) = signed.decode().ok_or_else(not_base64)?;
    let authority = shared.services.authorities.current();
    let (backups, actor) = (shared.services.backups.clone(), caller.actor.id.clone());
    let signed = SignedFloor { bytes, signatures };
    let submitted =
        shared.to_end(async move { backups.decide_floor(&actor, signed, &authority).await }).await?;
    if matches!(submitted, Err(FloorError::Signatures(_))) {
        shared.services.access.audit_denial(&caller.actor.id, "backup.floor-decide", "backup/floor").await;
    }
    Ok(Json(submitted?))
}

/// Drops the decision that waits, for signatures or for its time. The floor stays as it is.
#[utoipa::path(
    delete, path = "/api/v1/backups/floor", tag = "backups",
    responses((status = 200, body = FloorStanding), (status = "4XX", body = Problem))
)]
pub(super) async fn withdraw(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
) -> Outcome<Json<FloorStanding>> {
    caller.require(&shared, Permission::Command, "backup.floor-withdraw", "backup/floor").await?;
    let (backups, actor) = (shared.services.backups.clone(), caller.actor.id.clone());
    shared.to_end(async move { backups.withdraw_floor(&actor).await }).await??;
    Ok(Json(shared.services.backups.floor(&shared.services.authorities.current())))
}

/// Adds a signature to the decision that waits.
pub(super) async fn sign(
    shared: &Shared,
    actor: &str,
    id: &str,
    signature: Signature,
) -> Outcome<Result<Submitted, FloorError>> {
    let authority = shared.services.authorities.current();
    let (backups, name) = (shared.services.backups.clone(), id.to_owned());
    let signer = actor.to_owned();
    let submitted =
        shared.to_end(async move { backups.sign_floor(&signer, &name, signature, &authority).await }).await?;
    if matches!(submitted, Err(FloorError::Signatures(_))) {
        shared.services.access.audit_denial(actor, "approval.sign", id).await;
    }
    Ok(submitted)
}
