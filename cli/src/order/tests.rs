//! Orders for tests, and how they are composed and shown.

use campanile_common::api::{DispatchOptions, Order, OrderState, OrderTarget, TargetState};
use campanile_common::authority::{
    Action, Authority, Command, Document, Limits, Operator, OperatorKey, Role, SignedOrder, Targets, Tier,
};
use campanile_common::id::{FleetId, NodeId, OrderId};
use campanile_common::time::Timestamp;
use std::time::Duration;
use zeroize::Zeroizing;

use super::submit::Draft;
use super::*;
use crate::context::Environment;
use crate::testing;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

pub(crate) fn node_id(number: usize) -> NodeId {
    let mut bytes = [0; NodeId::BYTES];
    bytes[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
    NodeId::from_bytes(bytes)
}

pub(crate) fn target(number: usize, state: TargetState) -> OrderTarget {
    OrderTarget {
        node_id: node_id(number),
        name: format!("node-{number}"),
        state,
        result: None,
        detail: String::new(),
        exit_code: None,
        started_at: None,
        finished_at: None,
        output_bytes: 0,
        output_kept: 0,
    }
}

pub(crate) fn order(targets: Vec<OrderTarget>) -> Order {
    let counts = summary::count(&targets);
    Order {
        order_id: OrderId::from_bytes([3; OrderId::BYTES]),
        occurrence: None,
        kind: "run".to_owned(),
        action: "true".to_owned(),
        tier: 2,
        reason: String::new(),
        submitted_by: "person:ada".to_owned(),
        submitted_at: NOW,
        not_before: NOW,
        expires_at: NOW + Duration::from_secs(60),
        signed_by: vec!["ada".to_owned()],
        signatures_needed: 1,
        state: if counts.pending > 0 { OrderState::Running } else { OrderState::Done },
        counts,
        dispatch: DispatchOptions::default(),
        targets,
    }
}

pub(crate) fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

/// An authority of ada alone, whose key has seed 7.
pub(crate) fn authority() -> Authority {
    let ada = Operator { name: "ada".to_owned(), key: key(7).public(), roles: Role::ALL.into() };
    let fleet = FleetId::from_bytes([1; 16]);
    let document =
        Document::first(fleet, "acme".to_owned(), ada, NOW, NOW + Duration::from_secs(10 * 365 * 86_400));
    let signed = document.sign(&[&key(7)]).unwrap();
    let pin = signed.digest();
    signed.verify_pinned(pin).unwrap()
}

pub(crate) fn draft(nodes: &[NodeId]) -> Draft<'_> {
    Draft {
        tier: Tier::Change,
        action: Action::Run(Command { argv: vec!["true".to_owned()], user: None, stdin: Vec::new() }),
        nodes,
        limits: Limits::default(),
        standing: None,
        valid_for: Duration::from_secs(60),
        reason: "why",
    }
}

#[test]
fn few_nodes_are_listed_and_many_make_a_tree_that_proves_each() {
    let id = OrderId::from_bytes([4; OrderId::BYTES]);
    let listed: Vec<_> = (0..1024).rev().map(node_id).collect();
    let composed = draft(&listed).compose(&authority(), id, NOW).unwrap();
    assert!(matches!(&composed.order.targets, Targets::Nodes(nodes) if nodes.len() == 1024));
    assert!(composed.leaves.is_empty());
    assert!(composed.order.to_bytes().is_ok());

    let many: Vec<_> = (0..1025).map(node_id).collect();
    let composed = draft(&many).compose(&authority(), id, NOW).unwrap();
    let Targets::Tree { root, nodes } = composed.order.targets else {
        panic!("{:?}", composed.order.targets)
    };
    assert_eq!((nodes, composed.leaves.len()), (1025, 1025));
    let tree = campanile_common::authority::TargetTree::new(composed.order.fleet, many).unwrap();
    assert_eq!(tree.root(), root);
}

#[test]
fn what_is_composed_and_signed_counts_for_the_authority() {
    let nodes = [node_id(2), node_id(1), node_id(2)];
    let id = OrderId::from_bytes([4; OrderId::BYTES]);
    let composed = draft(&nodes).compose(&authority(), id, NOW).unwrap();
    assert_eq!(composed.order.not_before, NOW - Duration::from_secs(60));
    assert_eq!(composed.order.expires, NOW + Duration::from_secs(60));
    let bytes = composed.order.to_bytes().unwrap();
    let signature = crate::signer::sign_with(&key(7), crate::signer::Subject::Order, &bytes).unwrap();
    let signed = SignedOrder { bytes, signatures: vec![signature] };
    assert_eq!(signed.signers(&authority(), Role::Change).len(), 1);
    assert_eq!(signed.read().unwrap(), composed.order);
}

#[test]
fn an_order_shows_each_target_and_why() {
    let mut denied = target(2, TargetState::Denied);
    denied.detail = "the role does not allow it".to_owned();
    let shown = order(vec![target(1, TargetState::Ok), denied]);
    let text = testing::with_context(&[], &Environment::default(), |context| {
        show(context, &shown).unwrap();
    });
    assert!(text.contains("2 targeted: 1 ok, 1 denied"), "{text}");
    assert!(text.contains("node-2  denied") && text.contains("the role does not allow it"), "{text}");
}

#[test]
fn what_still_runs_is_stopped_by_an_order_of_its_own() {
    let folder = testing::operator();
    let sent = std::sync::Arc::new(std::sync::Mutex::new(None));
    let keep = std::sync::Arc::clone(&sent);
    let choose = move |line: &str, body: &str| {
        let json = |value: String| testing::answer("200 OK", &value);
        let running = order(vec![target(1, TargetState::Running), target(2, TargetState::Ok)]);
        if line.contains("/cancel ") {
            let problem = r#"{"status":409,"code":"conflict","title":"Conflict","detail":"nothing left"}"#;
            return testing::answer("409 Conflict", problem);
        }
        if line.starts_with("GET /api/v1/nodes?") {
            let nodes = vec![testing::node(1), testing::node(2)];
            let page = campanile_common::api::Page { items: nodes, next_cursor: None };
            return json(serde_json::to_string(&page).unwrap());
        }
        if line.starts_with("POST /api/v1/orders ") {
            *keep.lock().unwrap() = Some(body.to_owned());
            let problem = r#"{"status":423,"code":"frozen","title":"Frozen","detail":"audit"}"#;
            return testing::answer("423 Locked", problem);
        }
        json(serde_json::to_string(&running).unwrap())
    };
    let script = testing::Script::choosing(Box::new(choose));
    let id = order(Vec::new()).order_id;
    let (exit, _, err) = testing::campanile(&script, &folder, &["order", "cancel", &id.to_string()]);
    assert_eq!(exit, Exit::Fine, "{err}");
    assert!(err.contains("still runs on 1 nodes"), "{err}");
    assert!(sent.lock().unwrap().is_none());

    let line = ["order", "cancel", &id.to_string(), "--running"];
    testing::campanile(&script, &folder, &line);
    let request = sent.lock().unwrap().take().unwrap();
    let request: campanile_common::api::OrderRequest = serde_json::from_str(&request).unwrap();
    let (bytes, signatures) = request.order.decode().unwrap();
    let stopping = SignedOrder { bytes, signatures }.read().unwrap();
    assert_eq!(stopping.action, Action::Cancel { order: id });
    assert_eq!(stopping.targets, Targets::Nodes(vec![node_id(1)]));
}
