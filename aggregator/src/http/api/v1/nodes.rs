//! Nodes: list, show, rename and label, retire, heaviest processes.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use campanile_common::api::{Node, NodePatch, NodeState, Page, Problem, TopProcesses};
use campanile_common::label::Labels;
use campanile_common::selector::{Selector, Subject};
use serde::Deserialize;

use crate::access::{Actor, Permission};
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::paging::{self, Place};
use crate::http::request::{Body, NoParams, Params, Segment};
use crate::http::sight::{self, Sight};
use crate::node::NodeView;

/// Processes listed when the caller does not say how many.
const TOP_COUNT_DEFAULT: u16 = 10;
/// Most processes of one answer.
const TOP_COUNT_MAX: u16 = 100;

/// Which nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StateFilter {
    /// Those of the roster.
    #[default]
    Active,
    /// Those taken out.
    Retired,
    /// Both.
    All,
}

/// Which nodes, and which page of them.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Label selector, e.g. `role=web,region!=us`.
    #[serde(default)]
    selector: String,
    /// Active nodes unless said otherwise.
    #[serde(default)]
    #[param(inline)]
    state: StateFilter,
    /// Entries per page, 1 to 1000.
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// How many processes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopParams {
    /// 1 to 100; 10 unless said otherwise.
    count: Option<u16>,
}

fn place(view: &&NodeView) -> Place {
    Place::new(view.node.name.clone(), view.node.node_id.to_string())
}

fn selects(selector: &Selector, node: &Node) -> bool {
    let id = node.node_id.to_string();
    selector.matches(&Subject { id: &id, name: &node.name, labels: &node.labels })
}

fn page_of(sight: &Sight, params: &ListParams) -> Outcome<Page<Node>> {
    let selector = sight::selector(&params.selector)?;
    let chosen = sight.nodes().filter(|view| match params.state {
        StateFilter::Active => view.node.state == NodeState::Active,
        StateFilter::Retired => view.node.state == NodeState::Retired,
        StateFilter::All => true,
    });
    let selected = chosen.filter(|view| selector.is_everything() || selects(&selector, &view.node));
    let page = paging::page(selected, place, paging::limit(params.limit)?, params.cursor.as_deref())?;
    let items = page.items.into_iter().map(|view| view.node.clone()).collect();
    Ok(Page { items, next_cursor: page.next_cursor })
}

fn with_etag(node: Node) -> Response {
    ([(header::ETAG, etag(&node))], Json(node)).into_response()
}

fn etag(node: &Node) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", node.revision)).expect("digits in quotes are a header value")
}

/// The revision that `If-Match` demands; none without it or with `*`.
fn demanded_revision(headers: &HeaderMap) -> Outcome<Option<u64>> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let digits = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(revision) => Ok(Some(revision)),
        // Any other tag is none of ours, so it cannot match.
        None => Err(Failure::precondition_failed("If-Match names no revision of this node; read it again")),
    }
}

/// The nodes that the caller may see, in order of their names.
#[utoipa::path(
    get, path = "/api/v1/nodes", tag = "nodes", params(ListParams),
    responses((status = 200, body = Page<Node>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Outcome<Json<Page<Node>>> {
    let sight = caller.sight(&shared, "node.list").await?;
    Ok(Json(page_of(&sight, &params)?))
}

/// One node, by id or name. The ETag is its revision.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}", tag = "nodes", params(("idOrName" = String, Path)),
    responses((status = 200, body = Node), (status = "4XX", body = Problem))
)]
pub(super) async fn show(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    _: Params<NoParams>,
) -> Outcome<Response> {
    let view = caller.node(&shared, &id_or_name, Permission::Read, "node.read").await?;
    Ok(with_etag(view.node))
}

/// Renames or labels a node. With `If-Match`, only when nobody changed it since it was read.
#[utoipa::path(
    patch, path = "/api/v1/nodes/{idOrName}", tag = "nodes", request_body = NodePatch,
    params(("idOrName" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Node), (status = "4XX", body = Problem))
)]
pub(super) async fn change(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    _: Params<NoParams>,
    headers: HeaderMap,
    Body(patch): Body<NodePatch>,
) -> Outcome<Response> {
    let node = caller.node(&shared, &id_or_name, Permission::EditNode, "node.change").await?.node;
    let revision = demanded_revision(&headers)?;
    if revision.is_some_and(|revision| revision != node.revision) {
        return Err(Failure::precondition_failed("the node was changed since it was read; read it again"));
    }
    if !keeps_reach(&caller.actor, &node, &patched(&node, &patch)?) {
        return Err(caller.denied(&shared, "node.change", &format!("node/{}", node.node_id)).await);
    }
    // The reach was judged on this revision, so this one is changed and no later one.
    let node =
        shared.services.nodes.update(&caller.actor.id, node.node_id, patch, Some(node.revision)).await?;
    Ok(with_etag(node))
}

/// The node as the patch would leave it, as far as grants look at it.
fn patched(node: &Node, patch: &NodePatch) -> Outcome<Node> {
    let mut labels: Labels = node.labels.clone();
    for (key, value) in &patch.labels {
        match value {
            Some(value) => labels.set(key, value).map_err(|error| Failure::invalid(error.to_string()))?,
            None => drop(labels.remove(key)),
        }
    }
    let name = patch.name.clone().unwrap_or_else(|| node.name.clone());
    Ok(Node { name, labels, ..node.clone() })
}

