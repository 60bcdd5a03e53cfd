//! Envelopes with something changed, each by a seed.

use campanile_common::authority::SignedOrder;
use campanile_tests::random::Random;

/// `order` with one to three changes, never the same bytes under the same signatures.
pub(crate) fn mutated(random: &mut Random, order: &SignedOrder) -> SignedOrder {
    loop {
        let mut changed = order.clone();
        for _ in 0..=random.index(3) {
            change(random, &mut changed);
        }
        // A signature that was only moved or doubled leaves a good order good.
        let is_other = changed.bytes != order.bytes
            || !order.signatures.iter().all(|signature| changed.signatures.contains(signature));
        if is_other {
            return changed;
        }
    }
}

fn change(random: &mut Random, order: &mut SignedOrder) {
    let place = random.index(order.bytes.len());
    match random.index(8) {
        0 => order.bytes[place] ^= 1 << random.index(8),
        1 => order.bytes[place] = random.number().to_le_bytes()[0],
        2 => order.bytes.truncate(place.max(1)),
        3 => order.bytes.push(random.number().to_le_bytes()[0]),
        4 => {
            let length = random.index(8).min(order.bytes.len() - place);
            let piece = order.bytes[place..place + length].to_vec();
            order.bytes.splice(place..place, piece);
        }
        5 => {
            let Some(signature) = order.signatures.first_mut() else { return };
            let byte = random.index(signature.bytes.len());
            signature.bytes[byte] ^= 1 << random.index(8);
        }
        6 => {
            let other = random.index(order.bytes.len());
            order.bytes.swap(place, other);
        }
        _ => order.signatures.iter_mut().for_each(|signature| signature.bytes.truncate(63)),
    }
}
