//! A small fleet for the tests of this folder.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{
    Action, Authority, Catalogue, CatalogueCommand, CatalogueDocument, Command, Delivery, Document, Limits,
    Operator, OperatorKey, Order, Parameter, ParameterKind, Policy, Role, ServiceRule, ServiceVerb,
    SignedOrder, Targets, Tier,
};
use crate::id::{FleetId, NodeId, OrderId};
use crate::time::Timestamp;

pub(super) const FLEET: FleetId = FleetId::from_bytes([1; 16]);
pub(super) const NODE: NodeId = NodeId::from_bytes([7; 8]);
/// Within the validity of every document here.
pub(super) const NOW: Timestamp = Timestamp::from_millis(5_000_000);

pub(super) fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

pub(super) fn operator(name: &str, seed: u8) -> Operator {
    Operator { name: name.to_owned(), key: key(seed).public(), roles: Role::ALL.into() }
}

/// Operators ada (1), bob (2) and eve (3); two of them for tier 3.
pub(super) fn authority() -> Authority {
    let mut document = Document::first(
        FLEET,
        "acme".to_owned(),
        operator("ada", 1),
        Timestamp::from_millis(1),
        Timestamp::from_millis(900_000_000),
    );
    document.operators.extend([operator("bob", 2), operator("eve", 3)]);
    document.thresholds.insert(Role::Critical, 2);
    let signed = document.sign(&[&key(1)]).unwrap();
    let pin = signed.digest();
    signed.verify_pinned(pin).unwrap()
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 8])
}

pub(super) fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

pub(super) fn run(line: &str) -> Action {
    Action::Run(Command { argv: words(line), user: None, stdin: Vec::new() })
}

pub(super) fn restart(unit: &str) -> Action {
    Action::Service { verb: ServiceVerb::Restart, unit: unit.to_owned(), wait_healthy_ms: None }
}

pub(super) fn order(tier: Tier, action: Action) -> Order {
    Order {
        format: Order::FORMAT,
        fleet: FLEET,
        id: OrderId::from_bytes([9; 16]),
        authority_version: 1,
        tier,
        not_before: Timestamp::from_millis(4_000_000),
        expires: Timestamp::from_millis(6_000_000),
        targets: Targets::Nodes(vec![node(3), NODE]),
        action,
        limits: Limits::default(),
        standing: None,
        reason: "test".to_owned(),
    }
}

pub(super) fn deliver(order: SignedOrder) -> Delivery {
    Delivery { order, proof: None, occurrence: None }
}

pub(super) fn signed(order: &Order, seeds: &[u8]) -> Delivery {
    let keys: Vec<OperatorKey> = seeds.iter().map(|seed| key(*seed)).collect();
    deliver(order.sign(&keys.iter().collect::<Vec<_>>()).unwrap())
}

/// A policy that takes everything.
pub(super) fn open_policy() -> Policy {
    let mut policy = Policy { highest_tier: Tier::Critical, ..Policy::default() };
    policy.classes = super::Class::ALL.into();
    policy.units.change = vec!["*".to_owned()];
    policy
}

pub(super) fn catalogue_document() -> CatalogueDocument {
    let parameter = |kind| Parameter { kind, default: None, description: String::new() };
    let command = CatalogueCommand {
        description: "Packs a folder".to_owned(),
        argv: words("/usr/bin/tar --create --file=/backup/{name}.tar {folder} --level={level}"),
        user: Some("backup".to_owned()),
        parameters: BTreeMap::from([
            ("name".to_owned(), parameter(ParameterKind::Name)),
            ("folder".to_owned(), parameter(ParameterKind::Path { beneath: "/srv".to_owned() })),
            (
                "level".to_owned(),
                Parameter {
                    default: Some("3".to_owned()),
                    ..parameter(ParameterKind::Integer { min: 1, max: 9 })
                },
            ),
        ]),
    };
    CatalogueDocument {
        format: CatalogueDocument::FORMAT,
        fleet: FLEET,
        version: 4,
        authority_version: 1,
        issued: Timestamp::from_millis(1),
        expires: Timestamp::from_millis(800_000_000),
        commands: BTreeMap::from([("pack".to_owned(), command)]),
        services: vec![ServiceRule {
            unit: "web-*.service".to_owned(),
            verbs: [ServiceVerb::Restart].into(),
        }],
    }
}

pub(super) fn catalogue(authority: &Authority) -> Catalogue {
    catalogue_document().sign(&[&key(1)]).unwrap().verify(authority, None).unwrap()
}
