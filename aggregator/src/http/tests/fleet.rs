//! What is in force for the whole fleet, and what nodes are asked, as people do it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use campanile_common::api::{AccessRole, Liveness, Pong, SignedText, TokenRequest};
use campanile_common::authority::{Denial, DenialCode, Operator, Role, SignedAuthority};
use campanile_common::id::Digest;
use campanile_common::label::Labels;
use campanile_common::token::Token;
use campanile_common::wire::v1::control::Facts;
use campanile_common::wire::v1::request::{Reply, Request};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tower::ServiceExt as _;

use super::fixture;
use super::signed_in::{first_admin, json_of, request, token};
use super::site::{Site, problem, site, text};
use crate::node::{FleetView, NodeEvent, NodeView};
use crate::order::fixture::{NOW, key};

async fn call(site: &Site, method: &str, path: &str, token: &str, body: Option<Value>) -> Response<Body> {
    site.answer(request(method, path, token, body)).await
}

/// The next authority, which adds bob and makes changes of it take both, signed by these.
fn with_bob(site: &Site, seeds: &[u8]) -> SignedAuthority {
    let current = site.services.authorities.current();
    let mut document = current.document().successor(current.digest(), NOW);
    let roles = Role::ALL.into_iter().collect();
    document.operators.push(Operator { name: "bob".to_owned(), key: key(3).public(), roles });
    document.thresholds.insert(Role::Authority, 2);
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    document.sign(&keys.iter().collect::<Vec<_>>()).unwrap()
}

fn body(signed: &SignedAuthority) -> Option<Value> {
    serde_json::to_value(SignedText::new(&signed.bytes, &signed.signatures)).ok()
}

#[tokio::test]
async fn an_authority_is_handed_in_waits_and_is_approved() {
    let site = site().await;
    let admin = first_admin(&site).await;
    let operator = token(&site, &admin, AccessRole::Operator, "").await;
    let viewer = token(&site, &admin, AccessRole::Viewer, "").await;
    let put = async |token: &str, signed: &SignedAuthority| {
        call(&site, "PUT", "/api/v1/authority", token, body(signed)).await
    };
    let two = with_bob(&site, &[1]);
    assert_eq!(problem(put(&viewer, &two).await).await.code, "denied");
    let forged = with_bob(&site, &[7]);
    let refused = put(&operator, &forged).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(problem(refused).await.code, "signatures");
    let first = site.services.authorities.current();
    let mut late = first.document().successor(first.digest(), NOW);
    late.expires = NOW + Duration::from_secs(500);
    let late = late.sign(&[&key(1)]).unwrap();
    assert_eq!(json_of(put(&operator, &two).await).await["inForce"], json!(true));
    // Another second version does not follow what is in force now.
    let late = put(&operator, &late).await;
    assert_eq!((late.status(), problem(late).await.code.as_str()), (StatusCode::CONFLICT, "stale"));

    let current = site.services.authorities.current();
    let mut third = current.document().successor(current.digest(), NOW);
    third.expires = NOW + Duration::from_secs(1000);
    let third = third.sign(&[&key(1)]).unwrap();
    let waiting = json_of(put(&operator, &third).await).await;
    assert_eq!((&waiting["inForce"], &waiting["id"]), (&json!(false), &json!("authority-3")));
    let list = json_of(call(&site, "GET", "/api/v1/approvals", &operator, None).await).await;
    assert_eq!(list["items"][0]["id"], "authority-3");
    let shown = json_of(call(&site, "GET", "/api/v1/approvals/authority-3", &operator, None).await).await;
    assert_eq!(shown["signedBy"], json!(["op-1"]));
    let bytes = BASE64.decode(shown["signed"]["bytes"].as_str().unwrap().as_bytes()).unwrap();
    let mut other = SignedAuthority { bytes, signatures: Vec::new() };
    other.add_signature(&key(2));
    let own = &other.signatures[0];
    let own = json!({ "key": own.key, "signature": BASE64.encode(&own.bytes) });
    let sign = "/api/v1/approvals/authority-3/signatures";
    assert_eq!(problem(call(&site, "POST", sign, &viewer, Some(own.clone())).await).await.code, "denied");
    let done = json_of(call(&site, "POST", sign, &operator, Some(own.clone())).await).await;
    assert_eq!((&done["inForce"], &done["signedBy"]), (&json!(true), &json!(["op-1", "op-2"])));
    assert_eq!(call(&site, "POST", sign, &operator, Some(own)).await.status(), StatusCode::NOT_FOUND);

    let chain = json_of(call(&site, "GET", "/api/v1/authority?from=2", &viewer, None).await).await;
    assert_eq!((&chain["version"], chain["chain"].as_array().unwrap().len()), (&json!(3), 2));
}

