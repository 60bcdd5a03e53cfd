//! Requests of people who are signed in, against real access records and a real audit log.

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use campanile_common::api::{AccessRole, ApiTokenRequest, AuditOutcome, Grant, PersonRequest};
use serde_json::{Value, json};

use super::site::{Site, problem, site, text};
use crate::access::Actor;
use crate::audit::AuditQuery;

pub(super) async fn first_admin(site: &Site) -> Actor {
    let created = site.services.access.ensure_first_person().await.unwrap().unwrap();
    let secret = created.link.split_once('=').unwrap().1.to_owned();
    site.services.access.sign_in_with_link(&secret, "192.0.2.1").await.unwrap().actor
}

pub(super) async fn token(site: &Site, by: &Actor, role: AccessRole, selector: &str) -> String {
    let grants = vec![Grant { role, selector: selector.to_owned() }];
    let request = ApiTokenRequest { name: "test".to_owned(), grants, ttl_seconds: 3600 };
    site.services.access.create_api_token(by, request).await.unwrap().token
}

pub(super) fn request(method: &str, path: &str, token: &str, body: Option<Value>) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap()
}

pub(super) async fn json_of(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
async fn a_link_signs_in_and_its_cookie_signs_out_from_our_own_page_only() {
    let site = site().await;
    let created = site.services.access.ensure_first_person().await.unwrap().unwrap();
    let secret = created.link.split_once('=').unwrap().1.to_owned();
    let sign_in = || {
        Request::post("/api/v1/session/link")
            .header("content-type", "application/json")
            .body(Body::from(json!({"link": secret}).to_string()))
            .unwrap()
    };
    let response = site.answer(sign_in()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(site.answer(sign_in()).await.status(), StatusCode::UNAUTHORIZED, "a link works once");

    let with_cookie = |method: &str, site: &str| {
        Request::builder()
            .method(method)
            .uri("/api/v1/session")
            .header("cookie", &cookie)
            .header("sec-fetch-site", site)
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(site.answer(with_cookie("GET", "same-origin")).await.status(), StatusCode::OK);
    assert_eq!(site.answer(with_cookie("DELETE", "cross-site")).await.status(), StatusCode::FORBIDDEN);
    let response = site.answer(with_cookie("DELETE", "same-origin")).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(response.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(site.answer(with_cookie("GET", "same-origin")).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_denial_is_answered_and_audited() {
    let site = site().await;
    let admin = first_admin(&site).await;
    let viewer = token(&site, &admin, AccessRole::Viewer, "").await;
    let response =
        site.answer(request("PUT", "/api/v1/log-level", &viewer, Some(json!({"level": "debug"})))).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(problem(response).await.code, "denied");
    let query =
        AuditQuery { limit: 10, action: Some("log-level.change".to_owned()), ..AuditQuery::default() };
    let entries = site.services.audit.list(query).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].outcome, AuditOutcome::Denied);
    assert_eq!(site.services.log_level.get(), "info");
}

#[tokio::test]
async fn the_log_level_is_changed_and_the_change_audited() {
    let site = site().await;
    let admin = first_admin(&site).await;
    let token = token(&site, &admin, AccessRole::Admin, "").await;
    let change = |level: &str| request("PUT", "/api/v1/log-level", &token, Some(json!({"level": level})));
    assert_eq!(json_of(site.answer(change("debug")).await).await, json!({"level": "debug"}));
    assert_eq!(site.answer(change("loud")).await.status(), StatusCode::BAD_REQUEST);
    let path = "/api/v1/audit?action=log-level.change";
    let page = json_of(site.answer(request("GET", path, &token, None)).await).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(page["items"][0]["detail"], json!("info -> debug"));
    let verified = json_of(site.answer(request("GET", "/api/v1/audit/verify", &token, None)).await).await;
    assert_eq!(verified["intact"], json!(true));
}

#[tokio::test]
async fn a_post_that_is_sent_again_with_its_key_has_one_effect() {
    let site = site().await;
    let admin = first_admin(&site).await;
    let token = token(&site, &admin, AccessRole::Admin, "").await;
    let router = super::super::router(site.services.clone());
    let send = async |name: &str| {
        let mut request =
            request("POST", "/api/v1/people", &token, Some(json!({"name": name, "grants": []})));
        request.headers_mut().insert("idempotency-key", "one".parse().unwrap());
        tower::ServiceExt::oneshot(router.clone(), request).await.unwrap()
    };
    let first = send("bob").await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let again = send("bob").await;
    assert_eq!(again.status(), StatusCode::CREATED);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(text(first).await, text(again).await);
    assert_eq!(send("eve").await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(site.services.access.people().await.unwrap().len(), 2);
}

#[tokio::test]
async fn people_come_in_pages() {
    let site = site().await;
    let admin = first_admin(&site).await;
    for name in ["bob", "cid"] {
        let request = PersonRequest { name: name.to_owned(), grants: Vec::new() };
        site.services.access.add_person(&admin, request).await.unwrap();
    }
    let token = token(&site, &admin, AccessRole::Admin, "").await;
    let first = json_of(site.answer(request("GET", "/api/v1/people?limit=2", &token, None)).await).await;
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let cursor = first["nextCursor"].as_str().unwrap();
    let path = format!("/api/v1/people?limit=2&cursor={cursor}");
    let second = json_of(site.answer(request("GET", &path, &token, None)).await).await;
    assert_eq!((second["items"].as_array().unwrap().len(), &second["nextCursor"]), (1, &Value::Null));
}
