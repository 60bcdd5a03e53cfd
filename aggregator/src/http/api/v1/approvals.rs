//! What waits for the signatures of further operators.

use axum::Json;
use axum::extract::State;
use campanile_common::api::{Page, Problem, Proposal, SignatureText, Submitted};
use campanile_common::id::NodeId;

use super::orders::{Visible, with_sight};
use crate::access::Permission;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::Outcome;
use crate::http::paging::{self, PageParams, Place};
use crate::http::request::{Body, NoParams, Params, Segment};

/// Proposals, newest first.
#[utoipa::path(
    get, path = "/api/v1/approvals", tag = "orders", params(PageParams),
    responses((status = 200, body = Page<Proposal>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Outcome<Json<Page<Proposal>>> {
    caller.require_somewhere(&shared, Permission::Observe, "approval.list").await?;
    let visible = Visible::new(&caller, &shared);
    let proposals = with_sight!(visible, |sees| shared.services.orders.proposals(sees).await?);
    let place = |proposal: &Proposal| {
        Place::new(format!("{:020}", u64::MAX - proposal.proposed_at.as_millis()), proposal.id.clone())
    };
    Ok(Json(paging::page(proposals, place, paging::limit(params.limit)?, params.cursor.as_deref())?))
}

/// One proposal, with the bytes to sign.
#[utoipa::path(
    get, path = "/api/v1/approvals/{id}", tag = "orders", params(("id" = String, Path)),
    responses((status = 200, body = Proposal), (status = "4XX", body = Problem))
)]
pub(super) async fn show(
    State(shared): App,
    caller: Caller,
    Segment(id): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<Proposal>> {
    caller.require_somewhere(&shared, Permission::Observe, "approval.read").await?;
    let run = shared.services.orders.find(&id, None)?;
    let visible = Visible::new(&caller, &shared);
    Ok(Json(with_sight!(visible, |sees| shared.services.orders.proposal(run, sees).await?)))
}

/// Adds an operator's signature; the last that was missing puts the proposal in force.
#[utoipa::path(
    post, path = "/api/v1/approvals/{id}/signatures", tag = "orders", params(("id" = String, Path)),
    request_body = SignatureText, responses((status = 200, body = Submitted), (status = "4XX", body = Problem))
)]
pub(super) async fn sign(
    State(shared): App,
    caller: Caller,
    Segment(id): Segment,
    _: Params<NoParams>,
    Body(signature): Body<SignatureText>,
) -> Outcome<Json<Submitted>> {
    caller.require_somewhere(&shared, Permission::Command, "approval.sign").await?;
    let run = shared.services.orders.find(&id, None)?;
    let visible = Visible::new(&caller, &shared);
    // Who does not see it cannot sign it.
    with_sight!(visible, |sees| shared.services.orders.proposal(run, sees).await?);
    Ok(Json(shared.services.orders.add_signature(run, signature, &caller.actor.id).await?))
}
