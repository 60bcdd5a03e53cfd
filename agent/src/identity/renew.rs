//! When a certificate is renewed.

use std::time::Duration;

use campanile_common::time::Timestamp;

/// When to ask for a new certificate: from a quarter of its life on, spread over the next quarter so that nodes
/// enrolled together do not renew together. `random` is any 64 bits.
pub fn renew_at(issued: Timestamp, not_after: Timestamp, random: u64) -> Timestamp {
    let quarter = not_after.since(issued) / 4;
    let spread = u64::try_from(quarter.as_millis()).unwrap_or(u64::MAX).max(1);
    issued + quarter + Duration::from_millis(random % spread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn renewal_falls_into_the_second_quarter(issued in 0_u64..1 << 40, life in 4_u64..1 << 30, random: u64) {
            let (issued, life) = (Timestamp::from_millis(issued), Duration::from_millis(life));
            let at = renew_at(issued, issued + life, random);
            prop_assert!(at >= issued + life / 4 && at <= issued + life / 2);
        }
    }
}