#[tokio::test]
async fn a_frozen_fleet_refuses_changes_and_still_shows_itself() {
    let site = site().await;
    let admin = first_admin(&site).await;
    let operator = token(&site, &admin, AccessRole::Operator, "").await;
    let deployer = token(&site, &admin, AccessRole::Deployer, "").await;
    let reason = Some(json!({ "reason": "disks are being moved" }));
    assert_eq!(
        call(&site, "PUT", "/api/v1/freeze", &deployer, reason.clone()).await.status(),
        StatusCode::FORBIDDEN
    );
    let frozen = json_of(call(&site, "PUT", "/api/v1/freeze", &operator, reason.clone()).await).await;
    assert_eq!(frozen["frozen"], json!(true));
    for (method, path) in [
        ("POST", "/api/v1/orders"),
        ("PUT", "/api/v1/catalogue"),
        ("POST", "/api/v1/schedules"),
        ("PATCH", "/api/v1/nodes/web-1"),
        ("POST", "/api/v1/tokens"),
        ("PUT", "/api/v1/freeze"),
    ] {
        let refused = call(&site, method, path, &operator, Some(json!({}))).await;
        assert_eq!(refused.status(), StatusCode::LOCKED, "{method} {path}");
        let problem = problem(refused).await;
        assert_eq!(problem.code, "frozen");
        assert!(problem.detail.contains("disks are being moved"), "{}", problem.detail);
    }
    // The reason is for who is signed in.
    let stranger = call(&site, "POST", "/api/v1/orders", "cmpa_nobody", Some(json!({}))).await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let status = json_of(call(&site, "GET", "/api/v1/status", &deployer, None).await).await;
    assert_eq!(status["frozen"]["reason"], "disks are being moved");
    let metrics = text(call(&site, "GET", "/metrics", &deployer, None).await).await;
    assert!(metrics.contains("\ncampanile_fleet_frozen 1\n"));
    let thawed = call(&site, "DELETE", "/api/v1/freeze", &operator, None).await;
    assert_eq!(json_of(thawed).await["frozen"], json!(false));
    let status = json_of(call(&site, "GET", "/api/v1/status", &deployer, None).await).await;
    assert_eq!(status.get("frozen"), None);
    let orders = call(&site, "POST", "/api/v1/orders", &operator, Some(json!({}))).await;
    assert_eq!(orders.status(), StatusCode::BAD_REQUEST, "an empty order is no longer a frozen one");
}

#[tokio::test]
async fn a_refusal_for_the_freeze_is_not_repeated_after_it() {
    let site = site().await;
    let admin = first_admin(&site).await;
    let security = token(&site, &admin, AccessRole::Security, "").await;
    let body = json!({ "labels": {}, "ttlSeconds": 600, "uses": 1 });
    let keyed = || {
        let mut keyed = request("POST", "/api/v1/tokens", &security, Some(body.clone()));
        keyed.headers_mut().insert("idempotency-key", "once".parse().unwrap());
        keyed
    };
    site.services.freezer.freeze("person:ada", "a moment").await.unwrap();
    assert_eq!(site.answer(keyed()).await.status(), StatusCode::LOCKED);
    site.services.freezer.thaw("person:ada").await.unwrap();
    let created = site.answer(keyed()).await;
    assert_eq!(created.status(), StatusCode::CREATED, "{}", text(created).await);
}

/// Answers the next request to a node.
async fn answer_next(site: &mut Site, reply: Reply) -> Request {
    match site.events.recv().await.unwrap() {
        NodeEvent::Ask { request, answer, .. } => {
            answer.send(reply).unwrap();
            request
        }
        other => panic!("{other:?}"),
    }
}

/// Enrols a node that is shown as connected, or not.
async fn enrolled(site: &Site, name: &str, is_connected: bool) -> NodeView {
    let request = TokenRequest { labels: Labels::default(), ttl_seconds: 600, uses: 1, name: None };
    let created = site.services.nodes.create_token("local", request).await.unwrap();
    let secret = created.token.parse::<Token>().unwrap().secret;
    let (key, facts) = (Digest::from_bytes([name.len().try_into().unwrap(); 32]), Facts::default());
    let registry = site.services.nodes.registry();
    let (record, _) = registry.enroll(&secret, key, NOW, name, &facts).await.unwrap();
    let mut node = fixture::node(name, 1, "role=web");
    node.node_id = record.node_id;
    if !is_connected {
        node.liveness = Liveness::Offline;
    }
    let view = fixture::view(node);
    site.view.send_modify(|fleet| {
        let mut nodes = fleet.nodes.clone();
        nodes.push(view.clone());
        *fleet = Arc::new(FleetView { nodes, ..FleetView::default() });
    });
    view
}

#[tokio::test]
async fn what_a_nodes_policy_denies_is_denied_with_its_reason() {
    let mut site = site().await;
    let admin = first_admin(&site).await;
    let operator = token(&site, &admin, AccessRole::Operator, "").await;
    let viewer = token(&site, &admin, AccessRole::Viewer, "").await;
    enrolled(&site, "node-a", true).await;
    let path = "/api/v1/nodes/node-a/units/sshd.service";
    assert_eq!(call(&site, "GET", path, &viewer, None).await.status(), StatusCode::FORBIDDEN);
    let odd = call(&site, "GET", "/api/v1/nodes/node-a/units/--now", &operator, None).await;
    assert_eq!(odd.status(), StatusCode::BAD_REQUEST);

    let reason = "the policy does not list sshd.service".to_owned();
    let denial = Denial { code: DenialCode::PolicyUnit, reason };
    let router = super::super::router(site.services.clone());
    let asked = router.oneshot(request("GET", path, &operator, None));
    let (response, request) = tokio::join!(asked, answer_next(&mut site, Reply::Denied(denial)));
    assert_eq!(request, Request::Unit { unit: "sshd.service".to_owned() });
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let problem = problem(response).await;
    assert_eq!(problem.code, "denied");
    assert!(problem.detail.contains("node-a") && problem.detail.contains("does not list sshd.service"));
}

