//! The whole verb against an aggregator that follows a script, with a real key in a folder of its own.

use std::sync::{Arc, Mutex};

use campanile_common::api::{Order, OrderRequest, OrderState, Page, TargetState};
use campanile_common::authority::{Action, Role, SignedOrder, Tier};

use crate::exit::Exit;
use crate::keyring::WorkFactor;
use crate::order::tests::{order, target};
use crate::testing::{PASSPHRASE, Script, answer, campanile, events, node, operator};

/// Plays an aggregator with two nodes whose orders end as `states` says; keeps what was ordered.
fn aggregator(states: [TargetState; 2], as_proposal: bool) -> (Script, Arc<Mutex<Option<OrderRequest>>>) {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let choose = move |line: &str, body: &str| {
        let ended = || {
            let mut ended = order(vec![target(1, states[0]), target(2, states[1])]);
            if let Some(request) = &*keep.lock().unwrap() {
                ended.order_id = read(request).read().unwrap().id;
            }
            ended
        };
        if line.starts_with("GET /api/v1/nodes?") {
            let page = Page { items: vec![node(2), node(1)], next_cursor: None };
            return answer("200 OK", &serde_json::to_string(&page).unwrap());
        }
        if line.starts_with("POST /api/v1/orders ") {
            *keep.lock().unwrap() = Some(serde_json::from_str(body).unwrap());
            let mut accepted: Order = ended();
            accepted.targets.clear();
            accepted.state = if as_proposal { OrderState::Proposed } else { OrderState::Running };
            return answer("201 Created", &serde_json::to_string(&accepted).unwrap());
        }
        let event = format!("event: order\ndata: {}\n\n", serde_json::to_string(&ended()).unwrap());
        events(&event)
    };
    (Script::choosing(Box::new(choose)), kept)
}

fn read(request: &OrderRequest) -> SignedOrder {
    let (bytes, signatures) = request.order.decode().unwrap();
    SignedOrder { bytes, signatures }
}

#[test]
fn a_command_is_signed_for_exactly_the_nodes_of_the_selector() {
    let folder = operator();
    let (script, kept) = aggregator([TargetState::Ok, TargetState::Ok], false);
    let line = ["run", "-l", "role=web", "--timeout", "30s", "--batch", "50%", "--", "echo", "-l", "x"];
    let (exit, _, err) = campanile(&script, &folder, &line);
    assert_eq!((exit, err.as_str()), (Exit::Fine, "2 targeted: 2 ok\n"));

    let request = kept.lock().unwrap().take().unwrap();
    let authority = crate::authority::load(&script.environment(folder.path())).unwrap();
    let signed = read(&request);
    assert_eq!(signed.signers(&authority, Role::Change).len(), 1);
    let order = signed.read().unwrap();
    assert_eq!((order.tier, order.limits.timeout_ms), (Tier::Change, 30_000));
    let Action::Run(command) = &order.action else { panic!("{:?}", order.action) };
    assert_eq!(command.argv, ["echo", "-l", "x"]);
    let ids = [node(1).node_id, node(2).node_id];
    assert_eq!(order.targets, campanile_common::authority::Targets::Nodes(ids.into()));
    assert_eq!(request.dispatch.batch.as_deref(), Some("50%"));
    let asked = script.asked();
    assert_eq!(asked.len(), 3, "nodes, order, events: {asked:?}");
    assert!(asked[0].contains("selector=role%3Dweb"), "{asked:?}");
}

#[test]
fn every_way_to_end_has_its_code_and_its_account() {
    use TargetState::*;
    for (states, exit, account) in [
        ([Ok, Failed], Exit::SomeFailed, "2 targeted: 1 ok, 1 failed\n"),
        ([Silent, Denied], Exit::SomeSilent, "2 targeted: 0 ok, 1 silent, 1 denied\n"),
        ([Denied, Queued], Exit::Denied, "2 targeted: 0 ok, 1 denied, 1 queued\n"),
        ([Ok, Queued], Exit::Waiting, "2 targeted: 1 ok, 1 queued\n"),
    ] {
        let folder = operator();
        let (script, _) = aggregator(states, false);
        let found = campanile(&script, &folder, &["run", "node-1", "node-2", "--", "true"]);
        assert_eq!(found.0, exit, "{states:?}");
        assert!(found.2.starts_with(account), "{states:?}: {}", found.2);
    }
}

