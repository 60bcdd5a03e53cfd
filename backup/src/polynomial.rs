//! Polynomials over GF(2), for the rolling fingerprint of the chunker: bit `i` is the coefficient of `x^i`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::random;

/// Degree of a repository's polynomial: the largest prime that leaves a byte of room in 64 bits.
pub const DEGREE: u32 = 53;

/// A polynomial of a degree below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polynomial(pub u64);

impl Polynomial {
    /// A random irreducible one of degree [`DEGREE`]. One in 27 of those with a constant term is (Rabin,
    /// "Fingerprinting by Random Polynomials", 1981).
    pub fn generate() -> Self {
        loop {
            let bits = u64::from_le_bytes(random::bytes()) & ((1 << DEGREE) - 1);
            let candidate = Self(bits | 1 << DEGREE | 1);
            if candidate.is_irreducible() {
                return candidate;
            }
        }
    }

    /// The degree; none for zero.
    pub fn degree(self) -> Option<u32> {
        self.0.checked_ilog2()
    }

    /// The remainder of a division.
    pub(crate) fn modulo(self, divisor: Self) -> Self {
        let Some(degree) = divisor.degree() else { return self };
        let mut rest = self.0;
        while let Some(top) = rest.checked_ilog2().filter(|top| *top >= degree) {
            rest ^= divisor.0 << (top - degree);
        }
        Self(rest)
    }

    fn times_modulo(self, factor: Self, divisor: Self) -> Self {
        let mut sum = 0;
        let mut shifted = self.modulo(divisor);
        let mut bits = factor.0;
        while bits != 0 {
            if bits & 1 == 1 {
                sum ^= shifted.0;
            }
            shifted = Self(shifted.0 << 1).modulo(divisor);
            bits >>= 1;
        }
        Self(sum)
    }

    fn greatest_common_divisor(self, other: Self) -> Self {
        let (mut left, mut right) = (self, other);
        while right.0 != 0 {
            (left, right) = (right, left.modulo(right));
        }
        left
    }

    /// Ben-Or's test: no factor of degree `i` up to half of its own, which would divide `x^(2^i) - x`.
    pub fn is_irreducible(self) -> bool {
        let Some(degree) = self.degree() else { return false };
        let x = Self(2);
        let mut power = x;
        (1..=degree / 2).all(|_| {
            power = power.times_modulo(power, self);
            self.greatest_common_divisor(Self(power.0 ^ x.0).modulo(self)) == Self(1)
        })
    }
}

impl Serialize for Polynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Polynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_polynomials_are_told_apart() {
        for irreducible in [0b10, 0b11, 0b111, 0b1011, 0b10011, 0x3d_a335_8b4d_c173, 0x11b] {
            assert!(Polynomial(irreducible).is_irreducible(), "{irreducible:x}");
        }
        // x^2, x^2 + 1 = (x + 1)^2, and products.
        for reducible in [0b100, 0b101, 0b110, 0b1001, 0x3d_a335_8b4d_c174, 0x11a] {
            assert!(!Polynomial(reducible).is_irreducible(), "{reducible:x}");
        }
    }

    #[test]
    fn a_generated_one_has_the_right_degree_and_no_factor() {
        for _ in 0..20 {
            let made = Polynomial::generate();
            assert_eq!(made.degree(), Some(DEGREE));
            assert!(made.is_irreducible());
            assert_eq!(
                serde_json::from_str::<Polynomial>(&serde_json::to_string(&made).unwrap()).unwrap(),
                made
            );
        }
    }
}
