//! Requests against the whole site that are answered before any part is asked.

#![expect(clippy::disallowed_methods, reason = "a fleet begins as files")]

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use campanile_common::api::Problem;
use campanile_common::backup::Retention;
use campanile_common::fleet::{AUTHORITY_DIR, FleetFile, authority_file};
use campanile_common::id::{AggregatorId, Digest, FleetId, NodeId};
use campanile_common::unit::ByteCount;
use campanile_common::wire::codec;
use campanile_common::wire::v1::config::ConfigReport;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;

use super::super::{LogLevelHandle, Readiness, Services, assets, router};
use super::fleet_facts;
use crate::access::Access;
use crate::audit::Audit;
use crate::authority::{Authorities, Catalogues};
use crate::backup::{BackupSettings, BackupStore, Limits, VerifySettings};
use crate::config::{Config, ConfigParts, KeepPolicy};
use crate::event::Events;
use crate::freeze::Freezer;
use crate::node::{FleetView, NodeEvent, Nodes, Registry, Sessions, TokenPins};
use crate::order::fixture::{NOW, authority, node_record};
use crate::order::{self, OrderParts, OrderTask, OrderTaskParts, Outputs};
use crate::os::clock::Clock;
use crate::os::parts::Parts;
use crate::packages::{self, Packages};
use crate::schedule::{InForce, Schedules};
use crate::series::RecentSeries;
use crate::state::{Committed, Keys, SqliteStore, Store, Transaction, Write, to_json};

/// The folder of a fleet whose first authority names `op-1` and `op-2`, as `fleet init` leaves it.
fn write_fleet(folder: &std::path::Path) -> FleetFile {
    let first = authority();
    let chain = folder.join(AUTHORITY_DIR);
    std::fs::create_dir(&chain).unwrap();
    let bytes = codec::encode("SignedAuthority", first.signed()).unwrap();
    std::fs::write(chain.join(authority_file(1)), bytes).unwrap();
    FleetFile {
        format: 1,
        fleet_id: first.document().fleet,
        fleet_name: "test".to_owned(),
        aggregator_id: AggregatorId::from_bytes([8; 8]),
        authority: first.digest(),
    }
}

fn site_of_packages() -> packages::Site {
    let (fleet, ca) = ("test".to_owned(), "-----BEGIN CERTIFICATE-----".to_owned());
    packages::Site { fleet, addresses: vec!["aggregator.example:8443".to_owned()], ca }
}

/// The site on a store of its own. The series are empty, and so is the registry unless nodes are named.
pub(super) struct Site {
    _stop: DropGuard,
    pub(super) folder: TempDir,
    pub(super) services: Services,
    /// What the node task would get.
    pub(super) events: mpsc::Receiver<NodeEvent>,
    /// What everybody sees of the nodes.
    pub(super) view: watch::Sender<Arc<FleetView>>,
    /// What the configuration's task would get.
    pub(super) reports: mpsc::Receiver<(NodeId, ConfigReport)>,
}

pub(super) async fn site() -> Site {
    site_with(&[]).await
}

