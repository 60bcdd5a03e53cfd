//! Orders and approvals as people and their tools submit, read and sign them. No node is connected: what nodes answer
//! is tested with the task, and from outside.

use axum::http::StatusCode;
use campanile_common::api::{AccessRole, OrderRequest};
use campanile_common::authority::{Action, BackupAction, Order, RestorePlace, Tier};
use serde_json::{Value, json};

use super::signed_in::{first_admin, json_of, request, token};
use super::site::{Site, problem, site_with, text};
use crate::audit::AuditQuery;
use crate::order::fixture::{node, order, request as signed};

const NODES: &[(u8, &str)] = &[(1, "role=web"), (2, "role=db")];

struct Desk {
    site: Site,
    admin: String,
}

impl Desk {
    async fn open() -> Self {
        Self::open_with(NODES).await
    }

    async fn open_with(nodes: &[(u8, &str)]) -> Self {
        let site = site_with(nodes).await;
        let by = first_admin(&site).await;
        let admin = token(&site, &by, AccessRole::Admin, "").await;
        Self { site, admin }
    }

    async fn token(&self, role: AccessRole, selector: &str) -> String {
        let by = self.site.services.access.bearer(&self.admin).await.unwrap();
        token(&self.site, &by, role, selector).await
    }

    async fn submit(&self, token: &str, asked: &OrderRequest) -> axum::response::Response {
        let body = serde_json::to_value(asked).unwrap();
        self.site.answer(request("POST", "/api/v1/orders", token, Some(body))).await
    }

    async fn get(&self, token: &str, path: &str) -> axum::response::Response {
        self.site.answer(request("GET", path, token, None)).await
    }

    /// The order, which must be accepted.
    async fn accepted(&self, asked: &OrderRequest) -> Value {
        let response = self.submit(&self.admin, asked).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        json_of(response).await
    }
}

/// Waits for its nodes, so that it stays in progress.
fn queued(number: u8, nodes: &[u8]) -> OrderRequest {
    let mut asked = signed(&order(number, nodes), &[1]);
    asked.dispatch.queue = true;
    asked
}

#[tokio::test]
async fn an_order_is_submitted_shown_listed_and_withdrawn() {
    let desk = Desk::open().await;
    let made = desk.accepted(&queued(1, &[1, 2])).await;
    let id = made["orderId"].as_str().unwrap();
    assert_eq!((&made["state"], &made["counts"]["queued"]), (&json!("done"), &json!(2)));
    assert_eq!((&made["kind"], &made["action"], &made["tier"]), (&json!("run"), &json!("true"), &json!(2)));
    let shown = json_of(desk.get(&desk.admin, &format!("/api/v1/orders/{id}")).await).await;
    assert_eq!(shown["targets"][0]["name"], "node-1");
    let page = json_of(desk.get(&desk.admin, "/api/v1/orders?state=done").await).await;
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["targets"]), (1, &json!([])));
    let cancel = format!("/api/v1/orders/{id}/cancel");
    let cancelled = json_of(desk.site.answer(request("POST", &cancel, &desk.admin, None)).await).await;
    assert_eq!((&cancelled["state"], &cancelled["counts"]["skipped"]), (&json!("cancelled"), &json!(2)));
    let again = desk.site.answer(request("POST", &cancel, &desk.admin, None)).await;
    assert_eq!(problem(again).await.code, "conflict");
    let query = AuditQuery { limit: 10, action: Some("order.cancel".to_owned()), ..AuditQuery::default() };
    let entries = desk.site.services.audit.list(query).await.unwrap();
    assert_eq!(entries[0].target, format!("order:{id}"));
}

#[tokio::test]
async fn the_answer_to_an_order_for_many_nodes_stays_short() {
    let numbers: Vec<u8> = (1..=120).collect();
    let nodes: Vec<(u8, &str)> = numbers.iter().map(|number| (*number, "role=web")).collect();
    let desk = Desk::open_with(&nodes).await;
    let made = desk.accepted(&queued(1, &numbers)).await;
    assert_eq!((&made["targets"], &made["counts"]["targeted"]), (&json!([]), &json!(120)));
    let path = format!("/api/v1/orders/{}", made["orderId"].as_str().unwrap());
    let shown = json_of(desk.get(&desk.admin, &path).await).await;
    assert_eq!(shown["targets"].as_array().unwrap().len(), 120);
}

#[tokio::test]
async fn refusals_have_their_own_codes() {
    let desk = Desk::open().await;
    let code = async |asked: &OrderRequest| {
        let response = desk.submit(&desk.admin, asked).await;
        (response.status().as_u16(), problem(response).await.code)
    };
    assert_eq!(code(&signed(&order(1, &[1]), &[])).await, (403, "signatures".to_owned()));
    let stale = Order { authority_version: 5, ..order(1, &[1]) };
    assert_eq!(code(&signed(&stale, &[1])).await, (409, "stale".to_owned()));
    assert_eq!(code(&signed(&order(1, &[7]), &[1])).await, (422, "invalid".to_owned()));
    desk.accepted(&queued(1, &[1])).await;
    assert_eq!(code(&queued(1, &[2])).await, (409, "conflict".to_owned()));
    desk.site.services.freezer.freeze("person:ada", "test").await.unwrap();
    assert_eq!(code(&queued(2, &[1])).await, (423, "frozen".to_owned()));
    let missing = desk.get(&desk.admin, "/api/v1/orders/00").await;
    assert_eq!(problem(missing).await.code, "not_found");
}

