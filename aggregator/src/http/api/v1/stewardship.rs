//! What a node's steward says: what it would accept, its units, its audit chain, the checkpoints it keeps.

use axum::Json;
use axum::extract::{Path, State};
use campanile_common::api::{
    AuditCheckpoint, AuditEntry, AuditPoint, NodeAudit, NodeStewardship, Problem, ServiceState,
};
use campanile_common::authority::is_unit_name;
use campanile_common::wire::v1::request::{
    AUDIT_ENTRIES_MAX, CHECKPOINTS_MAX, Reply, Request, StewardDescription,
};
use data_encoding::BASE64;
use serde::Deserialize;

use crate::access::Permission;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::request::{NoParams, Params, Segment};
use crate::http::{App, Shared};
use crate::node::NodeView;

/// Which entries.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditParams {
    /// Only entries after this sequence.
    #[serde(default)]
    after: u64,
    /// At most so many, 1 to 64; 64 unless said otherwise.
    limit: Option<u16>,
}

/// How many checkpoints.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CheckpointParams {
    /// At most so many, 1 to 128, spread over all that the node keeps; 128 unless said otherwise.
    limit: Option<u16>,
}

fn bounded(asked: Option<u16>, most: u16) -> Outcome<u16> {
    match asked {
        None => Ok(most),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Failure::invalid(format!("limit must be 1 to {most}"))),
    }
}

/// Asks the node; what its policy denies is denied to the caller, with the node's reason.
async fn ask(shared: &Shared, view: &NodeView, request: Request) -> Outcome<Reply> {
    match shared.services.nodes.ask(view.node.node_id, request).await? {
        Reply::Denied(denial) => Err(Failure::denied(format!("node `{}`: {denial}", view.node.name))),
        reply => Ok(reply),
    }
}

fn unexpected(shared: &Shared, view: &NodeView) -> Failure {
    shared.services.nodes.unexpected(view.node.node_id).into()
}

fn to_api(description: StewardDescription) -> NodeStewardship {
    NodeStewardship {
        highest_tier: description.policy.highest_tier.number(),
        explanation: description.policy.explain(),
        policy_source: description.policy_source,
        policy: description.policy,
        authority_version: description.authority_version,
        catalogue_version: description.catalogue_version,
        user: description.user,
        transient_units: description.has_units,
        journal_writable: description.journal.is_some(),
        running: description.running,
    }
}

/// What the node would accept and why, as its steward says now.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}/stewardship", tag = "nodes", params(("idOrName" = String, Path)),
    responses((status = 200, body = NodeStewardship), (status = "4XX", body = Problem))
)]
pub(super) async fn stewardship(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<NodeStewardship>> {
    let view = caller.node(&shared, &id_or_name, Permission::Read, "node.stewardship").await?;
    match ask(&shared, &view, Request::Describe).await? {
        Reply::Description(description) => Ok(Json(to_api(*description))),
        _ => Err(unexpected(&shared, &view)),
    }
}

/// State of a unit of the node, where its policy lets units be observed.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}/units/{unit}", tag = "nodes",
    params(("idOrName" = String, Path), ("unit" = String, Path)),
    responses((status = 200, body = ServiceState), (status = "4XX", body = Problem))
)]
pub(super) async fn unit(
    State(shared): App,
    caller: Caller,
    Path((id_or_name, unit)): Path<(String, String)>,
    _: Params<NoParams>,
) -> Outcome<Json<ServiceState>> {
    if !is_unit_name(&unit) {
        return Err(Failure::invalid(format!("`{unit}` is no name of a unit, e.g. nginx.service")));
    }
    let view = caller.node(&shared, &id_or_name, Permission::Observe, "node.unit").await?;
    match ask(&shared, &view, Request::Unit { unit }).await? {
        Reply::Unit(state) => Ok(Json(ServiceState {
            node: view.node.name,
            unit: state.unit,
            description: state.description,
            load: state.load,
            active: state.active,
            sub: state.sub,
            enabled: state.enabled,
            main_pid: state.main_pid,
            restarts: state.restarts,
            since: state.since,
            result: state.result,
        })),
        _ => Err(unexpected(&shared, &view)),
    }
}

/// Entries of the node's own audit chain, oldest first.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}/audit", tag = "audit",
    params(("idOrName" = String, Path), AuditParams),
    responses((status = 200, body = NodeAudit), (status = "4XX", body = Problem))
)]
pub(super) async fn audit(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    Params(params): Params<AuditParams>,
) -> Outcome<Json<NodeAudit>> {
    let limit = bounded(params.limit, AUDIT_ENTRIES_MAX)?;
    let view = caller.node(&shared, &id_or_name, Permission::ReadAudit, "node.audit").await?;
    let reply = ask(&shared, &view, Request::Audit { after: params.after, limit }).await?;
    let Reply::Audit(lines) = reply else { return Err(unexpected(&shared, &view)) };
    let entries: Vec<AuditEntry> = lines
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect::<Result<_, _>>()
        .map_err(|_| unexpected(&shared, &view))?;
    let witness = shared.services.orders.witness(view.node.node_id);
    let witnessed = witness
        .and_then(|witness| witness.audit)
        .map(|point| AuditPoint { sequence: point.sequence, hash: point.hash });
    Ok(Json(NodeAudit { entries, witnessed }))
}

/// Checkpoints of the aggregator's audit log that the node keeps as a witness, oldest first.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}/checkpoints", tag = "audit",
    params(("idOrName" = String, Path), CheckpointParams),
    responses((status = 200, body = [AuditCheckpoint]), (status = "4XX", body = Problem))
)]
pub(super) async fn checkpoints(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    Params(params): Params<CheckpointParams>,
) -> Outcome<Json<Vec<AuditCheckpoint>>> {
    let limit = bounded(params.limit, CHECKPOINTS_MAX)?;
    let view = caller.node(&shared, &id_or_name, Permission::ReadAudit, "node.checkpoints").await?;
    let reply = ask(&shared, &view, Request::Checkpoints { limit }).await?;
    let Reply::Checkpoints(kept) = reply else { return Err(unexpected(&shared, &view)) };
    let checkpoints = kept.into_iter().map(|checkpoint| AuditCheckpoint {
        sequence: checkpoint.sequence,
        hash: checkpoint.hash,
        time: checkpoint.time,
        signature: BASE64.encode(&checkpoint.signature),
    });
    Ok(Json(checkpoints.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_past_what_a_reply_holds_is_refused_and_not_cut() {
        assert_eq!(bounded(None, 64), Ok(64));
        assert_eq!(bounded(Some(1), 64), Ok(1));
        assert!(bounded(Some(0), 64).is_err());
        assert!(bounded(Some(65), 64).is_err());
    }
}
