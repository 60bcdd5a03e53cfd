//! Orders over HTTPS: who may reach what, and what malformed requests get.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::wire::Request;

const ROLES: [&str; 6] = ["viewer", "operator", "deployer", "backup", "security", "admin"];
/// An order's id that nobody has used.
const NOWHERE: &str = "/api/v1/orders/000102030405060708090a0b0c0d0e0f";

/// A request, who of [`ROLES`] may make it (`y`), and the status they get.
type Route = (&'static str, String, Option<Value>, &'static str, u16);

fn routes() -> Vec<Route> {
    let read = |path: &str, may| ("GET", format!("/api/v1/{path}"), None, may, 200);
    let missing = |method, path: String, body, may| (method, path, body, may, 404);
    let signature = json!({ "key": "00".repeat(32), "signature": BASE64.encode(&[0; 64]) });
    vec![
        read("orders", "nyyyyy"),
        read("approvals", "nyyyyy"),
        read("authority", "yyyyyy"),
        read("catalogue", "yyyyyy"),
        read("freeze", "yyyyyy"),
        read("schedules", "yyyyyy"),
        read("ping", "yyyyyy"),
        read("nodes/node-01/stewardship", "yyyyyy"),
        read("nodes/node-01/audit", "nnnnyy"),
        read("nodes/node-01/checkpoints", "nnnnyy"),
        read("audit/key", "nnnnyy"),
        missing("GET", NOWHERE.to_owned(), None, "nyyyyy"),
        missing("GET", format!("{NOWHERE}/events"), None, "nyyyyy"),
        missing("GET", format!("{NOWHERE}/output/node-01"), None, "nyyyyy"),
        missing("POST", format!("{NOWHERE}/cancel"), None, "nyynny"),
        missing("GET", "/api/v1/approvals/authority-7".to_owned(), None, "nyyyyy"),
        missing("POST", "/api/v1/approvals/authority-7/signatures".to_owned(), Some(signature), "nyynny"),
        missing("GET", "/api/v1/schedules/none".to_owned(), None, "yyyyyy"),
        missing("DELETE", "/api/v1/schedules/none".to_owned(), None, "nyynny"),
        missing("POST", "/api/v1/schedules/none/run".to_owned(), None, "nyynyy"),
    ]
}

#[test]
fn every_role_reaches_what_it_may_of_orders_and_nothing_else() {
    let fleet = Fleet::start(1);
    let tokens: Vec<String> = ROLES.iter().map(|role| fleet.api_token(role, "").1).collect();
    let mut wrong = Vec::new();
    for (method, path, body, may, status) in routes() {
        let request = || Request { body: body.clone(), ..Request::new(method, &path) };
        let found = fleet.send(request()).status;
        if found != 401 {
            wrong.push(format!("nobody {method} {path}: {found}"));
        }
        for ((role, token), may) in ROLES.iter().zip(&tokens).zip(may.chars()) {
            let expected = if may == 'y' { status } else { 403 };
            let answer = fleet.send(request().bearing(token));
            if answer.status != expected {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                wrong.push(format!("{role} {method} {path}: {} not {expected}, {text}", answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn who_may_freeze_may_thaw() {
    let fleet = Fleet::start(1);
    let (_, admin) = fleet.api_token("admin", "");
    let reason = json!({ "reason": "a test" });
    let thaw = |token: &str| fleet.send(Request::new("DELETE", "/api/v1/freeze").bearing(token)).status;
    for (role, may) in ROLES.iter().zip("nynnyy".chars()) {
        let (_, token) = fleet.api_token(role, "");
        let freeze = Request::new("PUT", "/api/v1/freeze").bearing(&token).body(reason.clone());
        let expected = if may == 'y' { 200 } else { 403 };
        assert_eq!(fleet.send(freeze).status, expected, "{role} freezes");
        assert_eq!(thaw(&token), expected, "{role} thaws");
        assert_eq!(thaw(&admin), 200, "thawing twice is harmless");
    }
    let freeze = || Request::new("PUT", "/api/v1/freeze").bearing(&admin).body(reason.clone());
    fleet.send(freeze()).expect(200);
    assert_eq!(fleet.send(freeze()).expect(423).problem(), "frozen");
    let change = Request::new("PATCH", "/api/v1/nodes/node-01").bearing(&admin);
    let change = change.body(json!({ "labels": { "x": "y" } }));
    assert_eq!(fleet.send(change).expect(423).problem(), "frozen");
    fleet.send(Request::new("GET", "/api/v1/orders").bearing(&admin)).expect(200);
    assert_eq!(thaw(&admin), 200);
}

#[test]
fn malformed_orders_are_refused_and_leave_nothing() {
    let fleet = Fleet::start(1);
    let order = |bytes: &str, dispatch: Value| json!({ "order": { "bytes": bytes, "signatures": [] }, "dispatch": dispatch });
    let noise = BASE64.encode(&[0xa5; 300]);
    let large = BASE64.encode(&vec![0; 48 * 1024 + 1]);
    let bodies = [
        json!({}),
        json!([]),
        order("not base64!", json!({})),
        order("", json!({})),
        order(&noise, json!({})),
        order(&large, json!({})),
        order(&noise, json!({ "batch": "0%" })),
        order(&noise, json!({ "parallel": -1 })),
        order(&noise, json!({ "unknown": true })),
    ];
    let (_, token) = fleet.api_token("admin", "");
    for path in ["/api/v1/orders", "/api/v1/catalogue", "/api/v1/authority", "/api/v1/schedules"] {
        let method = if path.ends_with("orders") || path.ends_with("schedules") { "POST" } else { "PUT" };
        for body in &bodies {
            let answer = fleet.send(Request::new(method, path).bearing(&token).body(body.clone()));
            assert!((400..500).contains(&answer.status), "{method} {path} {body}: {}", answer.status);
            answer.problem();
        }
    }
    let orders = fleet.send(Request::new("GET", "/api/v1/orders").bearing(&token)).expect(200).json();
    assert_eq!(orders["items"], json!([]));
}