/// The site with nodes of these numbers and labels, none of them connected.
pub(super) async fn site_with(nodes: &[(u8, &str)]) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let store: Store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
    let keys = Keys::new(FleetId::from_bytes([9; 16]));
    let clock = Clock::from_fn(|| NOW);
    let audit = Audit::open(store.clone(), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
    let access = Access::open(store.clone(), keys.clone(), audit.clone(), clock.clone()).await.unwrap();
    for (number, labels) in nodes {
        let record = node_record(*number, labels);
        let writes = vec![Write::put(keys.node(record.node_id), to_json(&record))];
        let done = store.commit(Transaction { compares: Vec::new(), writes }).await.unwrap();
        assert!(matches!(done, Committed::Done(_)));
    }
    let registry = Registry::open(store.clone(), keys.clone(), audit.clone(), clock.clone()).await.unwrap();
    let fleet_file = write_fleet(folder.path());
    let (events, stored) = (Events::default(), || (store.clone(), keys.clone()));
    let parts = || (audit.clone(), events.clone(), clock.clone());
    let (a, e, c) = parts();
    let authorities = Authorities::open(folder.path(), &fleet_file, stored(), a, e, c).await.unwrap();
    let (a, e, c) = parts();
    let catalogues = Catalogues::open(stored(), a, e, c, authorities.subscribe()).await.unwrap();
    let (a, e, c) = parts();
    let freezer = Freezer::open(stored(), a, e, c).await.unwrap();
    let (a, e, c) = parts();
    let in_force = InForce { authority: authorities.subscribe(), catalogue: catalogues.subscribe() };
    let schedules = Schedules::open(stored(), a, e, c, in_force).await.unwrap();
    let parts = OrderParts {
        store: store.clone(),
        keys: keys.clone(),
        registry: registry.clone(),
        sessions: Sessions::default(),
        in_force: order::InForce {
            authority: authorities.subscribe(),
            catalogue: catalogues.subscribe(),
            is_frozen: freezer.subscribe(),
        },
        outputs: Outputs::open(&folder.path().join("outputs")).unwrap(),
        clock: clock.clone(),
    };
    let folder_of_parts = folder.path().join("config").join("parts");
    let (a, e, c) = (audit.clone(), events.clone(), clock.clone());
    let config_parts = ConfigParts {
        store: store.clone(),
        keys: keys.clone(),
        parts: Parts::open(&folder_of_parts).unwrap(),
        audit: a,
        events: e,
        authority: authorities.subscribe(),
        is_frozen: freezer.subscribe(),
        policy: KeepPolicy::default(),
        clock: c,
    };
    let (config, reports) = Config::open(config_parts).await.unwrap();
    let pins = TokenPins {
        fleet: FleetId::from_bytes([9; 16]),
        addresses: vec!["aggregator.example:8443".to_owned()],
        ca_key: Digest::from_bytes([1; 32]),
        authority: watch::channel(authorities.current().digest()).1,
    };
    // No task takes these events: a test that needs a node answers for it.
    let (node_events, inbox) = mpsc::channel(16);
    let (view, fleet) = watch::channel(Arc::default());
    let nodes = Nodes::new(registry, node_events, fleet, pins, clock.clone());
    let limits = Limits { free_floor: ByteCount(0), ..Limits::default() };
    let (dir, verify) = (folder.path().join("backup"), VerifySettings::default());
    let settings = BackupSettings { dir, limits, retention: Retention::default(), verify, replica: None };
    let (a, e, c) = (audit.clone(), events.clone(), clock.clone());
    let backups = BackupStore::open(settings, (store.clone(), keys.clone()), c, e, a).await.unwrap();
    let (audit_of_orders, events_of_orders) = (audit.clone(), events.clone());
    let parts =
        OrderTaskParts { parts, audit: audit_of_orders, nodes: nodes.clone(), events: events_of_orders };
    let (order_task, orders) = OrderTask::open(parts).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(order_task.run(stop.clone()));
    let level = Arc::new(Mutex::new("info".to_owned()));
    let set = level.clone();
    let services = Services {
        access,
        audit,
        nodes,
        orders,
        config,
        backups,
        authorities,
        catalogues,
        freezer,
        schedules,
        series: RecentSeries::default(),
        events,
        fleet: fleet_facts(),
        settings_error: watch::channel(None).1,
        log_level: LogLevelHandle::new(
            move || level.lock().unwrap().clone(),
            move |wanted| match wanted {
                "info" | "debug" => {
                    *set.lock().unwrap() = wanted.to_owned();
                    Ok(())
                }
                _ => Err(format!("`{wanted}` is no level")),
            },
        ),
        readiness: Readiness::waiting("the state store is being opened"),
        self_backup: watch::channel(crate::self_backup::Figures::default()).1,
        packages: Packages::new(folder.path().join("packages"), site_of_packages()),
        clock,
    };
    let _stop = stop.drop_guard();
    Site { _stop, folder, services, events: inbox, view, reports }
}

impl Site {
    pub(super) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        router(self.services.clone()).oneshot(request).await.unwrap()
    }
}

async fn answer(request: Request<Body>) -> Response<Body> {
    site().await.answer(request).await
}

async fn get(path: &str) -> Response<Body> {
    answer(Request::get(path).body(Body::empty()).unwrap()).await
}

pub(super) async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

pub(super) async fn problem(response: Response<Body>) -> Problem {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    serde_json::from_str(&text(response).await).unwrap()
}

