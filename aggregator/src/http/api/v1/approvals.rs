//! What waits for the signatures of further operators.

use axum::Json;
use axum::extract::State;
use campanile_common::api::{Page, Problem, Proposal, ProposalKind, SignatureText, Submitted};
use campanile_common::authority::{Action, Signature, SignedOrder};
use campanile_common::id::NodeId;
use data_encoding::BASE64;

use super::authority::not_base64;
use super::orders::{Visible, with_sight};
use crate::access::Permission;
use crate::authority::SubmitError;
use crate::config::ConfigError;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::paging::{self, PageParams, Place};
use crate::http::request::{Body, NoParams, Params, Segment};
use crate::http::{App, Shared};

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
    let mut proposals = with_sight!(visible, |sees| shared.services.orders.proposals(sees).await?);
    proposals.extend(shared.services.authorities.proposals().await?);
    proposals.extend(shared.services.catalogues.proposals().await?);
    proposals.extend(shared.services.backups.floor_proposal(&shared.services.authorities.current()));
    if caller.actor.may(Permission::Read, None) {
        // A generation is of the whole fleet.
        proposals.extend(shared.services.config.proposals());
    }
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
    if let Some(proposal) = shared.services.config.proposal(&id).await? {
        caller.require(&shared, Permission::Read, "approval.read", &id).await?;
        return Ok(Json(proposal));
    }
    if let Some(proposal) = of_the_fleet(&shared, &id).await? {
        return Ok(Json(proposal));
    }
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
    if let Some(proposal) = shared.services.config.proposal(&id).await? {
        return Ok(Json(sign_generation(&shared, &caller, &proposal, &signature).await?));
    }
    if let Some(proposal) = of_the_fleet(&shared, &id).await? {
        return Ok(Json(sign_for_the_fleet(&shared, &caller, &proposal, &signature).await?));
    }
    let run = shared.services.orders.find(&id, None)?;
    let visible = Visible::new(&caller, &shared);
    // Who does not see it cannot sign it.
    let proposal = with_sight!(visible, |sees| shared.services.orders.proposal(run, sees).await?);
    check_generation(&shared, &proposal)?;
    Ok(Json(shared.services.orders.add_signature(run, signature, &caller.actor.id).await?))
}

/// The authority or the catalogue that waits under this name.
async fn of_the_fleet(shared: &Shared, id: &str) -> Outcome<Option<Proposal>> {
    let mut proposals = shared.services.authorities.proposals().await?;
    proposals.extend(shared.services.catalogues.proposals().await?);
    proposals.extend(shared.services.backups.floor_proposal(&shared.services.authorities.current()));
    Ok(proposals.into_iter().find(|proposal| proposal.id == id))
}

/// An order's generation must be here, and have its own signatures before the order has its last one.
fn check_generation(shared: &Shared, proposal: &Proposal) -> Outcome<()> {
    let (bytes, signatures) = proposal.signed.decode().ok_or_else(Failure::broken)?;
    let order = SignedOrder { bytes, signatures }.read().map_err(|_| Failure::broken())?;
    if let Action::Config { generation, mode } = order.action {
        let is_last = proposal.signed_by.len() + 1 >= usize::from(proposal.signatures_needed);
        shared.services.config.admit(generation, mode, is_last)?;
    }
    Ok(())
}

fn read_signature(text: &SignatureText) -> Outcome<Signature> {
    let bytes = BASE64.decode(text.signature.as_bytes()).map_err(|_| not_base64())?;
    Ok(Signature { key: text.key, bytes })
}

async fn sign_generation(
    shared: &Shared,
    caller: &Caller,
    proposal: &Proposal,
    signature: &SignatureText,
) -> Outcome<Submitted> {
    caller.require(shared, Permission::Config, "approval.sign", &proposal.id).await?;
    let signature = read_signature(signature)?;
    let (config, id, actor) = (shared.services.config.clone(), proposal.id.clone(), caller.actor.id.clone());
    let submitted = shared.to_end(async move { config.add_signature(&actor, &id, signature).await }).await?;
    if matches!(submitted, Err(ConfigError::Signatures(_))) {
        shared.services.access.audit_denial(&caller.actor.id, "approval.sign", &proposal.id).await;
    }
    Ok(submitted?)
}

async fn sign_for_the_fleet(
    shared: &Shared,
    caller: &Caller,
    proposal: &Proposal,
    signature: &SignatureText,
) -> Outcome<Submitted> {
    caller.require(shared, Permission::Command, "approval.sign", &proposal.id).await?;
    let signature = read_signature(signature)?;
    let (id, actor) = (proposal.id.clone(), caller.actor.id.clone());
    if proposal.kind == ProposalKind::Floor {
        let submitted = super::floor::sign(shared, &actor, &id, signature).await?;
        return submitted.map_err(Failure::from);
    }
    let submitted = match proposal.kind {
        ProposalKind::Authority => {
            let authorities = shared.services.authorities.clone();
            shared.to_end(async move { authorities.add_signature(&actor, &id, signature).await }).await?
        }
        ProposalKind::Catalogue => {
            let catalogues = shared.services.catalogues.clone();
            shared.to_end(async move { catalogues.add_signature(&actor, &id, signature).await }).await?
        }
        ProposalKind::Order | ProposalKind::Generation | ProposalKind::Floor => return Err(Failure::broken()),
    };
    if matches!(submitted, Err(SubmitError::Signatures(_))) {
        shared.services.access.audit_denial(&caller.actor.id, "approval.sign", &proposal.id).await;
    }
    Ok(submitted?)
}
