//! Who may order what: the steward's own pin, policy and memory decide.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_agent::steward::protocol::{StewardEvent, StewardRequest, Tag};
use campanile_common::authority::{
    Action, CatalogueCommand, CatalogueDocument, Delivery, DenialCode, Operator, Order, Role,
    SignedCatalogue, Standing, Targets, Tier,
};
use campanile_common::id::{FleetId, NodeId};
use campanile_common::wire::v1::order::{Deliver, DeliveryMode, RunResult};

use crate::support::{
    Client, FLEET, Node, code, deliver, first_authority, first_document, key, now, order, run_of, shell,
};

fn denial(client: &mut Client, deliver: &Deliver) -> Option<DenialCode> {
    client.deliver(deliver);
    let run = run_of(&deliver.delivery.order.read().unwrap());
    code(&client.outcome(run).outcome.result)
}

fn denial_of(client: &mut Client, change: impl FnOnce(&mut Order)) -> Option<DenialCode> {
    let mut order = shell("true");
    change(&mut order);
    denial(client, &deliver(&order))
}

#[test]
fn what_is_forged_widened_or_out_of_its_time_is_denied_and_written_down() {
    let node = Node::new();
    let mut client = node.client();
    let hour = Duration::from_secs(3600);
    let minute = Duration::from_secs(60);
    let mut denied = vec![
        denial_of(&mut client, |order| order.fleet = FleetId::from_bytes([9; 16])),
        denial_of(&mut client, |order| order.targets = Targets::Nodes(vec![NodeId::from_bytes([9; 8])])),
        denial_of(&mut client, |order| (order.not_before, order.expires) = (now() + hour, now() + hour * 2)),
        denial_of(&mut client, |order| (order.not_before, order.expires) = (now() - hour, now() - minute)),
        denial_of(&mut client, |order| order.authority_version = 2),
    ];
    let stolen = shell("true").sign(&[&key(9)]).unwrap();
    let unsigned = shell("true").sign(&[]).unwrap();
    let mut swapped = shell("true").sign(&[&key(1)]).unwrap();
    swapped.bytes = shell("false").to_bytes().unwrap();
    for order in [stolen, unsigned, swapped] {
        let delivery = Delivery { order, proof: None, occurrence: None };
        denied.push(denial(&mut client, &Deliver { delivery, mode: DeliveryMode::Start, journal: None }));
    }
    use DenialCode::{AuthorityUnknown, Expired, ForeignFleet, NotTarget, NotYetValid, Signatures};
    let expected =
        [ForeignFleet, NotTarget, NotYetValid, Expired, AuthorityUnknown, Signatures, Signatures, Signatures];
    assert_eq!(denied, expected.map(Some));
    let entries = client.audit();
    assert_eq!(entries.iter().filter(|entry| entry.action == "order.denied").count(), expected.len());
    assert!(!entries.iter().any(|entry| entry.action == "order.started"));
}

#[test]
fn one_id_is_one_order() {
    let node = Node::new();
    let mut client = node.client();
    let marker = node.path("marker");
    let first = shell(&format!("echo x >> {}", marker.display()));
    client.run(&first);
    for _ in 0..3 {
        assert_eq!(client.run(&first).outcome.result, RunResult::Exited { code: 0 });
    }
    assert_eq!(std::fs::read_to_string(&marker).unwrap(), "x\n");
    let mut other = shell("true");
    other.id = first.id;
    assert_eq!(denial(&mut client, &deliver(&other)), Some(DenialCode::Replayed));
}

#[test]
fn asked_to_report_nothing_is_started() {
    let node = Node::new();
    let mut client = node.client();
    let order = shell("true");
    let mut report = deliver(&order);
    report.mode = DeliveryMode::Report;
    client.deliver(&report);
    assert_eq!(client.outcome(run_of(&order)).outcome.result, RunResult::Unknown);
    assert!(!client.audit().iter().any(|entry| entry.action == "order.started"));
}

