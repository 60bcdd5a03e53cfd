//! Backups as people and their tools see and settle them, against a real store on disk.

use axum::http::StatusCode;
use campanile_common::api::AccessRole;
use campanile_common::authority::sha256;
use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::Digest;
use serde_json::{Value, json};

use super::fixture;
use super::signed_in::{first_admin, json_of, request, token};
use super::site::{Site, problem, site, text};
use crate::access::Actor;
use crate::backup::{Appending, Opened, Proposal};
use crate::node::FleetView;

struct Desk {
    site: Site,
    by: Actor,
    admin: String,
}

impl Desk {
    /// Nodes `web-1` (1), `web-2` (2) and `db-1` (3).
    async fn open() -> Self {
        let site = site().await;
        let nodes = [("db-1", 3, "role=db"), ("web-1", 1, "role=web"), ("web-2", 2, "role=web")];
        let nodes = nodes.map(|(name, number, labels)| fixture::view(fixture::node(name, number, labels)));
        site.view.send_replace(FleetView { nodes: nodes.into(), ..FleetView::default() }.into());
        let by = first_admin(&site).await;
        let admin = token(&site, &by, AccessRole::Admin, "").await;
        Self { site, by, admin }
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.site.answer(request("GET", path, &self.admin, None)).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        json_of(response).await
    }

    /// Status and code or body.
    async fn post(&self, by: &str, path: &str, body: Value) -> (u16, Value) {
        let response = self.site.answer(request("POST", path, by, Some(body))).await;
        let status = response.status();
        if status.is_success() {
            return (status.as_u16(), json_of(response).await);
        }
        (status.as_u16(), json!(problem(response).await.code))
    }

    async fn token(&self, role: AccessRole, selector: &str) -> String {
        token(&self.site, &self.by, role, selector).await
    }

    /// A key file of node 1.
    async fn key(&self, bytes: &[u8]) -> Digest {
        let object = StoredObject::new(StoredKind::Key, sha256(&[bytes]));
        let size = u64::try_from(bytes.len()).unwrap();
        let opened = self.site.services.backups.begin(fixture::id(1), object, size, None).await.unwrap();
        let Opened::Intake(intake) = opened else { panic!("it is there already") };
        intake.push(bytes).await.unwrap().finish().await.unwrap();
        object.id
    }

    /// A snapshot of node 1 that needs a pack of its own.
    async fn snapshot(&self, number: u8, policy: Option<&str>) -> Digest {
        let (store, node) = (&self.site.services.backups, fixture::id(1));
        let put = async |kind, bytes: &[u8], packs: Option<Digest>| {
            let object = StoredObject::new(kind, sha256(&[bytes]));
            let policy = policy.map(|policy| policy.parse().unwrap());
            let appending = packs.map(|_| Appending { packs: 1, policy });
            let size = u64::try_from(bytes.len()).unwrap();
            let Opened::Intake(mut intake) = store.begin(node, object, size, appending).await.unwrap() else {
                return object.id;
            };
            if let Some(pack) = packs {
                intake = intake.push(pack.as_bytes()).await.unwrap();
            }
            intake.push(bytes).await.unwrap().finish().await.unwrap();
            object.id
        };
        let pack = put(StoredKind::Pack, &[number; 100], None).await;
        put(StoredKind::Snapshot, &[number; 10], Some(pack)).await
    }
}

#[tokio::test]
async fn nodes_are_listed_with_what_the_store_has_of_them() {
    let desk = Desk::open().await;
    desk.snapshot(1, Some("etc")).await;
    desk.snapshot(2, None).await;
    let page = desk.get("/api/v1/backups?limit=2").await;
    let names: Vec<_> = page["items"].as_array().unwrap().iter().map(|node| node["name"].clone()).collect();
    assert_eq!(names, ["db-1", "web-1"]);
    let next = page["nextCursor"].as_str().unwrap();
    let last = desk.get(&format!("/api/v1/backups?limit=2&cursor={next}")).await;
    assert_eq!(last["items"][0]["name"], "web-2");
    let web = &page["items"][1];
    assert_eq!((&web["snapshots"], &web["state"], &web["held"]), (&json!(2), &json!("unknown"), &json!(0)));
    assert_eq!(web["bytes"], json!(2 * (100 + 10 + 32)));
    let db = desk.get("/api/v1/backups?selector=role%3Ddb").await;
    assert_eq!(db["items"].as_array().unwrap().len(), 1);
    assert_eq!((&db["items"][0]["snapshots"], &db["items"][0]["newest"]), (&json!(0), &Value::Null));
    let shown = desk.get("/api/v1/backups/web-1").await;
    assert_eq!((&shown["snapshots"], &shown["holds"]), (&json!(2), &json!([])));
    assert_eq!(desk.get(&format!("/api/v1/backups/{}", fixture::id(1))).await, shown);
}

#[tokio::test]
async fn snapshots_come_in_pages_and_tell_which_policy_made_them() {
    let desk = Desk::open().await;
    for number in 1..4 {
        desk.snapshot(number, Some("etc")).await;
    }
    let first = desk.get("/api/v1/backups/web-1/snapshots?limit=2").await;
    let next = first["nextCursor"].as_str().unwrap();
    let second = desk.get(&format!("/api/v1/backups/web-1/snapshots?limit=2&cursor={next}")).await;
    let all: Vec<&Value> =
        [&first, &second].iter().flat_map(|page| page["items"].as_array().unwrap()).collect();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|item| item["policy"] == "etc" && item["deletedUntil"].is_null()), "{all:?}");
    assert_eq!(desk.get("/api/v1/backups/web-2/snapshots?deleted=true").await["items"], json!([]));
}

