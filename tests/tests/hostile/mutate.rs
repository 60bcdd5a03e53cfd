//! Envelopes with something changed, each by a seed.

use campanile_common::authority::SignedOrder;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of this run: `CAMPANILE_SEED`, or another one each time.
    pub(crate) fn seed() -> u64 {
        use std::hash::{BuildHasher as _, RandomState};
        match std::env::var("CAMPANILE_SEED") {
            Ok(text) => text.parse().expect("CAMPANILE_SEED is a whole number"),
            Err(_) => RandomState::new().hash_one("campanile"),
        }
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

/// `order` with one to three changes, never the same bytes under the same signatures.
pub(crate) fn mutated(random: &mut Random, order: &SignedOrder) -> SignedOrder {
    loop {
        let mut changed = order.clone();
        for _ in 0..=random.below(3) {
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
    let place = random.below(order.bytes.len());
    match random.below(8) {
        0 => order.bytes[place] ^= 1 << random.below(8),
        1 => order.bytes[place] = random.number().to_le_bytes()[0],
        2 => order.bytes.truncate(place.max(1)),
        3 => order.bytes.push(random.number().to_le_bytes()[0]),
        4 => {
            let length = random.below(8).min(order.bytes.len() - place);
            let piece = order.bytes[place..place + length].to_vec();
            order.bytes.splice(place..place, piece);
        }
        5 => {
            let Some(signature) = order.signatures.first_mut() else { return };
            let byte = random.below(signature.bytes.len());
            signature.bytes[byte] ^= 1 << random.below(8);
        }
        6 => {
            let other = random.below(order.bytes.len());
            order.bytes.swap(place, other);
        }
        _ => order.signatures.iter_mut().for_each(|signature| signature.bytes.truncate(63)),
    }
}
