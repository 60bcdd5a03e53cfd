//! Generations and parts as people and their tools hand them in and read them.

#![expect(clippy::disallowed_methods, reason = "a part is damaged by hand")]

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use campanile_common::api::AccessRole;
use campanile_common::authority::{Action, ConfigMode, Order};
use campanile_common::config::{Generation, Purpose, part_digest};
use campanile_common::id::Digest;
use serde_json::json;

use super::signed_in::{first_admin, json_of, request, token};
use super::site::{Site, problem, site_with, text};
use crate::config::fixture::{generation, layer, signed};
use crate::order::fixture::{order, request as signed_order};

struct Desk {
    site: Site,
    admin: String,
}

impl Desk {
    async fn open() -> Self {
        let site = site_with(&[(1, "role=web"), (2, "role=db")]).await;
        let by = first_admin(&site).await;
        let admin = token(&site, &by, AccessRole::Admin, "").await;
        Self { site, admin }
    }

    async fn token(&self, role: AccessRole, selector: &str) -> String {
        let by = self.site.services.access.bearer(&self.admin).await.unwrap();
        token(&self.site, &by, role, selector).await
    }

    async fn put(&self, by: &str, path: &str, bytes: Vec<u8>, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::put(path).header("authorization", format!("Bearer {by}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.site.answer(request.body(Body::from(bytes)).unwrap()).await
    }

    async fn get(&self, by: &str, path: &str) -> Response<Body> {
        self.site.answer(request("GET", path, by, None)).await
    }

    async fn put_parts(&self, parts: &std::collections::BTreeMap<Digest, Vec<u8>>) {
        for (digest, bytes) in parts {
            let path = format!("/api/v1/config/parts/{digest}");
            let response = self.put(&self.admin, &path, bytes.clone(), &[]).await;
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
        }
    }

    async fn submit(&self, by: &str, generation: &Generation, header: (&str, &str)) -> Response<Body> {
        let signed = signed(generation);
        let path = format!("/api/v1/config/generations/{}", signed.digest());
        self.put(by, &path, signed.encode(), &[header]).await
    }
}

const FIRST: (&str, &str) = ("if-none-match", "*");

#[tokio::test]
async fn a_bundle_is_handed_in_released_listed_and_read_back() {
    let desk = Desk::open().await;
    let response = desk.get(&desk.admin, "/api/v1/config").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(problem(response).await.code, "config_none");
    let (layer, parts) = layer("one", &["motd"]);
    let digests: Vec<Digest> = parts.keys().copied().collect();
    let missing = "/api/v1/config/parts/missing";
    let ask = || request("POST", missing, &desk.admin, Some(json!({ "digests": digests })));
    assert_eq!(json_of(desk.site.answer(ask()).await).await["missing"].as_array().unwrap().len(), 2);
    let wanted = generation(None, &layer);
    let response = desk.submit(&desk.admin, &wanted, FIRST).await;
    assert_eq!(
        (response.status().as_u16(), problem(response).await.code.as_str()),
        (409, "config_parts_missing")
    );
    desk.put_parts(&parts).await;
    assert_eq!(json_of(desk.site.answer(ask()).await).await["missing"], json!([]));
    let response = desk.submit(&desk.admin, &wanted, FIRST).await;
    assert_eq!(response.status(), StatusCode::OK);
    let digest = signed(&wanted).digest();
    let head = desk.get(&desk.admin, "/api/v1/config").await;
    assert_eq!(head.headers()["etag"], format!("\"{digest}\""));
    assert_eq!(json_of(head).await, json!({ "number": 1, "digest": digest }));
    let page = json_of(desk.get(&desk.admin, "/api/v1/config/generations?limit=1").await).await;
    assert_eq!((&page["items"][0]["message"], &page["nextCursor"]), (&json!("test"), &json!(null)));
    for name in ["1".to_owned(), digest.to_string()] {
        let shown = json_of(desk.get(&desk.admin, &format!("/api/v1/config/generations/{name}")).await).await;
        assert_eq!((&shown["author"], &shown["purpose"]), (&json!("ada"), &json!("release")));
        let bytes = desk.get(&desk.admin, &format!("/api/v1/config/generations/{name}/signed")).await;
        assert_eq!(to_bytes(bytes.into_body(), 1 << 20).await.unwrap(), signed(&wanted).encode());
    }
    let part = desk.get(&desk.admin, &format!("/api/v1/config/parts/{}", part_digest(b"motd"))).await;
    assert_eq!(text(part).await, "motd");
}

#[tokio::test]
async fn the_second_of_two_writers_gets_a_conflict_that_names_the_head() {
    let desk = Desk::open().await;
    let (layer, parts) = layer("one", &[]);
    desk.put_parts(&parts).await;
    let first = generation(None, &layer);
    assert_eq!(desk.submit(&desk.admin, &first, FIRST).await.status(), StatusCode::OK);
    let other = Generation { message: "other".to_owned(), ..first.clone() };
    let response = desk.submit(&desk.admin, &other, FIRST).await;
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
    let refused = problem(response).await;
    let head = signed(&first).digest();
    assert_eq!(refused.code, "config_conflict");
    assert!(refused.detail.contains(&head.to_string()), "{}", refused.detail);
    let next = generation(Some((1, head)), &layer);
    let unsaid = desk.submit(&desk.admin, &next, ("accept", "*/*")).await;
    assert_eq!(problem(unsaid).await.code, "invalid");
    let tag = format!("\"{head}\"");
    assert_eq!(desk.submit(&desk.admin, &next, ("if-match", &tag)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn bytes_of_another_digest_too_many_of_them_and_damaged_ones_are_refused() {
    let desk = Desk::open().await;
    let path = |digest: Digest| format!("/api/v1/config/parts/{digest}");
    let response = desk.put(&desk.admin, &path(part_digest(b"a")), b"b".to_vec(), &[]).await;
    assert_eq!(problem(response).await.code, "invalid");
    let response = desk.put(&desk.admin, "/api/v1/config/parts/ab", b"b".to_vec(), &[]).await;
    assert_eq!(problem(response).await.code, "invalid");
    let long = vec![0; campanile_common::config::PART_BYTES_MAX + 1];
    let response = desk.put(&desk.admin, &path(part_digest(&long)), long, &[]).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let most = vec![1; campanile_common::config::PART_BYTES_MAX];
    let digest = part_digest(&most);
    assert_eq!(desk.put(&desk.admin, &path(digest), most, &[]).await.status(), StatusCode::NO_CONTENT);
    let name = digest.to_string();
    let file = desk.site.folder.path().join("config/parts").join(&name[..2]).join(&name);
    std::fs::write(file, b"damaged").unwrap();
    let response = desk.get(&desk.admin, &path(digest)).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let damaged = problem(response).await;
    assert_eq!(damaged.code, "config_part_damaged");
    assert!(damaged.detail.contains(&name));
    assert_eq!(desk.get(&desk.admin, &path(part_digest(b"c"))).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_reads_may_not_submit_and_who_has_a_part_of_the_fleet_may_not_release() {
    let desk = Desk::open().await;
    let (layer, parts) = layer("one", &[]);
    desk.put_parts(&parts).await;
    let wanted = generation(None, &layer);
    let viewer = desk.token(AccessRole::Viewer, "").await;
    assert_eq!(desk.submit(&viewer, &wanted, FIRST).await.status(), StatusCode::FORBIDDEN);
    let partly = desk.token(AccessRole::Deployer, "role=web").await;
    assert_eq!(desk.submit(&partly, &wanted, FIRST).await.status(), StatusCode::FORBIDDEN);
    let draft = Generation { purpose: Purpose::Draft, ..wanted.clone() };
    assert_eq!(desk.submit(&partly, &draft, ("accept", "*/*")).await.status(), StatusCode::OK);
    let list = desk.get(&partly, "/api/v1/config/generations").await;
    assert_eq!(list.status(), StatusCode::FORBIDDEN, "a generation is of the whole fleet");
    let deployer = desk.token(AccessRole::Deployer, "").await;
    assert_eq!(desk.submit(&deployer, &wanted, FIRST).await.status(), StatusCode::OK);
    assert_eq!(desk.get(&viewer, "/api/v1/config/generations").await.status(), StatusCode::OK);
    desk.site.services.freezer.freeze("person:ada", "test").await.unwrap();
    let next = generation(Some((1, signed(&wanted).digest())), &layer);
    let response = desk.submit(&deployer, &next, FIRST).await;
    assert_eq!(problem(response).await.code, "frozen");
}

#[tokio::test]
async fn an_order_names_a_generation_that_is_here_and_applies_no_draft() {
    let desk = Desk::open().await;
    let (layer, parts) = layer("one", &[]);
    desk.put_parts(&parts).await;
    let draft = Generation { purpose: Purpose::Draft, ..generation(None, &layer) };
    assert_eq!(desk.submit(&desk.admin, &draft, ("accept", "*/*")).await.status(), StatusCode::OK);
    let submit = async |number: u8, generation: Digest, mode: ConfigMode| {
        let made = Order { action: Action::Config { generation, mode }, ..order(number, &[1]) };
        let mut asked = signed_order(&made, &[1]);
        asked.dispatch.queue = true;
        let body = serde_json::to_value(&asked).unwrap();
        desk.site.answer(request("POST", "/api/v1/orders", &desk.admin, Some(body))).await.status().as_u16()
    };
    let digest = signed(&draft).digest();
    assert_eq!(submit(1, digest, ConfigMode::Plan).await, 201);
    let apply = ConfigMode::Apply { is_confirmed: false, confirm_within_s: 60 };
    assert_eq!(submit(2, digest, apply).await, 400);
    assert_eq!(submit(3, Digest::from_bytes([1; 32]), ConfigMode::Plan).await, 404);
}

#[tokio::test]
async fn nodes_show_how_they_stand_to_who_may_see_them() {
    let desk = Desk::open().await;
    desk.site.view.send_replace(std::sync::Arc::new(super::fixture::fleet()));
    let viewer = desk.token(AccessRole::Viewer, "role=web").await;
    let page = json_of(desk.get(&viewer, "/api/v1/config/nodes").await).await;
    let names: Vec<&str> =
        page["items"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["web-1", "web-2"]);
    assert_eq!(page["items"][0]["phase"], "unknown");
    let one = json_of(desk.get(&desk.admin, "/api/v1/config/nodes?selector=zone%3Da").await).await;
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    assert_eq!(json_of(desk.get(&viewer, "/api/v1/config/nodes/web-1").await).await["name"], "web-1");
    assert_eq!(desk.get(&viewer, "/api/v1/config/nodes/db-1").await.status(), StatusCode::NOT_FOUND);
    assert!(desk.site.reports.is_empty());
}
