//! Randomness from the kernel.

use ring::rand::{SecureRandom as _, SystemRandom};

/// So many random bytes, fit for keys.
///
/// # Panics
/// When the kernel has no randomness to give: nothing safe can be done then.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives randomness");
    bytes
}