/// Every route of the contract.
const CONTRACT: &[(&str, &str)] = &[
    ("post", "/api/v1/session"),
    ("post", "/api/v1/session/link"),
    ("get", "/api/v1/session"),
    ("delete", "/api/v1/session"),
    ("put", "/api/v1/session/password"),
    ("post", "/api/v1/session/totp"),
    ("post", "/api/v1/session/totp/confirm"),
    ("get", "/api/v1/people"),
    ("post", "/api/v1/people"),
    ("delete", "/api/v1/people/{name}"),
    ("put", "/api/v1/people/{name}/grants"),
    ("post", "/api/v1/people/{name}/link"),
    ("get", "/api/v1/api-tokens"),
    ("post", "/api/v1/api-tokens"),
    ("delete", "/api/v1/api-tokens/{id}"),
    ("get", "/api/v1/health"),
    ("get", "/api/v1/status"),
    ("get", "/api/v1/nodes"),
    ("get", "/api/v1/nodes/{idOrName}"),
    ("patch", "/api/v1/nodes/{idOrName}"),
    ("post", "/api/v1/nodes/{idOrName}/retire"),
    ("get", "/api/v1/nodes/{idOrName}/top"),
    ("get", "/api/v1/nodes/{idOrName}/values"),
    ("get", "/api/v1/nodes/{idOrName}/series"),
    ("get", "/api/v1/nodes/{idOrName}/coverage"),
    ("get", "/api/v1/connections"),
    ("get", "/api/v1/config"),
    ("post", "/api/v1/config/parts/missing"),
    ("put", "/api/v1/config/parts/{digest}"),
    ("get", "/api/v1/config/parts/{digest}"),
    ("put", "/api/v1/config/generations/{digest}"),
    ("get", "/api/v1/config/generations"),
    ("get", "/api/v1/config/generations/{digest}"),
    ("get", "/api/v1/config/generations/{digest}/signed"),
    ("get", "/api/v1/config/nodes"),
    ("get", "/api/v1/config/nodes/{idOrName}"),
    ("get", "/api/v1/backups"),
    ("get", "/api/v1/backups/{idOrName}"),
    ("get", "/api/v1/backups/{idOrName}/keys"),
    ("get", "/api/v1/backups/floor"),
    ("post", "/api/v1/backups/floor"),
    ("delete", "/api/v1/backups/floor"),
    ("get", "/api/v1/backups/{idOrName}/snapshots"),
    ("post", "/api/v1/backups/{idOrName}/undelete"),
    ("post", "/api/v1/backups/{idOrName}/holds/{id}"),
    ("get", "/api/v1/orders"),
    ("post", "/api/v1/orders"),
    ("get", "/api/v1/orders/{id}"),
    ("get", "/api/v1/orders/{id}/events"),
    ("get", "/api/v1/orders/{id}/output/{node}"),
    ("post", "/api/v1/orders/{id}/cancel"),
    ("get", "/api/v1/approvals"),
    ("get", "/api/v1/approvals/{id}"),
    ("post", "/api/v1/approvals/{id}/signatures"),
    ("get", "/api/v1/tokens"),
    ("post", "/api/v1/tokens"),
    ("delete", "/api/v1/tokens/{id}"),
    ("get", "/api/v1/audit"),
    ("get", "/api/v1/audit/verify"),
    ("get", "/api/v1/audit/key"),
    ("get", "/api/v1/authority"),
    ("put", "/api/v1/authority"),
    ("get", "/api/v1/catalogue"),
    ("put", "/api/v1/catalogue"),
    ("get", "/api/v1/freeze"),
    ("put", "/api/v1/freeze"),
    ("delete", "/api/v1/freeze"),
    ("get", "/api/v1/schedules"),
    ("post", "/api/v1/schedules"),
    ("get", "/api/v1/schedules/{name}"),
    ("delete", "/api/v1/schedules/{name}"),
    ("post", "/api/v1/schedules/{name}/run"),
    ("get", "/api/v1/ping"),
    ("get", "/api/v1/nodes/{idOrName}/stewardship"),
    ("get", "/api/v1/nodes/{idOrName}/units/{unit}"),
    ("get", "/api/v1/nodes/{idOrName}/journal"),
    ("get", "/api/v1/nodes/{idOrName}/audit"),
    ("get", "/api/v1/nodes/{idOrName}/checkpoints"),
    ("get", "/api/v1/events"),
    ("get", "/api/v1/log-level"),
    ("put", "/api/v1/log-level"),
];

async fn document() -> Value {
    serde_json::from_str(&text(get("/api/v1/openapi.json").await).await).unwrap()
}

#[tokio::test]
async fn every_route_of_the_contract_is_in_the_document_and_no_other() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let described: std::collections::BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    let expected = CONTRACT.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, expected);
}