#[test]
fn the_policy_is_asked_each_time() {
    let node = Node::new();
    let mut client = node.client();
    let mut denied_under = |policy: &str| {
        node.write_policy(policy);
        let outcome = client.run(&shell("true")).outcome.result;
        (code(&outcome), outcome)
    };
    assert_eq!(denied_under("highest_tier = 1\nclasses = [\"shell\"]\n").0, Some(DenialCode::PolicyTier));
    assert_eq!(denied_under("highest_tier = 2\n").0, Some(DenialCode::PolicyClass));
    let critical = "highest_tier = 2\nclasses = [\"shell\"]\n[commands]\ncritical = [\"sh **\"]\n";
    assert_eq!(denied_under(critical).0, Some(DenialCode::PolicyCommand));
    let users = "highest_tier = 2\nclasses = [\"shell\"]\n[commands]\nusers = [\"nobody\"]\n";
    assert_eq!(denied_under(users).0, Some(DenialCode::PolicyUser));
    let (found, malformed) = denied_under("highest_tier = 2\nclasses = [\"shell\"\n");
    assert_eq!(found, Some(DenialCode::PolicyTier));
    assert!(
        matches!(&malformed, RunResult::Denied(denial) if denial.reason.contains("line 2")),
        "{malformed:?}"
    );
    assert_eq!(denied_under("highest_tier = 2\nclasses = [\"shell\"]\n").1, RunResult::Exited { code: 0 });
    std::fs::remove_file(node.path("policy.toml")).unwrap();
    assert_eq!(code(&client.run(&shell("true")).outcome.result), Some(DenialCode::PolicyTier));
    assert!(client.describe().policy_source.starts_with("built in"));
}

#[test]
fn limits_of_the_policy_hold_whatever_the_order_says() {
    let node = Node::new();
    node.write_policy("highest_tier = 2\nclasses = [\"shell\"]\n[limits]\ntime_s = 1\noutput_bytes = 10\n");
    let mut client = node.client();
    let told = client.run(&shell("echo 0123456789abcdef; sleep 1000"));
    assert_eq!(told.outcome.result, RunResult::TimedOut);
    assert_eq!((told.outcome.output_bytes, told.stdout.len()), (17, 10));
}

#[test]
fn a_node_that_is_not_enrolled_denies_until_it_is() {
    let node = Node::new();
    let mut client = node.client();
    std::fs::rename(node.state().join("pin"), node.path("pin")).unwrap();
    let outcome = client.run(&shell("true")).outcome.result;
    assert!(
        matches!(&outcome, RunResult::Denied(denial) if denial.code == DenialCode::NoSteward && denial.reason.contains("enrol")),
        "{outcome:?}"
    );
    std::fs::rename(node.path("pin"), node.state().join("pin")).unwrap();
    assert_eq!(client.run(&shell("true")).outcome.result, RunResult::Exited { code: 0 });
}

