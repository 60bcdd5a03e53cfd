//! What it costs a node to verify one order: prints lines of `name value unit` for `make bench`.
//!
//! Processor time of this thread, the median of batches; no network, no journal.

use std::hint::black_box;

use campanile_common::authority::{
    Action, Authority, Class, Command, Delivery, Document, Facts, Limits, Operator, OperatorKey, Order,
    Policy, Role, TargetTree, Targets, Tier, verify,
};
use campanile_common::id::{FleetId, NodeId, OrderId};
use campanile_common::time::Timestamp;

const BATCHES: usize = 15;
const BATCH: u32 = 200;
const FLEET: FleetId = FleetId::from_bytes([1; 16]);
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn main() {
    let keys: Vec<OperatorKey> = (1..=3)
        .map(|seed| OperatorKey::from_seed([seed; 32].into()).expect("any 32 bytes are a seed"))
        .collect();
    let authority = authority(&keys);
    let listed = Targets::Nodes((1..=28).map(node).collect());
    let tree = TargetTree::new(FLEET, (1..=5000).map(node)).expect("has nodes");
    let of_tree = Targets::Tree { root: tree.root(), nodes: 5000 };
    let signers: Vec<&OperatorKey> = keys.iter().take(2).collect();
    let one = delivery(listed.clone(), Tier::Change, &signers[..1]);
    let two = delivery(listed, Tier::Critical, &signers);
    let mut proven = delivery(of_tree, Tier::Change, &signers[..1]);
    proven.proof = tree.proof(node(7));
    print("verify_tier2_28_nodes", &authority, &one);
    print("verify_tier3_28_nodes", &authority, &two);
    print("verify_tier2_tree_of_5000", &authority, &proven);
}

fn node(number: u32) -> NodeId {
    let mut bytes = [0; 8];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn authority(keys: &[OperatorKey]) -> Authority {
    let operator = |(name, key): (&str, &OperatorKey)| Operator {
        name: name.to_owned(),
        key: key.public(),
        roles: Role::ALL.into(),
    };
    let mut operators = ["a", "b", "c"].into_iter().zip(keys).map(operator);
    let first = operators.next().expect("three keys");
    let expires = Timestamp::from_millis(NOW.as_millis() * 2);
    let mut document = Document::first(FLEET, "bench".to_owned(), first, Timestamp::from_millis(1), expires);
    document.operators.extend(operators);
    document.thresholds.insert(Role::Critical, 2);
    let signed = document.sign(&keys.iter().collect::<Vec<_>>()).expect("is consistent");
    let pin = signed.digest();
    signed.verify_pinned(pin).expect("is signed")
}

fn delivery(targets: Targets, tier: Tier, keys: &[&OperatorKey]) -> Delivery {
    let argv = ["systemctl", "is-active", "nginx"].map(str::to_owned).into();
    let order = Order {
        format: Order::FORMAT,
        fleet: FLEET,
        id: OrderId::from_bytes([7; 16]),
        authority_version: 1,
        tier,
        not_before: Timestamp::from_millis(NOW.as_millis() - 60_000),
        expires: Timestamp::from_millis(NOW.as_millis() + 60_000),
        targets,
        action: Action::Run(Command { argv, user: None, stdin: Vec::new() }),
        limits: Limits::default(),
        standing: None,
        reason: String::new(),
    };
    Delivery { order: order.sign(keys).expect("is consistent"), proof: None, occurrence: None }
}

fn print(name: &str, authority: &Authority, delivery: &Delivery) {
    let policy = Policy { highest_tier: Tier::Critical, classes: Class::ALL.into(), ..Policy::default() };
    let facts =
        Facts { authority, catalogue: None, policy: &policy, node: node(7), steward_user: "root", now: NOW };
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let before = cpu_seconds();
            for _ in 0..BATCH {
                black_box(verify(black_box(delivery), &facts)).expect("is a good order");
            }
            (cpu_seconds() - before) / f64::from(BATCH) * 1e6
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    println!("{name} {:.1} us", batches[BATCHES / 2]);
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // Both are far below 2^52.
    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}