/// Every `$ref` of the document.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_refers_only_to_what_it_holds_and_describes_every_route() {
    let document = document().await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.iter().any(|reference| reference.ends_with("/Node")));
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for (method, path) in CONTRACT {
        let route = &document["paths"][path][method];
        assert!(route["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
    }
    assert!(document.pointer("/components/securitySchemes/token").is_some());
}

#[tokio::test]
async fn without_credentials_every_route_but_sign_in_is_refused() {
    for (method, path) in CONTRACT.iter().filter(|(method, path)| {
        !(*method == "post" && (*path == "/api/v1/session" || *path == "/api/v1/session/link"))
    }) {
        let path = path.replace("{idOrName}", "web-1").replace("{name}", "ada").replace("{id}", "x");
        let request = Request::builder()
            .method(method.to_uppercase().as_str())
            .uri(&path)
            .header("content-type", "application/json")
            .body(Body::from("{}"))
            .unwrap();
        let response = answer(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(problem(response).await.code, "unauthenticated", "{method} {path}");
    }
    assert_eq!(get("/metrics").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_change_that_another_site_asks_for_with_a_cookie_is_refused() {
    let request = Request::post("/api/v1/nodes/web-1/retire")
        .header("cookie", "__Host-campanile=secret")
        .header("sec-fetch-site", "cross-site")
        .body(Body::empty())
        .unwrap();
    let response = answer(request).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let request = Request::post("/api/v1/session/link")
        .header("origin", "https://evil.example")
        .header("host", "aggregator.example")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"link":"x"}"#))
        .unwrap();
    assert_eq!(answer(request).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn unknown_addresses_and_methods_answer_with_a_problem() {
    let response = get("/api/v1/nothing").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(problem(response).await.code, "not_found");
    let request = Request::delete("/api/v1/health").body(Body::empty()).unwrap();
    let response = answer(request).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(problem(response).await.code, "invalid");
}

async fn sign_in(body: impl Into<Body>, content_type: &str, query: &str) -> Response<Body> {
    let request = Request::post(format!("/api/v1/session{query}"))
        .header("content-type", content_type)
        .body(body.into())
        .unwrap();
    answer(request).await
}

#[tokio::test]
async fn unknown_fields_unknown_parameters_and_other_media_types_are_refused() {
    let response = sign_in(r#"{"name":"a","password":"b","admin":true}"#, "application/json", "").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(problem(response).await.detail.contains("admin"));
    let response = sign_in(r#"{"name":"a","password":"b"}"#, "application/json", "?as=root").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(problem(response).await.detail.contains("as"));
    let response = sign_in("name=a", "application/x-www-form-urlencoded", "").await;
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let response = sign_in("{", "application/json", "").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused() {
    let response = sign_in(vec![b' '; 64 * 1024 + 1], "application/json", "").await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(problem(response).await.code, "too_large");
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    for path in ["/", "/docs", "/healthz", "/api/v1/nothing", "/api/v1/openapi.json"] {
        let response = get(path).await;
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert!(headers.contains_key("strict-transport-security"), "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
    }
}

#[tokio::test]
async fn alive_is_not_the_same_as_ready() {
    assert_eq!(get("/healthz").await.status(), StatusCode::OK);
    let site = site().await;
    let ready = async || {
        let response = site.answer(Request::get("/readyz").body(Body::empty()).unwrap()).await;
        (response.status(), text(response).await)
    };
    let (status, body) = ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, r#"{"ready":false,"reason":"the state store is being opened"}"#);
    site.services.readiness.set_ready();
    assert_eq!(ready().await, (StatusCode::OK, r#"{"ready":true}"#.to_owned()));
}

#[tokio::test]
async fn a_file_that_did_not_change_is_not_sent_again() {
    let first = get("/assets/app.js").await;
    let etag = first.headers()["etag"].clone();
    let request = Request::get("/assets/app.js").header("if-none-match", etag).body(Body::empty()).unwrap();
    let again = answer(request).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(text(again).await, "");
}

#[tokio::test]
async fn text_is_compressed_for_who_accepts_it() {
    let request = Request::get("/").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    assert_eq!(answer(request).await.headers()["content-encoding"], "gzip");
}

#[test]
fn the_first_page_is_small_and_all_our_own() {
    let whole: usize = assets::ASSETS.iter().map(|asset| asset.text.len()).sum();
    assert!(whole < 100_000, "{whole} bytes");
    for asset in assets::ASSETS {
        // The namespace of SVG is a name, not an address that is asked.
        let text = asset.text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http://") && !text.contains("https://"), "{} names another site", asset.path);
        assert!(!text.contains(" style=\"") && !text.contains(" onclick="), "{} has inline code", asset.path);
    }
}

/// Where pages and scripts point to.
#[test]
fn every_file_that_a_page_names_is_served() {
    let served: Vec<_> = assets::ASSETS.iter().map(|asset| asset.path).collect();
    for asset in assets::ASSETS {
        for (attribute, end) in [("src=\"", '"'), ("href=\"/", '"'), ("from \"", '"')] {
            for rest in asset.text.split(attribute).skip(1) {
                let target = rest.split(end).next().unwrap();
                let path = if attribute == "href=\"/" {
                    format!("/{target}")
                } else {
                    target.replacen("./", "/assets/", 1)
                };
                let is_file = path.starts_with("/assets/");
                assert!(!is_file || served.contains(&path.as_str()), "{} names {path}", asset.path);
            }
        }
    }
}