#[tokio::test]
async fn key_files_come_as_they_are_to_those_who_may_order_and_to_no_viewer() {
    let desk = Desk::open().await;
    let path = "/api/v1/backups/web-1/keys";
    let none = desk.site.answer(request("GET", path, &desk.admin, None)).await;
    assert_eq!(problem(none).await.code, "backup_none");
    let long = vec![b'x'; 70_000];
    let (first, second) = (desk.key(b"{\"one\":1}").await, desk.key(&long).await);
    let all = desk.get(path).await;
    let item = |id: Digest| {
        let items = all["items"].as_array().unwrap();
        items.iter().find(|item| item["key"] == json!(id)).unwrap().clone()
    };
    assert_eq!(item(first)["content"], json!(data_encoding::BASE64.encode(b"{\"one\":1}")));
    assert_eq!((&item(second)["content"], &item(second)["size"]), (&Value::Null, &json!(70_000)));
    let page = desk.get(&format!("{path}?limit=1")).await;
    let next = page["nextCursor"].as_str().unwrap();
    let last = desk.get(&format!("{path}?limit=1&cursor={next}")).await;
    assert_ne!(page["items"][0]["key"], last["items"][0]["key"]);
    assert!(last["nextCursor"].is_null());
    for (role, status) in [(AccessRole::Viewer, 403), (AccessRole::Operator, 200), (AccessRole::Backup, 200)]
    {
        let by = desk.token(role, "").await;
        let response = desk.site.answer(request("GET", path, &by, None)).await;
        assert_eq!(response.status().as_u16(), status, "{role:?}");
    }
}

#[tokio::test]
async fn a_proposal_that_is_held_is_settled_by_who_may_and_by_nobody_else() {
    let desk = Desk::open().await;
    let (first, second) = (desk.snapshot(1, Some("etc")).await, desk.snapshot(2, Some("etc")).await);
    let (mut snapshots, node) = (vec![first, second], fixture::id(1));
    snapshots.sort_unstable();
    let proposal = Proposal { snapshots, ..Proposal::default() };
    let decided = desk.site.services.backups.propose(node, proposal).await.unwrap();
    assert!(decided.held.is_some());
    let shown = desk.get("/api/v1/backups/web-1").await;
    assert_eq!((&shown["state"], &shown["held"]), (&json!("critical"), &json!(1)));
    assert_eq!(
        (&shown["holds"][0]["reasons"], &shown["holds"][0]["proposed"]),
        (&json!(["newest"]), &json!(2))
    );
    let (path, refuse) = ("/api/v1/backups/web-1/holds/0", json!({"settlement": "refuse"}));
    for (role, selector, status) in
        [(AccessRole::Operator, "", 403), (AccessRole::Viewer, "", 403), (AccessRole::Backup, "role=db", 404)]
    {
        let by = desk.token(role, selector).await;
        assert_eq!(desk.post(&by, path, refuse.clone()).await.0, status, "{role:?}");
    }
    let backup = desk.token(AccessRole::Backup, "role=web").await;
    let none = desk.post(&backup, "/api/v1/backups/web-1/holds/7", refuse.clone()).await;
    assert_eq!(none, (404, json!("backup_hold_none")));
    assert_eq!(desk.post(&backup, "/api/v1/backups/web-1/holds/x", refuse.clone()).await.0, 400);
    let (status, settled) = desk.post(&backup, path, refuse.clone()).await;
    assert_eq!((status, &settled["held"], &settled["snapshots"]), (200, &json!(0), &json!(2)));
    assert_eq!(desk.post(&backup, path, refuse).await.1, json!("backup_hold_none"));
    let audit = desk.get("/api/v1/audit?action=backup.settle").await;
    let ok: Vec<_> =
        audit["items"].as_array().unwrap().iter().filter(|entry| entry["outcome"] == "ok").collect();
    assert_eq!(ok.len(), 1);
    assert!(ok[0]["actor"].as_str().unwrap().starts_with("token:"), "{ok:?}");
}

#[tokio::test]
async fn what_was_never_stored_cannot_be_brought_back() {
    let desk = Desk::open().await;
    let everything = json!({});
    let none = desk.post(&desk.admin, "/api/v1/backups/web-1/undelete", everything.clone()).await;
    assert_eq!(none, (404, json!("backup_none")));
    let snapshot = desk.snapshot(1, None).await;
    let stored = json!({ "snapshot": snapshot });
    assert_eq!(
        desk.post(&desk.admin, "/api/v1/backups/web-1/undelete", stored).await.1,
        json!("backup_none")
    );
    assert_eq!(desk.post(&desk.admin, "/api/v1/backups/web-1/undelete", everything).await.0, 200);
    let viewer = desk.token(AccessRole::Viewer, "").await;
    assert_eq!(desk.post(&viewer, "/api/v1/backups/web-1/undelete", json!({})).await.0, 403);
}

#[tokio::test]
async fn figures_of_backups_are_in_the_metrics_of_nodes_that_have_any() {
    let desk = Desk::open().await;
    desk.snapshot(1, Some("etc")).await;
    let response = desk.site.answer(request("GET", "/metrics", &desk.admin, None)).await;
    let metrics = text(response).await;
    let lines: Vec<&str> = metrics.lines().filter(|line| line.starts_with("campanile_backup_")).collect();
    let labels = format!("{{node=\"web-1\",node_id=\"{}\"}}", fixture::id(1));
    assert!(lines.contains(&format!("campanile_backup_snapshots{labels} 1").as_str()), "{lines:?}");
    assert!(lines.contains(&format!("campanile_backup_stored_bytes{labels} 142").as_str()), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("web-1")), "{lines:?}");
}
