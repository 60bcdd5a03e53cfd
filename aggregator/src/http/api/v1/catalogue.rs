//! The catalogue: reading it, and handing in a newer one.

use axum::Json;
use axum::extract::State;
use campanile_common::api::{CatalogueText, Problem, SignedText, Submitted};
use campanile_common::authority::SignedCatalogue;

use super::authority::not_base64;
use crate::access::Permission;
use crate::authority::SubmitError;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::Outcome;
use crate::http::request::{LongBody, NoParams, Params};

/// The catalogue in force.
#[utoipa::path(
    get, path = "/api/v1/catalogue", tag = "authority",
    responses((status = 200, body = CatalogueText), (status = "4XX", body = Problem))
)]
pub(super) async fn show(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
) -> Outcome<Json<CatalogueText>> {
    caller.require_somewhere(&shared, Permission::Read, "catalogue.read").await?;
    Ok(Json(shared.services.catalogues.to_api()))
}

/// Hands in a newer catalogue. It is in force at once when enough operators signed it; otherwise it waits for further
/// signatures among the approvals.
#[utoipa::path(
    put, path = "/api/v1/catalogue", tag = "authority", request_body = SignedText,
    responses((status = 200, body = Submitted), (status = "4XX", body = Problem))
)]
pub(super) async fn submit(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    LongBody(signed): LongBody<SignedText>,
) -> Outcome<Json<Submitted>> {
    caller.require(&shared, Permission::Command, "catalogue.submit", "catalogue").await?;
    let (bytes, signatures) = signed.decode().ok_or_else(not_base64)?;
    let (catalogues, actor) = (shared.services.catalogues.clone(), caller.actor.id.clone());
    let signed = SignedCatalogue { bytes, signatures };
    let submitted = shared.to_end(async move { catalogues.propose(&actor, signed).await }).await?;
    if matches!(submitted, Err(SubmitError::Signatures(_))) {
        shared.services.access.audit_denial(&caller.actor.id, "catalogue.submit", "catalogue").await;
    }
    Ok(Json(submitted?))
}
