//! Random numbers that a seed repeats.

use std::hash::{BuildHasher as _, RandomState};

/// The seed of this run: `CAMPANILE_SEED`, or another one each time.
///
/// # Panics
/// When the variable is no whole number.
pub fn seed() -> u64 {
    match std::env::var("CAMPANILE_SEED") {
        Ok(text) => text.parse().expect("CAMPANILE_SEED is a whole number"),
        Err(_) => RandomState::new().hash_one("campanile"),
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): one multiplication chain a number, and every seed, 0 among them, is a good
/// one.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a run.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The numbers of one case within a run.
    pub const fn of_case(seed: u64, case: u64) -> Self {
        Self(seed ^ case.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    /// Any number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `limit`; 0 when there is none.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.number() % if limit == 0 { 1 } else { limit }
    }

    /// A number of `from..to`.
    pub const fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    /// True once in `times`.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// An index below `length`; 0 when there is none.
    ///
    /// # Panics
    /// Never: an index fits.
    pub fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).expect("a usize has 64 bits");
        usize::try_from(self.below(length)).expect("below a usize")
    }

    /// One byte.
    pub const fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// One of them.
    ///
    /// # Panics
    /// When there are none.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }
}

/// Spreads every bit of `number` over the result.
pub const fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