#[tokio::test]
async fn a_ping_tells_of_every_selected_node_and_of_the_absent_that_they_are() {
    let mut site = site().await;
    let admin = first_admin(&site).await;
    let viewer = token(&site, &admin, AccessRole::Viewer, "").await;
    enrolled(&site, "here", true).await;
    enrolled(&site, "there-too", false).await;
    let router = super::super::router(site.services.clone());
    let asked = router.oneshot(request("GET", "/api/v1/ping?selector=role%3Dweb", &viewer, None));
    let (response, request) = tokio::join!(asked, answer_next(&mut site, Reply::Pong));
    assert_eq!(request, Request::Ping);
    let pongs: Vec<Pong> = serde_json::from_str(&text(response.unwrap()).await).unwrap();
    let pong = |name: &str| pongs.iter().find(|pong| pong.node == name).unwrap();
    assert_eq!(pongs.len(), 2);
    assert!(pong("here").rtt_ms.is_some_and(|rtt| rtt >= 0.0));
    assert_eq!(pong("there-too").rtt_ms, None);
    let none = call(&site, "GET", "/api/v1/ping?selector=role%3Ddb", &viewer, None).await;
    assert_eq!(json_of(none).await, json!([]));
}

#[tokio::test]
async fn a_journal_is_passed_on_as_it_comes_and_stopped_when_the_reader_goes() {
    let mut site = site().await;
    let admin = first_admin(&site).await;
    let operator = token(&site, &admin, AccessRole::Operator, "").await;
    enrolled(&site, "node-a", true).await;
    let path = "/api/v1/nodes/node-a/journal?unit=nginx.service&lines=5&follow=true";
    let router = super::super::router(site.services.clone());
    let asked = router.oneshot(request("GET", path, &operator, None));
    let answer = async {
        match site.events.recv().await.unwrap() {
            NodeEvent::AskStream { request, replies, .. } => {
                replies.send(Reply::Journal(b"one\n".to_vec())).await.unwrap();
                (request, replies)
            }
            other => panic!("{other:?}"),
        }
    };
    let (response, (request, replies)) = tokio::join!(asked, answer);
    let unit = "nginx.service".to_owned();
    assert_eq!(request, Request::Journal { unit, since_s: None, lines: 5, is_followed: true });
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut pieces = response.into_body().into_data_stream();
    assert_eq!(&pieces.next().await.unwrap().unwrap()[..], b"one\n");
    replies.send(Reply::Journal(b"two\n".to_vec())).await.unwrap();
    assert_eq!(&pieces.next().await.unwrap().unwrap()[..], b"two\n");
    drop(pieces);
    // The node is told by the closed channel.
    tokio::time::timeout(Duration::from_secs(20), replies.closed()).await.unwrap();
}

#[tokio::test]
async fn a_journal_that_breaks_off_does_not_look_whole_and_a_denied_one_does_not_begin() {
    let mut site = site().await;
    let admin = first_admin(&site).await;
    let operator = token(&site, &admin, AccessRole::Operator, "").await;
    enrolled(&site, "node-a", true).await;
    let path = "/api/v1/nodes/node-a/journal?unit=nginx.service";
    let denial = Denial { code: DenialCode::PolicyUnit, reason: "no such unit here".to_owned() };
    for replies in [
        vec![Reply::Journal(b"one\n".to_vec()), Reply::Failed("the stream broke".to_owned())],
        vec![Reply::Denied(denial)],
    ] {
        let is_denied = replies.len() == 1;
        let router = super::super::router(site.services.clone());
        let asked = router.oneshot(request("GET", path, &operator, None));
        let answer = async {
            let NodeEvent::AskStream { replies: sender, .. } = site.events.recv().await.unwrap() else {
                panic!("something else was asked");
            };
            for reply in replies {
                sender.send(reply).await.unwrap();
            }
        };
        let (response, ()) = tokio::join!(asked, answer);
        let response = response.unwrap();
        if is_denied {
            assert_eq!(problem(response).await.code, "denied");
        } else {
            let mut pieces = response.into_body().into_data_stream();
            assert!(pieces.next().await.unwrap().is_ok());
            assert!(pieces.next().await.unwrap().is_err());
        }
    }
    enrolled(&site, "absent", false).await;
    let absent = call(&site, "GET", "/api/v1/nodes/absent/journal?unit=a.service", &operator, None).await;
    assert_eq!(problem(absent).await.code, "not_connected");
}
