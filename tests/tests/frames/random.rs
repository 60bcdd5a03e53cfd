//! Random numbers that a seed repeats.

use std::hash::{BuildHasher as _, RandomState};

/// The seed of this run: `CAMPANILE_SEED`, or another one each time.
pub(crate) fn seed() -> u64 {
    match std::env::var("CAMPANILE_SEED") {
        Ok(text) => text.parse().expect("CAMPANILE_SEED is a whole number"),
        Err(_) => RandomState::new().hash_one("campanile"),
    }
}

/// SplitMix64: one multiplication chain a number, and every seed, 0 among them, is a good one.
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of one case within a run.
    pub(crate) fn of_case(seed: u64, case: u64) -> Self {
        Self(seed ^ case.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 when there is none.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a usize has 64 bits");
        usize::try_from(self.number() % limit.max(1)).expect("below a usize")
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    pub(crate) fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