/// Labels decide who may do what. A change of them may neither take a node out of the caller's own reach nor give
/// the caller more over it than before.
fn keeps_reach(actor: &Actor, before: &Node, after: &Node) -> bool {
    let may = |permission, node| crate::http::sight::may(actor, permission, node);
    may(Permission::EditNode, after)
        && Permission::ALL.into_iter().all(|permission| !may(permission, after) || may(permission, before))
}

/// Takes a node out of the fleet for good: its key is refused and its id never used again.
#[utoipa::path(
    post, path = "/api/v1/nodes/{idOrName}/retire", tag = "nodes", params(("idOrName" = String, Path)),
    responses((status = 200, body = Node), (status = "4XX", body = Problem))
)]
pub(super) async fn retire(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    _: Params<NoParams>,
) -> Outcome<Response> {
    let view = caller.node(&shared, &id_or_name, Permission::RetireNode, "node.retire").await?;
    Ok(with_etag(shared.services.nodes.retire(&caller.actor.id, view.node.node_id).await?))
}

/// Asks the node for its heaviest processes.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}/top", tag = "nodes",
    params(("idOrName" = String, Path), TopParams),
    responses((status = 200, body = TopProcesses), (status = "4XX", body = Problem))
)]
pub(super) async fn top(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    Params(params): Params<TopParams>,
) -> Outcome<Json<TopProcesses>> {
    let count = params.count.unwrap_or(TOP_COUNT_DEFAULT);
    if !(1..=TOP_COUNT_MAX).contains(&count) {
        return Err(Failure::invalid(format!("count must be 1 to {TOP_COUNT_MAX}")));
    }
    let view = caller.node(&shared, &id_or_name, Permission::Observe, "node.top").await?;
    Ok(Json(shared.services.nodes.top(view.node.node_id, count).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture;
    use campanile_common::api::{AccessRole, Grant};
    use campanile_common::time::Timestamp;

    fn names(page: &Page<Node>) -> Vec<&str> {
        page.items.iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn retired_nodes_are_listed_only_when_asked_for() {
        let sight = Sight::of_everything(fixture::fleet());
        let list = |state| page_of(&sight, &ListParams { state, ..ListParams::default() }).unwrap();
        assert_eq!(names(&list(StateFilter::Active)), ["db-1", "web-1", "web-2"]);
        assert_eq!(names(&list(StateFilter::Retired)), ["web-0"]);
        assert_eq!(list(StateFilter::All).items.len(), 4);
    }

    #[test]
    fn a_selector_chooses_and_a_bad_one_is_refused() {
        let sight = Sight::of_everything(fixture::fleet());
        let list = |selector: &str| {
            page_of(&sight, &ListParams { selector: selector.to_owned(), ..ListParams::default() })
        };
        assert_eq!(names(&list("role=web").unwrap()), ["web-1", "web-2"]);
        assert_eq!(names(&list("name=db-*").unwrap()), ["db-1"]);
        assert_eq!(list("role in (web").unwrap_err().problem().code, "invalid");
    }

    #[test]
    fn if_match_is_a_revision_in_quotes() {
        let demanded = |text: &'static str| {
            demanded_revision(&HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_static(text))]))
        };
        assert_eq!(demanded("\"7\""), Ok(Some(7)));
        assert_eq!(demanded("*"), Ok(None));
        assert_eq!(demanded_revision(&HeaderMap::new()), Ok(None));
        assert_eq!(demanded("7").unwrap_err().problem().code, "precondition_failed");
        assert_eq!(demanded("W/\"7\"").unwrap_err().problem().code, "precondition_failed");
    }

    #[test]
    fn a_patch_is_previewed_with_its_labels_and_name() {
        let node = fixture::node("web-1", 1, "role=web,zone=a");
        let patch = NodePatch {
            name: Some("web-9".into()),
            labels: [("zone".into(), None), ("tier".into(), Some("x".into()))].into(),
        };
        let after = patched(&node, &patch).unwrap();
        assert_eq!((after.name.as_str(), after.labels.to_string().as_str()), ("web-9", "role=web,tier=x"));
        let bad = NodePatch { name: None, labels: [("a b".into(), Some("x".into()))].into() };
        assert_eq!(patched(&node, &bad).unwrap_err().problem().code, "invalid");
    }

    #[test]
    fn a_change_of_labels_neither_loses_nor_gains_reach() {
        let operator = crate::http::tests::actor(AccessRole::Operator, "role=web");
        let before = fixture::node("web-1", 1, "role=web");
        assert!(keeps_reach(&operator, &before, &fixture::node("web-2", 1, "role=web,zone=b")));
        assert!(!keeps_reach(&operator, &before, &fixture::node("web-1", 1, "role=db")));

        let grant = |role, selector: &str| Grant { role, selector: selector.to_owned() };
        let grants = vec![grant(AccessRole::Operator, "role=web"), grant(AccessRole::Admin, "mine=yes")];
        let both = Actor::new("person:ada".into(), "ada".into(), grants, Timestamp::from_millis(u64::MAX));
        assert!(!keeps_reach(&both, &before, &fixture::node("web-1", 1, "role=web,mine=yes")));
    }
}