#[test]
fn another_number_of_nodes_than_expected_sends_nothing() {
    let folder = operator();
    let (script, kept) = aggregator([TargetState::Ok, TargetState::Ok], false);
    let (exit, _, err) = campanile(&script, &folder, &["run", "-l", "a=b", "--expect", "28", "--", "true"]);
    assert_eq!(exit, Exit::Usage, "{err}");
    assert!(err.contains("2 nodes are named, --expect says 28"), "{err}");
    assert!(kept.lock().unwrap().is_none());
}

#[test]
fn a_dry_run_names_the_targets_and_sends_nothing() {
    let folder = operator();
    let (script, kept) = aggregator([TargetState::Ok, TargetState::Ok], false);
    let (exit, out, _) = campanile(&script, &folder, &["run", "node-2", "--dry-run", "--", "reboot"]);
    assert_eq!(exit, Exit::Fine);
    assert_eq!(out, "would order, at tier 2: reboot\non 1 nodes:\n  node-2\n");
    assert!(kept.lock().unwrap().is_none());
}

#[test]
fn an_order_that_waits_for_signatures_says_who_must_do_what() {
    let folder = operator();
    let (script, kept) = aggregator([TargetState::Waiting, TargetState::Waiting], true);
    let line = ["run", "node-1", "--critical", "--yes", "--", "reboot"];
    let (exit, _, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Waiting, "{err}");
    assert!(err.contains("campanile approve sign"), "{err}");
    let request = kept.lock().unwrap().take().unwrap();
    assert_eq!(read(&request).read().unwrap().tier, Tier::Critical);
}

#[test]
fn a_frozen_fleet_ends_with_its_own_code() {
    let folder = operator();
    let choose = |line: &str, _: &str| {
        if line.starts_with("GET") {
            let page = Page { items: vec![node(1)], next_cursor: None };
            return answer("200 OK", &serde_json::to_string(&page).unwrap());
        }
        answer(
            "423 Locked",
            r#"{"status":423,"code":"frozen","title":"Frozen","detail":"audit until Friday"}"#,
        )
    };
    let script = Script::choosing(Box::new(choose));
    let (exit, _, err) = campanile(&script, &folder, &["run", "node-1", "--", "true"]);
    assert_eq!(exit, Exit::Frozen);
    assert!(err.contains("audit until Friday") && err.contains("unfreeze"), "{err}");
}

#[test]
fn a_key_that_the_authority_does_not_name_signs_nothing() {
    let folder = operator();
    let stranger = crate::order::tests::key(99);
    let locked = crate::keyring::lock(&stranger, PASSPHRASE, WorkFactor::Fixed(2)).unwrap();
    std::fs::write(folder.path().join(crate::keyring::KEY_FILE), locked).unwrap();
    let (script, kept) = aggregator([TargetState::Ok, TargetState::Ok], false);
    let (exit, _, err) = campanile(&script, &folder, &["run", "node-1", "--", "true"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("is of no operator"), "{err}");
    assert!(kept.lock().unwrap().is_none());
}

#[test]
fn an_unknown_node_is_named_with_the_close_ones() {
    let folder = operator();
    let (script, _) = aggregator([TargetState::Ok, TargetState::Ok], false);
    let (exit, _, err) = campanile(&script, &folder, &["run", "node-3", "--", "true"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("no active node `node-3`; did you mean"), "{err}");
}

#[test]
fn an_unlocked_key_signs_without_a_passphrase() {
    let folder = operator();
    let (script, kept) = aggregator([TargetState::Ok, TargetState::Ok], false);
    let encrypted = std::fs::read(folder.path().join(crate::keyring::KEY_FILE)).unwrap();
    let key = crate::keyring::unlock(&encrypted, PASSPHRASE).unwrap();
    // Only the agent knows the key now.
    std::fs::write(folder.path().join("passphrase"), "another passphrase\n").unwrap();
    let (exit, _, err) = campanile(&script, &folder, &["run", "node-1", "--", "true"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("wrong passphrase"), "{err}");
    let environment = script.environment(folder.path());
    let served = crate::key::serve_for_tests(&environment, key);
    let (exit, _, err) = campanile(&script, &folder, &["run", "node-1", "--", "true"]);
    assert_eq!(exit, Exit::Fine, "{err}");
    let authority = crate::authority::load(&environment).unwrap();
    let request = kept.lock().unwrap().take().unwrap();
    assert_eq!(read(&request).signers(&authority, Role::Change).len(), 1);
    assert_eq!(campanile(&script, &folder, &["key", "lock"]).0, Exit::Fine);
    served.join().unwrap();
    assert_eq!(campanile(&script, &folder, &["key", "status"]).0, Exit::Failed);
}
