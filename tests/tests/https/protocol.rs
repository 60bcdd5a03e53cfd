//! TLS, headers, and how requests that make no sense are answered.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::fleet::{Fleet, PATIENCE};
use crate::wire::Request;

/// A `ClientHello` that offers TLS 1.2 and nothing newer, with suites that servers of that version know.
fn hello_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]); // ECDHE with AES-128-GCM, ECDSA and RSA
    body.extend([1, 0]); // no compression
    let extensions: [&[u8]; 3] = [
        &[0, 10, 0, 4, 0, 2, 0, 23],      // groups: P-256
        &[0, 11, 0, 2, 1, 0],             // points: uncompressed
        &[0, 13, 0, 6, 0, 4, 4, 3, 4, 1], // signatures: ECDSA and RSA with SHA-256
    ];
    let extensions = extensions.concat();
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    record.extend([1, 0]);
    record.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    record.extend(body);
    record
}

fn tls_is_1_3_with_the_fleets_names(fleet: &Fleet) {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, fleet.port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&hello_of_tls_1_2()).unwrap();
    let mut alert = Vec::new();
    socket.read_to_end(&mut alert).unwrap();
    // A fatal alert: protocol version.
    assert_eq!((alert[0], &alert[5..7]), (21, &[2, 70][..]), "{alert:?}");

    assert_eq!(fleet.shake_hands("127.0.0.1", b"h2").unwrap(), Some(b"h2".to_vec()));
    let other = fleet.shake_hands("other.example", b"http/1.1").unwrap_err();
    assert!(other.to_string().contains("not valid for name"), "{other}");
    assert!(fleet.shake_hands("127.0.0.1", b"other/1").is_err(), "what nobody speaks here is refused");
    // Agents whose networks drop UDP come to this port as well, and find their own protocol and no other.
    assert_eq!(fleet.shake_hands("127.0.0.1", b"campanile/1").unwrap(), Some(b"campanile/1".to_vec()));
}

fn every_answer_has_the_headers_that_protect_browsers(fleet: &Fleet) {
    for path in ["/", "/docs", "/assets/app.js", "/api/v1/health", "/nowhere"] {
        let answer = fleet.send(Request::new("GET", path));
        assert!(answer.header("strict-transport-security").contains("max-age=31536000"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
    }
    assert_eq!(fleet.ask("GET", "/api/v1/health", None).expect(200).header("cache-control"), "no-store");
}

fn what_makes_no_sense_is_a_problem_that_says_so(fleet: &Fleet) {
    let label = json!({ "labels": {}, "ttlSeconds": 60, "uses": 1, "colour": "red" });
    for (method, path, body, status, code) in [
        ("GET", "/api/v1/nowhere", None, 404, "not_found"),
        ("GET", "/api/v1/nodes/nobody", None, 404, "not_found"),
        ("DELETE", "/api/v1/health", None, 405, "invalid"),
        ("GET", "/api/v1/health?verbose=1", None, 400, "invalid"),
        ("GET", "/api/v1/nodes?selector=role%20in%20(", None, 400, "invalid"),
        ("GET", "/api/v1/nodes?limit=0", None, 400, "invalid"),
        ("GET", "/api/v1/nodes?cursor=x", None, 400, "invalid"),
        ("POST", "/api/v1/tokens", Some(label), 400, "invalid"),
        ("POST", "/api/v1/tokens", Some(json!([])), 400, "invalid"),
    ] {
        let answer = fleet.ask(method, path, body).expect(status);
        assert_eq!(answer.problem(), code, "{method} {path}");
    }
    let named = fleet.ask("GET", "/api/v1/health?verbose=1", None).json();
    assert!(named["detail"].as_str().unwrap().contains("verbose"), "{named}");

    let long = json!({ "level": "x".repeat(64 * 1024) });
    let answer = fleet.ask("PUT", "/api/v1/log-level", Some(long)).expect(413);
    assert_eq!(answer.problem(), "too_large");
}

fn a_repeated_post_has_one_effect(fleet: &Fleet) {
    let create = |key: Option<&str>, uses: u32| {
        let body = json!({ "labels": { "role": "web" }, "ttlSeconds": 600, "uses": uses });
        let request = Request::new("POST", "/api/v1/tokens").bearing(&fleet.token).body(body);
        fleet.send(match key {
            Some(key) => request.with("idempotency-key", key),
            None => request,
        })
    };
    let first = create(Some("k-1"), 1).expect(201);
    let again = create(Some("k-1"), 1).expect(201);
    assert_eq!(first.json(), again.json());
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_ne!(create(None, 1).expect(201).json()["token"], first.json()["token"]);
    assert_eq!(create(Some("k-1"), 2).expect(422).problem(), "invalid");
}

fn a_node_changes_only_as_it_was_read(fleet: &Fleet) {
    let tag = fleet.ask("GET", "/api/v1/nodes/node-01", None).expect(200).header("etag").to_owned();
    let label = |tag: &str, value: &str| {
        let request = Request::new("PATCH", "/api/v1/nodes/node-01").bearing(&fleet.token);
        fleet.send(request.with("if-match", tag).body(json!({ "labels": { "zone": value } })))
    };
    let changed = label(&tag, "a").expect(200);
    assert_ne!(changed.header("etag"), tag);
    assert_eq!(label(&tag, "b").expect(412).problem(), "precondition_failed");
    assert_eq!(fleet.ask("GET", "/api/v1/nodes/node-01", None).json()["labels"]["zone"], "a");
}

#[test]
fn the_server_keeps_to_its_protocol() {
    let fleet = Fleet::start(1);
    tls_is_1_3_with_the_fleets_names(&fleet);
    every_answer_has_the_headers_that_protect_browsers(&fleet);
    what_makes_no_sense_is_a_problem_that_says_so(&fleet);
    a_repeated_post_has_one_effect(&fleet);
    a_node_changes_only_as_it_was_read(&fleet);
    assert!(fleet.connect().wait_for_end(Duration::from_millis(100)).is_none());
}
