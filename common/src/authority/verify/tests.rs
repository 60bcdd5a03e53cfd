//! Every reason for which an order is not carried out.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::TargetTree;
use super::super::fixture::{
    FLEET, NODE, NOW, authority, catalogue, catalogue_document, deliver, key, node, open_policy, operator,
    order, restart, run, signed,
};
use super::*;
use crate::id::FleetId;

struct World {
    authority: Authority,
    catalogue: Option<Catalogue>,
    policy: Policy,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let authority = authority();
        Self { catalogue: Some(catalogue(&authority)), authority, policy: open_policy(), now: NOW }
    }

    fn verify(&self, delivery: &Delivery) -> Result<VerifiedOrder, DenialCode> {
        let facts = Facts {
            authority: &self.authority,
            catalogue: self.catalogue.as_ref(),
            policy: &self.policy,
            node: NODE,
            steward_user: "root",
            now: self.now,
        };
        verify(delivery, &facts).map_err(|denial| denial.code)
    }

    #[track_caller]
    fn assert_denied(&self, delivery: &Delivery, code: DenialCode) {
        assert_eq!(self.verify(delivery).map(|order| order.run()), Err(code));
    }
}

fn change() -> Order {
    order(Tier::Change, run("uname -r"))
}

#[test]
fn a_signed_order_names_who_signed_it() {
    let verified = World::new().verify(&signed(&change(), &[2])).unwrap();
    assert_eq!(verified.operators(), ["bob"]);
    assert_eq!(verified.command().unwrap().argv, ["uname", "-r"]);
}

#[test]
fn an_order_without_a_valid_signature_is_denied() {
    let world = World::new();
    world.assert_denied(&signed(&change(), &[]), DenialCode::Signatures);
    world.assert_denied(&signed(&change(), &[8]), DenialCode::Signatures);
    let mut moved = signed(&change(), &[]);
    let mut other = change();
    other.reason = "another".to_owned();
    moved.order.signatures = signed(&other, &[1]).order.signatures;
    world.assert_denied(&moved, DenialCode::Signatures);
}

#[test]
fn tier_3_takes_distinct_operators_over_the_same_bytes() {
    let world = World::new();
    let critical = order(Tier::Critical, run("uname -r"));
    assert_eq!(world.verify(&signed(&critical, &[3, 1])).unwrap().operators(), ["ada", "eve"]);
    world.assert_denied(&signed(&critical, &[1]), DenialCode::Signatures);
    let mut twice = signed(&critical, &[1]);
    twice.order.signatures.push(twice.order.signatures[0].clone());
    world.assert_denied(&twice, DenialCode::Signatures);
    let mut other = critical.clone();
    other.id = OrderId::from_bytes([8; 16]);
    let mut moved = signed(&critical, &[1]);
    moved.order.signatures.extend(signed(&other, &[2]).order.signatures);
    world.assert_denied(&moved, DenialCode::Signatures);
}

#[test]
fn only_its_targets_take_an_order() {
    let world = World::new();
    let mut elsewhere = change();
    elsewhere.targets = Targets::Nodes(vec![node(3), node(4)]);
    world.assert_denied(&signed(&elsewhere, &[1]), DenialCode::NotTarget);
    let mut widened = signed(&elsewhere, &[1]);
    widened.order = SignedOrderWith { order: change(), signatures: &widened.order.signatures }.build();
    world.assert_denied(&widened, DenialCode::Signatures);
}

/// Another order under signatures that were made for a different one.
struct SignedOrderWith<'a> {
    order: Order,
    signatures: &'a [super::super::Signature],
}

impl SignedOrderWith<'_> {
    fn build(self) -> super::super::SignedOrder {
        super::super::SignedOrder {
            bytes: self.order.to_bytes().unwrap(),
            signatures: self.signatures.to_vec(),
        }
    }
}

#[test]
fn a_tree_of_targets_takes_a_proof() {
    let world = World::new();
    let tree = TargetTree::new(FLEET, (1..40).map(node)).unwrap();
    let mut order = change();
    order.targets = Targets::Tree { root: tree.root(), nodes: 39 };
    let mut delivery = signed(&order, &[1]);
    world.assert_denied(&delivery, DenialCode::NotTarget);
    delivery.proof = tree.proof(node(3));
    world.assert_denied(&delivery, DenialCode::NotTarget);
    delivery.proof = tree.proof(NODE);
    assert!(world.verify(&delivery).is_ok());
    let mut listed = signed(&change(), &[1]);
    listed.proof = tree.proof(NODE);
    world.assert_denied(&listed, DenialCode::NotTarget);
}

#[test]
fn time_fleet_and_authority_bound_an_order() {
    let mut world = World::new();
    let delivery = signed(&change(), &[1]);
    world.now = change().not_before - Duration::from_millis(1);
    world.assert_denied(&delivery, DenialCode::NotYetValid);
    world.now = change().expires;
    world.assert_denied(&delivery, DenialCode::Expired);
    world.now = NOW;
    let mut foreign = change();
    foreign.fleet = FleetId::from_bytes([2; 16]);
    world.assert_denied(&signed(&foreign, &[1]), DenialCode::ForeignFleet);
    let mut newer = change();
    newer.authority_version = 2;
    world.assert_denied(&signed(&newer, &[1]), DenialCode::AuthorityUnknown);
    let mut late = change();
    (late.not_before, late.expires) =
        (Timestamp::from_millis(899_999_000), Timestamp::from_millis(900_009_000));
    world.now = Timestamp::from_millis(900_000_001);
    world.assert_denied(&signed(&late, &[1]), DenialCode::AuthorityExpired);
}

