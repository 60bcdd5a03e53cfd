//! What is signed counts for the verifier, and nothing else is signed.

use std::collections::BTreeSet;

use campanile_common::authority::{
    Action, Authority, CatalogueDocument, Command, Delivery, Document, Facts, Limits, Operator, Order,
    Policy, Role, Targets, Tier, verify,
};
use campanile_common::id::{FleetId, NodeId, OrderId};
use campanile_common::time::Timestamp;
use zeroize::Zeroizing;

use super::*;

const FLEET: FleetId = FleetId::from_bytes([1; 16]);
const NODE: NodeId = NodeId::from_bytes([2; NodeId::BYTES]);
const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn document() -> Document {
    let operator = Operator { name: "ada".to_owned(), key: key(7).public(), roles: Role::ALL.into() };
    Document::first(FLEET, "acme".to_owned(), operator, NOW, NOW + std::time::Duration::from_secs(86_400))
}

fn authority() -> Authority {
    let signed = document().sign(&[&key(7)]).unwrap();
    let pin = signed.digest();
    signed.verify_pinned(pin).unwrap()
}

fn order() -> Order {
    Order {
        format: Order::FORMAT,
        fleet: FLEET,
        id: OrderId::from_bytes([3; OrderId::BYTES]),
        authority_version: 1,
        tier: Tier::Change,
        not_before: NOW,
        expires: NOW + std::time::Duration::from_secs(60),
        targets: Targets::Nodes(vec![NODE]),
        action: Action::Run(Command { argv: vec!["true".to_owned()], user: None, stdin: Vec::new() }),
        limits: Limits::default(),
        standing: None,
        reason: String::new(),
    }
}

fn catalogue() -> CatalogueDocument {
    CatalogueDocument {
        format: CatalogueDocument::FORMAT,
        fleet: FLEET,
        version: 1,
        authority_version: 1,
        issued: NOW,
        expires: NOW + std::time::Duration::from_secs(60),
        commands: Default::default(),
        services: Vec::new(),
    }
}

#[test]
fn a_signed_order_is_accepted_by_a_node_that_pins_the_authority() {
    let bytes = order().to_bytes().unwrap();
    let signature = key(7).sign_subject(&bytes);
    let policy = Policy {
        highest_tier: Tier::Change,
        classes: campanile_common::authority::Class::ALL.into_iter().collect(),
        ..Policy::default()
    };
    let authority = authority();
    let facts = Facts {
        authority: &authority,
        catalogue: None,
        policy: &policy,
        node: NODE,
        steward_user: "root",
        now: NOW,
    };
    let delivery = |signatures| Delivery {
        order: SignedOrder { bytes: bytes.clone(), signatures },
        proof: None,
        occurrence: None,
    };
    assert_eq!(verify(&delivery(vec![signature]), &facts).unwrap().operators(), ["ada"]);
    let stranger = sign_with(&key(8), Subject::Order, &bytes).unwrap();
    assert!(verify(&delivery(vec![stranger]), &facts).is_err());
}

trait SignSubject {
    fn sign_subject(&self, bytes: &[u8]) -> Signature;
}

impl SignSubject for OperatorKey {
    fn sign_subject(&self, bytes: &[u8]) -> Signature {
        Signer::sign(self, Subject::Order, bytes).unwrap()
    }
}

#[test]
fn catalogues_and_authorities_are_signed_as_what_they_are() {
    let bytes = catalogue().to_bytes().unwrap();
    let signatures = vec![sign_with(&key(7), Subject::Catalogue, &bytes).unwrap()];
    assert!(SignedCatalogue { bytes, signatures }.verify(&authority(), None).is_ok());

    let current = authority();
    let next = current.document().successor(current.digest(), NOW);
    let bytes = next.sign(&[]).unwrap().bytes;
    let signatures = vec![sign_with(&key(7), Subject::Authority, &bytes).unwrap()];
    assert!(current.verify_next(SignedAuthority { bytes, signatures }).is_ok());
}

#[test]
fn bytes_of_another_kind_and_garbage_are_not_signed() {
    let kinds = [
        (Subject::Order, order().to_bytes().unwrap()),
        (Subject::Catalogue, catalogue().to_bytes().unwrap()),
        (Subject::Authority, document().sign(&[]).unwrap().bytes),
    ];
    let mut refused = BTreeSet::new();
    for (index, (subject, _)) in kinds.iter().enumerate() {
        for (other, (_, bytes)) in kinds.iter().enumerate() {
            let signed = sign_with(&key(7), *subject, bytes);
            assert_eq!(signed.is_ok(), index == other, "{subject:?} of kind {other}");
            refused.insert(signed.is_err());
        }
        for garbage in [&b""[..], b"campanile/order/v1\0", &[0; 64]] {
            assert!(sign_with(&key(7), *subject, garbage).is_err());
        }
        let mut longer = kinds[index].1.clone();
        longer.push(0);
        assert!(sign_with(&key(7), *subject, &longer).is_err(), "{subject:?}: bytes behind it");
    }
    assert_eq!(refused.len(), 2);
}
