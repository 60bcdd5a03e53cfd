//! The audit log.

use axum::Json;
use axum::extract::State;
use campanile_common::api::{AuditEntry, AuditVerification, Page, Problem};
use campanile_common::time::Timestamp;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::access::Permission;
use crate::audit::AuditQuery;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::paging;
use crate::http::request::{NoParams, Params};

/// Which entries.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only entries after this sequence.
    after: Option<u64>,
    /// `nextCursor` of the page before; instead of `after`.
    cursor: Option<String>,
    /// Entries per page, 1 to 1000.
    limit: Option<usize>,
    /// Only of this actor.
    actor: Option<String>,
    /// Only of this action, e.g. `node.retire`.
    action: Option<String>,
    /// Only since this time.
    #[param(value_type = Option<String>)]
    since: Option<String>,
    /// The newest matching entries instead of the oldest; still in ascending order.
    #[serde(default)]
    newest: bool,
}

/// One more than the page holds is asked for, which tells whether there is another page.
fn query(params: ListParams) -> Outcome<(AuditQuery, usize)> {
    let limit = paging::limit(params.limit)?;
    let after = match (params.after, params.cursor) {
        (Some(_), Some(_)) => return Err(Failure::invalid("give `after` or `cursor`, not both")),
        (Some(after), None) => after,
        (None, Some(cursor)) => cursor
            .parse()
            .map_err(|_| Failure::invalid("the cursor is none that this list gave; begin without one"))?,
        (None, None) => 0,
    };
    let since: Option<Timestamp> = params
        .since
        .map(|since| since.parse())
        .transpose()
        .map_err(|error: campanile_common::time::TimestampError| Failure::invalid(error.to_string()))?;
    let asked = if params.newest { limit } else { limit + 1 };
    let (actor, action, newest) = (params.actor, params.action, params.newest);
    Ok((AuditQuery { after, limit: asked, actor, action, since, newest }, limit))
}

fn page(mut entries: Vec<AuditEntry>, limit: usize) -> Page<AuditEntry> {
    let is_last = entries.len() <= limit;
    entries.truncate(limit);
    let next_cursor = entries.last().filter(|_| !is_last).map(|entry| entry.sequence.to_string());
    Page { items: entries, next_cursor }
}

/// Entries of the audit log in ascending order.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", params(ListParams),
    responses((status = 200, body = Page<AuditEntry>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Outcome<Json<Page<AuditEntry>>> {
    caller.require(&shared, Permission::ReadAudit, "audit.list", "audit").await?;
    let (query, limit) = query(params)?;
    Ok(Json(page(shared.services.audit.list(query).await?, limit)))
}

/// Verifies the whole chain and names the first entry that is not as it was written.
#[utoipa::path(
    get, path = "/api/v1/audit/verify", tag = "audit",
    responses((status = 200, body = AuditVerification), (status = "4XX", body = Problem))
)]
pub(super) async fn verify(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
) -> Outcome<Json<AuditVerification>> {
    caller.require(&shared, Permission::ReadAudit, "audit.verify", "audit").await?;
    Ok(Json(shared.services.audit.verify().await?))
}

/// The public half of the key that signs checkpoints of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckpointKey {
    /// The 32 bytes of an Ed25519 key, in standard base64.
    public_key: String,
}

/// The key with which checkpoints of the audit log are signed, for who verifies those that nodes keep.
#[utoipa::path(
    get, path = "/api/v1/audit/key", tag = "audit",
    responses((status = 200, body = CheckpointKey), (status = "4XX", body = Problem))
)]
pub(super) async fn key(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
) -> Outcome<Json<CheckpointKey>> {
    caller.require(&shared, Permission::ReadAudit, "audit.key", "audit").await?;
    Ok(Json(CheckpointKey { public_key: BASE64.encode(&shared.services.audit.public_key()) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::api::AuditOutcome;
    use campanile_common::id::Digest;

    fn entry(sequence: u64) -> AuditEntry {
        AuditEntry {
            sequence,
            previous: Digest::from_bytes([0; 32]),
            time: Timestamp::from_millis(sequence),
            actor: "local".into(),
            action: "a.b".into(),
            target: String::new(),
            outcome: AuditOutcome::Ok,
            detail: String::new(),
            hash: Digest::from_bytes([1; 32]),
        }
    }

    #[test]
    fn the_cursor_continues_where_the_page_ended() {
        let (asked, limit) = query(ListParams { limit: Some(2), ..ListParams::default() }).unwrap();
        assert_eq!(asked.limit, 3);
        let page = page(vec![entry(4), entry(5), entry(9)], limit);
        assert_eq!(page.items.len(), 2);
        let next = ListParams { cursor: page.next_cursor, ..ListParams::default() };
        assert_eq!(query(next).unwrap().0.after, 5);
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        assert_eq!(page(vec![entry(1), entry(2)], 2).next_cursor, None);
        assert_eq!(page(Vec::new(), 2).next_cursor, None);
    }

    #[test]
    fn contradicting_and_unreadable_parameters_are_refused() {
        let both = ListParams { after: Some(1), cursor: Some("1".into()), ..ListParams::default() };
        assert!(query(both).is_err());
        assert!(query(ListParams { cursor: Some("x".into()), ..ListParams::default() }).is_err());
        assert!(query(ListParams { since: Some("yesterday".into()), ..ListParams::default() }).is_err());
    }
}
