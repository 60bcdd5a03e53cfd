//! Keys, authorities, orders and nodes to test with.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::api::{DispatchOptions, NodeState, OrderRequest, SignedText};
use campanile_common::authority::{
    Action, Authority, Command, Document, Limits, Operator, OperatorKey, Order, Role, SignedOrder, Standing,
    Targets, Tier,
};
use campanile_common::id::{Digest, FleetId, NodeId, OrderId};
use campanile_common::label::Labels;
use campanile_common::time::Timestamp;
use zeroize::Zeroizing;

use crate::node::NodeRecord;

pub(crate) const FLEET: FleetId = FleetId::from_bytes([9; 16]);
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(crate) fn key(number: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([number; 32])).unwrap()
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 8])
}

/// Operators `op-1` and `op-2`; critical orders take both.
pub(crate) fn authority() -> Authority {
    let operator = |number: u8| Operator {
        name: format!("op-{number}"),
        key: key(number).public(),
        roles: Role::ALL.into_iter().collect(),
    };
    let end = NOW + Duration::from_secs(365 * 86_400);
    let first = Document::first(FLEET, "test".to_owned(), operator(1), NOW, end);
    let thresholds: BTreeMap<Role, u16> =
        Role::ALL.into_iter().map(|role| (role, if role == Role::Critical { 2 } else { 1 })).collect();
    let document = Document { operators: vec![operator(1), operator(2)], thresholds, ..first };
    let signed = document.sign(&[&key(1), &key(2)]).unwrap();
    let digest = signed.digest();
    signed.verify_pinned(digest).unwrap()
}

/// `true` on these nodes, tier 2.
pub(crate) fn order(number: u8, nodes: &[u8]) -> Order {
    Order {
        format: Order::FORMAT,
        fleet: FLEET,
        id: OrderId::from_bytes([number; 16]),
        authority_version: 1,
        tier: Tier::Change,
        not_before: Timestamp::from_millis(NOW.as_millis() - 60_000),
        expires: NOW + Duration::from_secs(60),
        targets: Targets::Nodes(nodes.iter().copied().map(node).collect()),
        action: Action::Run(Command { argv: vec!["true".to_owned()], user: None, stdin: Vec::new() }),
        limits: Limits::default(),
        standing: None,
        reason: "test".to_owned(),
    }
}

/// The same as a standing order, once an hour.
pub(crate) fn standing(number: u8, nodes: &[u8]) -> Order {
    let standing = Some(Standing { interval_s: 3600, lateness_s: 60, runs_max: 10 });
    Order { standing, expires: NOW + Duration::from_secs(86_400), ..order(number, nodes) }
}

pub(crate) fn text(signed: &SignedOrder) -> SignedText {
    SignedText::new(&signed.bytes, &signed.signatures)
}

/// To be submitted, signed by these operators.
pub(crate) fn request(order: &Order, signers: &[u8]) -> OrderRequest {
    let keys: Vec<OperatorKey> = signers.iter().copied().map(key).collect();
    let signed = order.sign(&keys.iter().collect::<Vec<_>>()).unwrap();
    OrderRequest { order: text(&signed), nodes: Vec::new(), dispatch: DispatchOptions::default() }
}

pub(crate) fn node_record(number: u8, labels: &str) -> NodeRecord {
    let labels: Labels = labels.parse().unwrap();
    NodeRecord {
        node_id: node(number),
        name: format!("node-{number}"),
        labels,
        state: NodeState::Active,
        key: Digest::from_bytes([number; 32]),
        pending_key: None,
        certificate_expires: NOW,
        pending_expires: None,
        enrolled: NOW,
        token_id: "t".to_owned(),
        retired: None,
        facts: None,
        agent_version: None,
    }
}
