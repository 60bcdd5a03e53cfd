//! The stream of events.

use std::time::Duration;

use campanile_tests::support::{LocalFleet, patience};
use serde_json::json;

#[test]
fn events_come_resume_and_end_with_their_token() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let request = json!({ "name": "watcher", "grants": [{ "role": "viewer" }], "ttlSeconds": 600 });
    let created = fleet.api.call("POST", "/api/v1/api-tokens", &request).json();
    let watcher = fleet.api.with_token(created["token"].as_str().unwrap());
    let soon = patience(Duration::from_secs(5));

    let mut events = watcher.events(None);
    let patch = json!({ "labels": { "first": "1" } });
    fleet.api.call("PATCH", "/api/v1/nodes/a", &patch).json();
    let first = events.next_where(soon, |event| event.kind == "node.changed").unwrap();
    assert!(!first.id.is_empty());
    drop(events);

    // Missed while nobody listened.
    let patch = json!({ "labels": { "second": "2" } });
    fleet.api.call("PATCH", "/api/v1/nodes/a", &patch).json();
    let mut events = watcher.events(Some(&first.id));
    let missed = events.next_where(soon, |event| event.kind == "node.changed").unwrap();
    assert_ne!(missed.id, first.id);

    fleet.agent("a").stop();
    let offline = events.next_where(soon, |event| event.kind == "node.liveness-changed").unwrap();
    assert!(offline.data.contains("offline"), "{}", offline.data);

    // What cannot be resumed is said.
    let mut other = watcher.events(Some("999999999999"));
    assert!(other.next_where(soon, |event| event.kind == "reset").is_some());

    let id = created["tokenId"].as_str().unwrap();
    let revoked = fleet.api.call("DELETE", &format!("/api/v1/api-tokens/{id}"), &json!(null));
    assert_eq!(revoked.status, 204);
    assert_eq!(events.next_where(soon, |_| false), None, "the stream ends with its token");
    assert_eq!(watcher.get("/api/v1/nodes").status, 401);
}