fn catalogue(version: u64, argv: &[&str]) -> SignedCatalogue {
    let command = CatalogueCommand {
        description: String::new(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        user: None,
        parameters: BTreeMap::new(),
    };
    let document = CatalogueDocument {
        format: CatalogueDocument::FORMAT,
        fleet: FLEET,
        version,
        authority_version: 1,
        issued: now() - Duration::from_secs(60),
        expires: now() + Duration::from_secs(3600),
        commands: [("greet".to_owned(), command)].into(),
        services: Vec::new(),
    };
    document.sign(&[&key(1)]).unwrap()
}

fn routine(version: u64) -> Order {
    let mut order =
        order(Action::Routine { catalogue: version, name: "greet".to_owned(), arguments: BTreeMap::new() });
    order.tier = Tier::Routine;
    order
}

fn unsigned(order: &Order) -> Deliver {
    let order = order.sign(&[]).unwrap();
    let delivery = Delivery { order, proof: None, occurrence: None };
    Deliver { delivery, mode: DeliveryMode::Start, journal: None }
}

#[test]
fn routines_run_without_a_signature_from_the_newest_catalogue_alone() {
    let node = Node::new();
    let mut client = node.client();
    assert_eq!(denial(&mut client, &unsigned(&routine(1))), Some(DenialCode::Catalogue));
    client.send(&StewardRequest::Catalogue(Tag(1), catalogue(2, &["echo", "hello"])));
    assert_eq!(client.next(), Some(StewardEvent::Followed(Tag(1), 1, Some(2))));
    let greet = routine(2);
    client.deliver(&unsigned(&greet));
    assert_eq!(client.outcome(run_of(&greet)).stdout, b"hello\n");
    client.send(&StewardRequest::Catalogue(Tag(2), catalogue(1, &["echo", "older"])));
    assert!(matches!(client.next(), Some(StewardEvent::Refused(Tag(2), reason)) if reason.contains("newer")));
    assert_eq!(denial(&mut client, &unsigned(&routine(1))), Some(DenialCode::Catalogue));
    assert!(client.audit().iter().any(|entry| entry.action == "catalogue.refuse"));
}

#[test]
fn a_removed_operator_orders_nothing_and_the_old_authority_does_not_return() {
    let mut node = Node::new();
    let mut client = node.client();
    client.send(&StewardRequest::Catalogue(Tag(1), catalogue(1, &["echo", "hello"])));
    client.next();
    let mut next = first_document().successor(first_authority().digest(), now());
    // The document before was made anew with another time: take the digest of the one that was pinned.
    let pinned = std::fs::read(node.state().join("authority/0000000001")).unwrap();
    let pinned: campanile_common::authority::SignedAuthority =
        campanile_common::wire::codec::decode("SignedAuthority", &pinned).unwrap();
    next.previous = Some(pinned.digest());
    let roles = Role::ALL.into_iter().collect();
    next.operators = vec![Operator { name: "bob".to_owned(), key: key(2).public(), roles }];
    let next = next.sign(&[&key(1)]).unwrap();
    client.send(&StewardRequest::Authority(Tag(2), next));
    assert_eq!(
        client.next(),
        Some(StewardEvent::Followed(Tag(2), 2, None)),
        "the catalogue fell with its signer"
    );
    assert_eq!(denial(&mut client, &deliver(&shell("true"))), Some(DenialCode::Signatures));
    assert_eq!(denial(&mut client, &unsigned(&routine(1))), Some(DenialCode::Catalogue));
    client.send(&StewardRequest::Authority(Tag(3), pinned));
    assert!(matches!(client.next(), Some(StewardEvent::Refused(Tag(3), _))));
    node.kill();
    node.start();
    let mut client = node.client();
    assert_eq!(client.describe().authority_version, 2);
    assert_eq!(denial(&mut client, &deliver(&shell("true"))), Some(DenialCode::Signatures));
    let entries = client.audit();
    for action in ["authority.follow", "authority.refuse", "catalogue.drop"] {
        assert!(entries.iter().any(|entry| entry.action == action), "{action}");
    }
}

#[test]
fn a_standing_order_runs_when_it_is_due_and_as_often_as_it_may() {
    let node = Node::new();
    let mut client = node.client();
    let mut order = shell("true");
    (order.not_before, order.expires) = (now() - Duration::from_secs(600), now() + Duration::from_secs(600));
    order.standing = Some(Standing { interval_s: 60, lateness_s: 60, runs_max: 2 });
    let begun = now();
    let mut result_at = |seconds_ago: u64| {
        let mut deliver = deliver(&order);
        let due = begun - Duration::from_secs(seconds_ago);
        deliver.delivery.occurrence = Some(due);
        client.deliver(&deliver);
        client
            .outcome(campanile_common::authority::RunId { order: order.id, occurrence: Some(due) })
            .outcome
            .result
    };
    assert_eq!(code(&result_at(300)), Some(DenialCode::Occurrence), "too late");
    assert_eq!(result_at(50), RunResult::Exited { code: 0 });
    assert_eq!(code(&result_at(20)), Some(DenialCode::Occurrence), "too soon after the last");
    assert_eq!(result_at(50), RunResult::Exited { code: 0 }, "told from the journal");
}