#[tokio::test]
async fn a_role_on_a_part_denies_the_rest_and_no_role_at_all_refuses() {
    let desk = Desk::open().await;
    let operator = desk.token(AccessRole::Operator, "role=web").await;
    let response = desk.submit(&operator, &queued(1, &[1, 2])).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let made = json_of(response).await;
    let id = made["orderId"].as_str().unwrap().to_owned();
    assert_eq!((&made["counts"]["denied"], &made["counts"]["queued"]), (&json!(1), &json!(1)));
    let denied = desk.submit(&operator, &queued(2, &[2])).await;
    assert_eq!(problem(denied).await.code, "denied");
    let viewer = desk.token(AccessRole::Viewer, "").await;
    assert_eq!(desk.submit(&viewer, &queued(3, &[1])).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(desk.get(&viewer, "/api/v1/orders").await.status(), StatusCode::FORBIDDEN);

    // Who sees one node sees the order as if it were for that node alone.
    let part = json_of(desk.get(&operator, &format!("/api/v1/orders/{id}")).await).await;
    assert_eq!((&part["counts"]["targeted"], part["targets"].as_array().unwrap().len()), (&json!(1), 1));
    let other = desk.accepted(&queued(4, &[2])).await;
    let other = other["orderId"].as_str().unwrap();
    let hidden = desk.get(&operator, &format!("/api/v1/orders/{other}")).await;
    assert_eq!(hidden.status(), StatusCode::NOT_FOUND);
    let page = json_of(desk.get(&operator, "/api/v1/orders").await).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn whoever_has_files_of_one_node_restored_on_another_has_a_role_for_both() {
    let desk = Desk::open().await;
    let operator = desk.token(AccessRole::Operator, "role=web").await;
    let from = |number, source| {
        let action = Action::Backup(BackupAction::RestoreFrom {
            source: node(source),
            policy: "etc".parse().unwrap(),
            snapshot: "latest".to_owned(),
            paths: Vec::new(),
            to: RestorePlace::Folder("/srv/restored".to_owned()),
            sealed: vec![1],
            is_tried: false,
        });
        let mut asked = signed(&Order { action, ..order(number, &[1]) }, &[1]);
        asked.dispatch.queue = true;
        asked
    };
    let denied = desk.submit(&operator, &from(1, 2)).await;
    assert_eq!(problem(denied).await.code, "denied");
    assert_eq!(desk.submit(&operator, &from(2, 1)).await.status(), StatusCode::CREATED);
    desk.accepted(&from(3, 2)).await;
}

#[tokio::test]
async fn pages_of_orders_go_from_the_newest_to_the_oldest() {
    let desk = Desk::open().await;
    for number in 1..=3 {
        desk.accepted(&queued(number, &[1])).await;
    }
    let first = json_of(desk.get(&desk.admin, "/api/v1/orders?limit=2").await).await;
    let cursor = first["nextCursor"].as_str().unwrap();
    let second =
        json_of(desk.get(&desk.admin, &format!("/api/v1/orders?limit=2&cursor={cursor}")).await).await;
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|o| o["orderId"].as_str().unwrap().to_owned()).collect()
    };
    let all = [ids(&first), ids(&second)].concat();
    let expected: Vec<String> = (1..=3).rev().map(|number| order(number, &[1]).id.to_string()).collect();
    assert_eq!((all, second["nextCursor"].is_null()), (expected, true));
}

#[tokio::test]
async fn a_critical_order_is_approved_by_a_second_operator() {
    let desk = Desk::open().await;
    let critical = Order { tier: Tier::Critical, ..order(1, &[1]) };
    let mut asked = signed(&critical, &[1]);
    asked.dispatch.queue = true;
    let made = desk.accepted(&asked).await;
    assert_eq!(made["state"], "proposed");
    let id = made["orderId"].as_str().unwrap();
    let page = json_of(desk.get(&desk.admin, "/api/v1/approvals").await).await;
    assert_eq!((&page["items"][0]["id"], &page["items"][0]["signaturesNeeded"]), (&json!(id), &json!(2)));
    let sign = |by: u8| {
        let signature = serde_json::to_value(&signed(&critical, &[by]).order.signatures[0]).unwrap();
        request("POST", &format!("/api/v1/approvals/{id}/signatures"), &desk.admin, Some(signature))
    };
    assert_eq!(problem(desk.site.answer(sign(1)).await).await.code, "conflict");
    assert_eq!(problem(desk.site.answer(sign(7)).await).await.code, "signatures");
    let submitted = json_of(desk.site.answer(sign(2)).await).await;
    assert_eq!((&submitted["inForce"], &submitted["signedBy"]), (&json!(true), &json!(["op-1", "op-2"])));
    let gone = desk.get(&desk.admin, &format!("/api/v1/approvals/{id}")).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_event_stream_of_an_order_that_waits_for_nobody_tells_all_and_ends() {
    let desk = Desk::open().await;
    let made = desk.accepted(&queued(1, &[1])).await;
    let id = made["orderId"].as_str().unwrap();
    let response = desk.get(&desk.admin, &format!("/api/v1/orders/{id}/events")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = text(response).await;
    let kinds: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(kinds, ["target", "order"]);
    let unknown = node(9);
    let output = desk.get(&desk.admin, &format!("/api/v1/orders/{id}/output/{unknown}")).await;
    assert_eq!(output.status(), StatusCode::NOT_FOUND);
}
