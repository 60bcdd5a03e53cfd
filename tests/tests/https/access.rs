//! Signing in: cookies, foreign pages, lock-out.

use serde_json::json;

use crate::fleet::Fleet;
use crate::wire::{Answer, Request};

/// Signs a new person in with a one-time link.
fn sign_in(fleet: &Fleet, name: &str) -> (String, Answer) {
    let body = json!({ "name": name, "grants": [{ "role": "viewer", "selector": "" }] });
    let created = fleet.ask("POST", "/api/v1/people", Some(body)).expect(201).json();
    let secret = created["link"].as_str().unwrap().rsplit_once("#link=").unwrap().1.to_owned();
    let answer =
        fleet.send(Request::new("POST", "/api/v1/session/link").body(json!({ "link": secret }))).expect(200);
    (secret, answer)
}

fn a_session_is_a_cookie_that_only_our_page_can_use(fleet: &Fleet) {
    let (secret, answer) = sign_in(fleet, "ada");
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.starts_with("__Host-campanile="), "{cookie}");
    for part in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let again = Request::new("POST", "/api/v1/session/link").body(json!({ "link": secret }));
    assert_eq!(fleet.send(again).expect(401).problem(), "unauthenticated");

    let pair = cookie.split(';').next().unwrap();
    let with = |method: &str, origin: &str| {
        let request = Request::new(method, "/api/v1/session").with("cookie", pair);
        fleet.send(if origin.is_empty() { request } else { request.with("origin", origin) })
    };
    with("GET", "").expect(200);
    for origin in ["https://evil.example", "http://127.0.0.1", "null", ""] {
        assert_eq!(with("DELETE", origin).expect(403).problem(), "denied", "{origin}");
    }
    let foreign = Request::new("DELETE", "/api/v1/session").with("cookie", pair);
    let foreign = foreign.with("origin", "https://127.0.0.1").with("sec-fetch-site", "cross-site");
    fleet.send(foreign).expect(403);
    let gone = with("DELETE", "https://127.0.0.1").expect(204);
    assert!(gone.header("set-cookie").contains("Max-Age=0"));
    with("GET", "").expect(401);
}

fn guessing_a_password_is_slowed_down(fleet: &Fleet) {
    let guess = |name: &str| {
        let body = json!({ "name": name, "password": "not the password" });
        fleet.send(Request::new("POST", "/api/v1/session").body(body))
    };
    sign_in(fleet, "grace");
    let refused: Vec<u16> = (0..5).map(|_| guess("grace").status).collect();
    assert_eq!(refused, [401; 5]);
    // The first lock lasts a second from the start of the fifth guess, which a slow machine spends on that guess: every
    // further one doubles it.
    let locked = (0..8).map(|_| guess("grace")).find(|answer| answer.status == 429);
    let locked = locked.expect("the name is locked after some guesses");
    assert_eq!(locked.problem(), "locked");
    assert!(locked.header("retry-after").parse::<u64>().unwrap() >= 1);
    // Whoever is not attacked is not locked, and a name that nobody has answers the same.
    assert_eq!(guess("nobody").expect(401).problem(), "unauthenticated");
}

#[test]
fn people_sign_in_and_nobody_in_their_place() {
    let fleet = Fleet::start(1);
    a_session_is_a_cookie_that_only_our_page_can_use(&fleet);
    guessing_a_password_is_slowed_down(&fleet);
}
