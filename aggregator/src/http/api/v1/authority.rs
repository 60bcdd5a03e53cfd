//! The chain of authorities: reading it, and handing in its next version.

use axum::Json;
use axum::extract::State;
use campanile_common::api::{AuthorityChainText, Problem, SignedText, Submitted};
use campanile_common::authority::SignedAuthority;
use serde::Deserialize;

use crate::access::Permission;
use crate::authority::SubmitError;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::request::{LongBody, NoParams, Params};

/// Which versions.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChainParams {
    /// The chain from this version on; from the first unless said otherwise.
    from: Option<u64>,
}

/// The authority in force with the chain that leads to it.
#[utoipa::path(
    get, path = "/api/v1/authority", tag = "authority", params(ChainParams),
    responses((status = 200, body = AuthorityChainText), (status = "4XX", body = Problem))
)]
pub(super) async fn show(
    State(shared): App,
    caller: Caller,
    Params(params): Params<ChainParams>,
) -> Outcome<Json<AuthorityChainText>> {
    caller.require_somewhere(&shared, Permission::Read, "authority.read").await?;
    let authorities = &shared.services.authorities;
    let current = authorities.current();
    let chain = authorities.after(params.from.unwrap_or(1).saturating_sub(1));
    Ok(Json(AuthorityChainText {
        version: current.document().version,
        digest: current.digest(),
        expires_at: current.document().expires,
        chain: chain.iter().map(|signed| SignedText::new(&signed.bytes, &signed.signatures)).collect(),
    }))
}

/// Hands in the authority's next version. It is in force at once when the operators whom the version in force demands
/// signed it; otherwise it waits for further signatures among the approvals.
#[utoipa::path(
    put, path = "/api/v1/authority", tag = "authority", request_body = SignedText,
    responses((status = 200, body = Submitted), (status = "4XX", body = Problem))
)]
pub(super) async fn submit(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    LongBody(signed): LongBody<SignedText>,
) -> Outcome<Json<Submitted>> {
    caller.require(&shared, Permission::Command, "authority.submit", "authority").await?;
    let (bytes, signatures) = signed.decode().ok_or_else(not_base64)?;
    let (authorities, actor) = (shared.services.authorities.clone(), caller.actor.id.clone());
    let signed = SignedAuthority { bytes, signatures };
    let submitted = shared.to_end(async move { authorities.propose(&actor, signed).await }).await?;
    if matches!(submitted, Err(SubmitError::Signatures(_))) {
        shared.services.access.audit_denial(&caller.actor.id, "authority.submit", "authority").await;
    }
    Ok(Json(submitted?))
}

pub(super) fn not_base64() -> Failure {
    Failure::invalid("bytes and signatures are standard base64 with padding")
}