#[test]
fn a_removed_operator_signs_for_nothing_even_in_old_orders() {
    let mut world = World::new();
    let delivery = signed(&change(), &[1]);
    let mut next = world.authority.document().successor(world.authority.digest(), Timestamp::from_millis(2));
    next.operators = vec![operator("bob", 2), operator("eve", 3)];
    world.authority = world.authority.verify_next(next.sign(&[&key(1)]).unwrap()).unwrap();
    world.assert_denied(&delivery, DenialCode::Signatures);
    assert!(
        world.verify(&signed(&change(), &[2])).is_ok(),
        "who stays may have signed under the old version"
    );
}

#[test]
fn tier_1_takes_what_the_catalogue_in_force_names() {
    let mut world = World::new();
    let service = |unit| signed(&order(Tier::Routine, restart(unit)), &[]);
    assert!(world.verify(&service("web-1.service")).is_ok());
    world.assert_denied(&service("ssh.service"), DenialCode::Catalogue);
    let routine = |version, folder: &str| {
        let arguments =
            BTreeMap::from([("name".to_owned(), "web".to_owned()), ("folder".to_owned(), folder.to_owned())]);
        let action = Action::Routine { catalogue: version, name: "pack".to_owned(), arguments };
        signed(&order(Tier::Routine, action), &[])
    };
    assert_eq!(world.verify(&routine(4, "/srv/web")).unwrap().command().unwrap().argv[3], "/srv/web");
    world.assert_denied(&routine(4, "/etc"), DenialCode::Catalogue);
    world.assert_denied(&routine(3, "/srv/web"), DenialCode::Catalogue);
    world.now = catalogue_document().expires;
    let mut late = order(Tier::Routine, restart("web-1.service"));
    (late.not_before, late.expires) = (world.now, world.now + Duration::from_secs(9));
    world.assert_denied(&signed(&late, &[]), DenialCode::Catalogue);
    world.now = NOW;
    world.catalogue = None;
    world.assert_denied(&routine(4, "/srv/web"), DenialCode::Catalogue);
    assert!(world.verify(&signed(&order(Tier::Change, restart("ssh.service")), &[1])).is_ok(), "signed");
}

#[test]
fn a_tier_below_the_action_is_malformed_and_the_policy_has_the_last_word() {
    let mut world = World::new();
    let mut low = change();
    low.tier = Tier::Routine;
    assert!(low.to_bytes().is_err());
    world.policy = Policy::default();
    world.assert_denied(&signed(&change(), &[1]), DenialCode::PolicyTier);
}

#[test]
fn a_standing_order_runs_when_it_is_due() {
    let mut world = World::new();
    let mut standing = change();
    standing.standing = Some(Standing { interval_s: 60, lateness_s: 30, runs_max: 5 });
    let mut delivery = signed(&standing, &[1]);
    world.assert_denied(&delivery, DenialCode::Occurrence);
    delivery.occurrence = Some(NOW);
    assert_eq!(world.verify(&delivery).unwrap().run().occurrence, Some(NOW));
    world.now = NOW + Duration::from_secs(30);
    assert!(world.verify(&delivery).is_ok());
    world.now = NOW + Duration::from_secs(31);
    world.assert_denied(&delivery, DenialCode::Occurrence);
    world.now = NOW - Duration::from_millis(1);
    world.assert_denied(&delivery, DenialCode::Occurrence);
    let mut once = signed(&change(), &[1]);
    once.occurrence = Some(NOW);
    world.now = NOW;
    world.assert_denied(&once, DenialCode::Occurrence);
}

#[test]
fn no_altered_byte_is_ever_accepted() {
    let world = World::new();
    let delivery = signed(&order(Tier::Critical, run("uname -r")), &[1, 2]);
    for index in 0..delivery.order.bytes.len() {
        for bit in 0..8 {
            let mut altered = delivery.clone();
            altered.order.bytes[index] ^= 1 << bit;
            assert!(world.verify(&altered).is_err(), "byte {index} bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_at_all_are_accepted_without_a_signature(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let order = super::super::SignedOrder { bytes, signatures: Vec::new() };
        prop_assert!(World::new().verify(&deliver(order)).is_err());
    }
}

#[test]
fn what_breaks_a_limit_is_not_even_signed() {
    let broken: [fn(&mut Order); 9] = [
        |order| order.targets = Targets::Nodes(Vec::new()),
        |order| order.targets = Targets::Nodes(vec![NODE, NODE]),
        |order| order.targets = Targets::Nodes(vec![NODE, node(3)]),
        |order| order.expires = order.not_before,
        |order| order.expires = order.not_before + super::super::VALIDITY_MAX + Duration::from_millis(1),
        |order| order.limits.timeout_ms = 0,
        |order| order.limits.output_bytes = super::super::OUTPUT_BYTES_MAX + 1,
        |order| order.action = run(""),
        |order| order.action = restart("not a unit"),
    ];
    for damage in broken {
        let mut order = change();
        damage(&mut order);
        assert!(order.sign(&[&key(1)]).is_err(), "{order:?}");
    }
}
