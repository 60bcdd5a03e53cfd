//! Enrolment tokens in the wrong hands, too late or too often.

use std::sync::Arc;
use std::time::Duration;

use campanile_common::id::Digest;
use campanile_common::token::{Token, TokenSecret};
use campanile_common::wire::hello::RefusalCode;
use tokio::sync::Barrier;

use crate::harness::Fleet;
use crate::peer::{ENROLL, code, connect, converse, converse_on, enroll_request, random, tls};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_node_yields_one_certificate_to_a_hundred_racers() {
    const RACERS: usize = 100;
    let fleet = Arc::new(Fleet::start(2));
    let secret = fleet.token(1).secret.clone();
    let start = Arc::new(Barrier::new(RACERS));
    let mut racers = tokio::task::JoinSet::new();
    for index in 0..RACERS {
        let connection = connect(&fleet, tls(&fleet, &[ENROLL], None)).await.unwrap();
        let (request, _key) = enroll_request(secret.clone(), &format!("racer-{index}"));
        let start = Arc::clone(&start);
        racers.spawn(async move {
            let bytes = request.to_bytes().unwrap();
            start.wait().await;
            converse_on(&connection, &bytes).await
        });
    }
    let answers = racers.join_all().await;
    let (enrolled, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((enrolled.len(), refused.len()), (1, RACERS - 1));
    assert!(refused.into_iter().all(|answer| code(answer) == RefusalCode::TokenInvalid));
    let racers = fleet.nodes().into_iter().filter(|node| node.name.starts_with("racer-")).count();
    assert_eq!(racers, 1);
    let audited = fleet.audit().into_iter().filter(|entry| entry.action == "node.enroll").count();
    assert_eq!(audited, 3, "the agents beside and the winner");
    fleet.await_log(&["enrolment refused", "token_invalid"]);
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_do_not_count_enrol_nobody() {
    let fleet = Fleet::start(2);
    let enroll = async |secret: TokenSecret| {
        let (request, _key) = enroll_request(secret, "peer");
        converse(&fleet, &request.to_bytes().unwrap()).await
    };
    assert_eq!(code(enroll(TokenSecret(random())).await), RefusalCode::TokenInvalid);

    let revoked = fleet.created_token(1, 3600);
    fleet.revoke_token(&revoked.details.token_id);
    let secret = revoked.token.parse::<Token>().unwrap().secret.clone();
    let refusal = enroll(secret).await.unwrap_err();
    assert!(refusal.reason.contains("revoked"), "{refusal}");

    let used_up = fleet.token(1);
    enroll(used_up.secret.clone()).await.unwrap();
    let (again, _key) = enroll_request(used_up.secret.clone(), "another");
    let refusal = converse(&fleet, &again.to_bytes().unwrap()).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TokenInvalid);
    assert!(refusal.reason.contains("used 1 of 1"), "{refusal}");

    let taken = fleet.token(1);
    assert_eq!(code(enroll(taken.secret.clone()).await), RefusalCode::NameTaken);
    let bad_name = enroll_request(taken.secret.clone(), "no name\n{}").0;
    assert_eq!(code(converse(&fleet, &bad_name.to_bytes().unwrap()).await), RefusalCode::Malformed);
    assert_eq!(fleet.nodes().len(), 3, "the agents beside and one peer");
    fleet.assert_agents_untouched();
}

/// The agent trusts what the token pins, and says which pin did not hold.
#[test]
fn an_agent_refuses_an_aggregator_that_its_token_does_not_pin() {
    let (ours, theirs) = (Fleet::start(0), Fleet::start(0));
    let token = ours.token(5);
    let case = |name: &str, token: &Token, code: i32, parts: &[&str]| {
        let done = ours.run_enroll(name, &token.to_text());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{name}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{name}: {said}");
    };
    let elsewhere = Token { addresses: vec![theirs.address.to_string()], ..token.clone() };
    case("elsewhere", &elsewhere, 1, &["is not the aggregator this token was made by", "CA key"]);
    assert!(theirs.nodes().is_empty());
    let log = theirs.log();
    assert!(!log.contains("enrolment refused"), "the secret was not shown to a stranger");

    let misled = Token { ca_key: Digest::from_bytes([1; 32]), ..token.clone() };
    case("misled", &misled, 1, &["CA key"]);
    let other_authority = Token { authority: Digest::from_bytes([2; 32]), ..token.clone() };
    case("other-authority", &other_authority, 1, &["authority is not the one this token pins"]);
    let unknown = Token { secret: TokenSecret([3; 32]), ..token.clone() };
    case("unknown", &unknown, 5, &["token_invalid", "campanile token create"]);
    // Of another fleet, and carried to ours.
    let foreign = Token { addresses: vec![ours.address.to_string()], ..theirs.token(1) };
    case("foreign", &foreign, 1, &["CA key"]);
    case("sound", &token, 0, &[]);
}

/// The clock is the aggregator's; the shortest life of a token is a minute.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_enrols_nobody() {
    let fleet = Fleet::start(0);
    let token: Token = fleet.created_token(1, 60).token.parse().unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    let (request, _key) = enroll_request(token.secret.clone(), "late");
    let refusal = converse(&fleet, &request.to_bytes().unwrap()).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TokenInvalid);
    assert!(refusal.reason.contains("expired"), "{refusal}");
}
