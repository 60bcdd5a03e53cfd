//! Who may do what: every role on every route, and a grant over a part of the fleet.

use serde_json::{Value, json};

use crate::events::Stream;
use crate::fleet::Fleet;
use crate::wire::Request;

const ROLES: [&str; 6] = ["viewer", "operator", "deployer", "backup", "security", "admin"];

/// A request, who of [`ROLES`] may make it (`y`), and the status they get.
struct Route {
    method: &'static str,
    path: &'static str,
    body: fn() -> Option<Value>,
    may: &'static str,
    status: u16,
}

const fn read(path: &'static str, may: &'static str) -> Route {
    Route { method: "GET", path, body: || None, may, status: 200 }
}

const fn change(
    method: &'static str,
    path: &'static str,
    may: &'static str,
    status: u16,
    body: fn() -> Option<Value>,
) -> Route {
    Route { method, path, body, may, status }
}

const ROUTES: &[Route] = &[
    read("/api/v1/session", "yyyyyy"),
    read("/api/v1/health", "yyyyyy"),
    read("/api/v1/status", "yyyyyy"),
    read("/api/v1/nodes", "yyyyyy"),
    read("/api/v1/nodes/node-01", "yyyyyy"),
    read("/api/v1/nodes/node-01/values", "yyyyyy"),
    read("/api/v1/nodes/node-01/series?name=node_load1", "yyyyyy"),
    read("/api/v1/nodes/node-01/coverage", "yyyyyy"),
    read("/api/v1/connections", "yyyyyy"),
    read("/metrics", "yyyyyy"),
    read("/api/v1/api-tokens", "yyyyyy"),
    read("/api/v1/nodes/node-01/top?count=3", "nyyyyy"),
    read("/api/v1/tokens", "nnnnyy"),
    read("/api/v1/audit", "nnnnyy"),
    read("/api/v1/audit/verify", "nnnnyy"),
    read("/api/v1/people", "nnnnny"),
    read("/api/v1/log-level", "nnnnny"),
    change("PATCH", "/api/v1/nodes/node-01", "nynnyy", 200, || Some(json!({ "labels": { "x": "y" } }))),
    change("POST", "/api/v1/tokens", "nnnnyy", 201, || {
        Some(json!({ "labels": { "role": "web" }, "ttlSeconds": 60, "uses": 1 }))
    }),
    change("DELETE", "/api/v1/tokens/none", "nnnnyy", 404, || None),
    change("PUT", "/api/v1/log-level", "nnnnny", 200, || Some(json!({ "level": "info" }))),
    change("DELETE", "/api/v1/people/nobody", "nnnnny", 404, || None),
    change("PUT", "/api/v1/people/nobody/grants", "nnnnny", 404, || Some(json!([]))),
    change("POST", "/api/v1/people/nobody/link", "nnnnny", 404, || None),
    change("POST", "/api/v1/people", "nnnnny", 201, || Some(json!({ "name": "ada", "grants": [] }))),
];

#[test]
fn every_role_reaches_what_it_may_and_nothing_else() {
    let fleet = Fleet::start(2);
    let tokens: Vec<String> = ROLES.iter().map(|role| fleet.api_token(role, "").1).collect();
    let mut wrong = Vec::new();
    for route in ROUTES {
        let request = || Request { body: (route.body)(), ..Request::new(route.method, route.path) };
        let status = fleet.send(request()).status;
        if status != 401 {
            wrong.push(format!("nobody {} {}: {status}", route.method, route.path));
        }
        for ((role, token), may) in ROLES.iter().zip(&tokens).zip(route.may.chars()) {
            let expected = if may == 'y' { route.status } else { 403 };
            let answer = fleet.send(request().bearing(token));
            if answer.status != expected {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                wrong.push(format!("{role} {} {}: {} {text}", route.method, route.path, answer.status));
            }
        }
    }
    // Retiring takes a node with it, so whoever may has one each.
    for (role, node, expected) in
        [(0, 1, 403), (1, 1, 403), (2, 1, 403), (3, 1, 403), (4, 1, 200), (5, 2, 200)]
    {
        let retire = Request::new("POST", &format!("/api/v1/nodes/node-0{node}/retire"));
        let status = fleet.send(retire.bearing(&tokens[role])).status;
        if status != expected {
            wrong.push(format!("{} retires: {status}", ROLES[role]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for open in ["/healthz", "/readyz", "/", "/docs", "/api/v1/openapi.json"] {
        fleet.send(Request::new("GET", open)).expect(200);
    }
}

#[test]
fn a_grant_over_a_part_of_the_fleet_shows_that_part_alone() {
    let fleet = Fleet::start(2);
    let (_, token) = fleet.api_token("security", "name=node-01");
    let ask = |method: &str, path: &str| fleet.send(Request::new(method, path).bearing(&token));
    let names = |path: &str, list: &str, key: &str| -> Vec<String> {
        let found = ask("GET", path).expect(200).json();
        found[list].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/api/v1/nodes", "items", "name"), ["node-01"]);
    assert_eq!(names("/api/v1/nodes?selector=name%3Dnode-02&state=all", "items", "name"), [""; 0]);
    assert_eq!(names("/api/v1/health", "nodeStatus", "name"), ["node-01"]);
    assert_eq!(names("/api/v1/connections", "items", "name"), ["node-01"]);
    assert_eq!(ask("GET", "/api/v1/status").expect(200).json()["nodes"], 1);
    let metrics = ask("GET", "/metrics").expect(200).text();
    assert!(metrics.contains("node-01") && !metrics.contains("node-02"));

    let hidden =
        fleet.ask("GET", "/api/v1/nodes/node-02", None).json()["nodeId"].as_str().unwrap().to_owned();
    for name in ["node-02", &hidden] {
        for (method, rest) in
            [("GET", ""), ("GET", "/top"), ("GET", "/values"), ("GET", "/coverage"), ("POST", "/retire")]
        {
            let path = format!("/api/v1/nodes/{name}{rest}");
            assert_eq!(ask(method, &path).expect(404).problem(), "not_found", "{method} {path}");
        }
    }
    ask("GET", "/api/v1/nodes/node-01/top").expect(200);
    // What concerns the whole fleet needs a grant over the whole fleet.
    ask("GET", "/api/v1/audit").expect(403);
    let elsewhere = json!({ "labels": { "role": "web" }, "ttlSeconds": 60, "uses": 1 });
    fleet.send(Request::new("POST", "/api/v1/tokens").bearing(&token).body(elsewhere)).expect(403);

    let mut stream = Stream::open(&fleet, &token, None);
    let judged = loop {
        let event = stream.next().unwrap();
        assert!(!event.body.to_string().contains(&hidden), "{event:?}");
        if event.kind == "fleet.judged" {
            break event;
        }
    };
    assert_eq!(judged.body["nodes"].as_array().unwrap().len(), 1);
}
