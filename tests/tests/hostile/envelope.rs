//! Orders as an honest operator makes them; attacks begin from one of these.

use std::time::Duration;

use campanile_common::authority::{
    Action, Command, Delivery, Limits, OperatorKey, Order, SignedOrder, Standing, Targets, Tier,
};
use campanile_common::id::OrderId;
use campanile_common::wire::v1::order::{Deliver, DeliveryMode};

use crate::victim::{Victim, now};

/// An order that leaves a mark called `mark`.
pub(crate) fn order(victim: &Victim, tier: Tier, mark: &str) -> Order {
    let mut id = [0; 16];
    let digest = campanile_common::authority::sha256(&[mark.as_bytes()]);
    id.copy_from_slice(&digest.as_bytes()[..16]);
    let line = format!("echo executed >> {}/{mark}", victim.marks.display());
    let argv = vec!["/bin/sh".to_owned(), "-c".to_owned(), line];
    Order {
        format: Order::FORMAT,
        fleet: victim.file.fleet_id,
        id: OrderId::from_bytes(id),
        authority_version: 3,
        tier,
        not_before: now() - Duration::from_secs(60),
        expires: now() + Duration::from_secs(600),
        targets: Targets::Nodes(vec![victim.node]),
        action: Action::Run(Command { argv, user: None, stdin: Vec::new() }),
        limits: Limits { timeout_ms: 10_000, output_bytes: 4096 },
        standing: None,
        reason: mark.to_owned(),
    }
}

/// A standing order that leaves a mark at each run.
pub(crate) fn standing(victim: &Victim, mark: &str) -> Order {
    let standing = Some(Standing { interval_s: 60, lateness_s: 60, runs_max: 3 });
    Order { standing, ..order(victim, Tier::Change, mark) }
}

pub(crate) fn signed(order: &Order, keys: &[&OperatorKey]) -> SignedOrder {
    order.sign(keys).expect("is consistent")
}

/// To be started.
pub(crate) fn deliver(order: SignedOrder) -> Deliver {
    let delivery = Delivery { order, proof: None, occurrence: None };
    Deliver { delivery, mode: DeliveryMode::Start, journal: None }
}
