//! Backups as the store sees them: how nodes stand, their snapshots, what waits for a person.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use campanile_common::api::{
    HoldSettlement, NodeBackup, NodeBackupDetail, Page, Problem, SettleHold, StoredKey, StoredSnapshot,
    UndeleteBackup,
};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use serde::Deserialize;

use crate::access::Permission;
use crate::backup::Settlement;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::paging::{self, PageParams, Place};
use crate::http::request::{Body, NoParams, Params, Segment};
use crate::http::{App, Shared};
use crate::node::NodeView;

/// Key files of one page: each has up to 64 KiB.
const KEYS_MAX: usize = 100;

/// Which nodes, and which page of them.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Label selector, e.g. `role=web,region!=us`.
    #[serde(default)]
    selector: String,
    /// Entries per page, 1 to 1000.
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Which snapshots, and which page of them.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SnapshotParams {
    /// Those too that were let go and can be brought back.
    #[serde(default)]
    deleted: bool,
    /// Entries per page, 1 to 1000.
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// How the backups of the nodes stand that the caller may see, in order of their names.
#[utoipa::path(
    get, path = "/api/v1/backups", tag = "backups", params(ListParams),
    responses((status = 200, body = Page<NodeBackup>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Outcome<Json<Page<NodeBackup>>> {
    let sight = caller.sight(&shared, "backup.list").await?;
    let page = sight.selected_page(&params.selector, params.limit, params.cursor.as_deref())?;
    let backups = &shared.services.backups;
    let items = page.items.into_iter().map(|view| backups.node_backup(view.node.node_id, &view.node.name));
    Ok(Json(Page { items: items.collect(), next_cursor: page.next_cursor }))
}

/// The backups of one node, by id or name, with what waits for a person and what is damaged.
#[utoipa::path(
    get, path = "/api/v1/backups/{idOrName}", tag = "backups", params(("idOrName" = String, Path)),
    responses((status = 200, body = NodeBackupDetail), (status = "4XX", body = Problem))
)]
pub(super) async fn show(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<NodeBackupDetail>> {
    let view = caller.node(&shared, &id_or_name, Permission::Read, "backup.read").await?;
    Ok(Json(detail(&shared, &view)))
}

fn detail(shared: &Shared, view: &NodeView) -> NodeBackupDetail {
    shared.services.backups.node_detail(view.node.node_id, &view.node.name)
}

/// The snapshots of a node by when they were received, newest first; with `deleted=true` those too that were let go and
/// can be brought back.
#[utoipa::path(
    get, path = "/api/v1/backups/{idOrName}/snapshots", tag = "backups",
    params(("idOrName" = String, Path), SnapshotParams),
    responses((status = 200, body = Page<StoredSnapshot>), (status = "4XX", body = Problem))
)]
pub(super) async fn snapshots(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    Params(params): Params<SnapshotParams>,
) -> Outcome<Json<Page<StoredSnapshot>>> {
    let view = caller.node(&shared, &id_or_name, Permission::Read, "backup.snapshots").await?;
    let found = shared.services.backups.snapshots(view.node.node_id, params.deleted);
    let place = |snapshot: &StoredSnapshot| {
        Place::new(newest_first(snapshot.received), snapshot.snapshot.to_string())
    };
    Ok(Json(paging::page(found, place, paging::limit(params.limit)?, params.cursor.as_deref())?))
}

/// The key files of a node's repository, newest first: who has the identity that one is for opens the repository with it.
/// 404 `backup_none` where the node stored nothing.
#[utoipa::path(
    get, path = "/api/v1/backups/{idOrName}/keys", tag = "backups",
    params(("idOrName" = String, Path), PageParams),
    responses((status = 200, body = Page<StoredKey>), (status = "4XX", body = Problem))
)]
pub(super) async fn keys(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    Params(params): Params<PageParams>,
) -> Outcome<Json<Page<StoredKey>>> {
    let view = caller.node(&shared, &id_or_name, Permission::Observe, "backup.keys").await?;
    let node = usable(&shared, &view)?;
    let limit = paging::limit(params.limit)?.min(KEYS_MAX);
    let place = |key: &StoredKey| Place::new(newest_first(key.received), key.key.to_string());
    let found = shared.services.backups.keys(node);
    let mut page = paging::page(found, place, limit, params.cursor.as_deref())?;
    let read = shared.services.backups.read_keys(node, page.items).await;
    page.items = read.map_err(|failure| Failure::of_store(failure, "backup_none"))?;
    Ok(Json(page))
}

/// What sorts by time, newest first: the further back, the greater the name.
fn newest_first(received: Timestamp) -> String {
    format!("{:020}", u64::MAX - received.as_millis())
}

/// Brings back a snapshot that was let go, with all that it needs, or everything. 404 `backup_none` where there is no
/// such.
#[utoipa::path(
    post, path = "/api/v1/backups/{idOrName}/undelete", tag = "backups", params(("idOrName" = String, Path)),
    request_body = UndeleteBackup,
    responses((status = 200, body = NodeBackupDetail), (status = "4XX", body = Problem))
)]
pub(super) async fn undelete(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    _: Params<NoParams>,
    Body(body): Body<UndeleteBackup>,
) -> Outcome<Json<NodeBackupDetail>> {
    let view = caller.node(&shared, &id_or_name, Permission::Backup, "backup.undelete").await?;
    let node = usable(&shared, &view)?;
    let (backups, actor) = (shared.services.backups.clone(), caller.actor.id.clone());
    let done = shared.to_end(async move { backups.undelete(node, body.snapshot, &actor).await }).await?;
    done.map_err(|failure| Failure::of_store(failure, "backup_none"))?;
    Ok(Json(detail(&shared, &view)))
}

/// Settles what waits for a person. `release`: it was as it should be, and what was proposed is decided by the rules;
/// `refuse`: what was proposed is dropped. 404 `backup_hold_none` where nothing waits under that number.
#[utoipa::path(
    post, path = "/api/v1/backups/{idOrName}/holds/{id}", tag = "backups",
    params(("idOrName" = String, Path), ("id" = u64, Path)), request_body = SettleHold,
    responses((status = 200, body = NodeBackupDetail), (status = "4XX", body = Problem))
)]
pub(super) async fn settle(
    State(shared): App,
    caller: Caller,
    Path((id_or_name, id)): Path<(String, String)>,
    _: Params<NoParams>,
    Body(body): Body<SettleHold>,
) -> Outcome<Json<NodeBackupDetail>> {
    let view = caller.node(&shared, &id_or_name, Permission::Backup, "backup.settle").await?;
    let id: u64 = id.parse().map_err(|_| Failure::invalid(format!("`{id}` is no number of a hold")))?;
    let node = usable(&shared, &view)?;
    let settlement = match body.settlement {
        HoldSettlement::Release => Settlement::Released,
        HoldSettlement::Refuse => Settlement::Refused,
    };
    let (backups, actor) = (shared.services.backups.clone(), caller.actor.id.clone());
    let done = shared.to_end(async move { backups.settle(node, id, settlement, &actor).await }).await?;
    done.map_err(|failure| Failure::of_store(failure, "backup_hold_none"))?;
    Ok(Json(detail(&shared, &view)))
}

/// The node, once it stored something and its part of the store can be used.
fn usable(shared: &Arc<Shared>, view: &NodeView) -> Outcome<NodeId> {
    let (node, backups) = (view.node.node_id, &shared.services.backups);
    if backups.is_broken(node) {
        return Err(Failure::backup_unusable(&view.node.name));
    }
    match backups.known(node) {
        Some(_) => Ok(node),
        None => Err(Failure::backup_none(&view.node.name)),
    }
}
