//! Quantities that carry their unit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// So many binary mebibytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }
}

/// With a binary prefix and one decimal, e.g. `1.5 MiB`.
impl fmt::Display for ByteCount {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is printed")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PREFIXES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut value = self.0 as f64;
        let mut prefix = 0;
        while value >= 1024.0 && prefix + 1 < PREFIXES.len() {
            value /= 1024.0;
            prefix += 1;
        }
        if prefix == 0 { write!(f, "{} B", self.0) } else { write!(f, "{value:.1} {}", PREFIXES[prefix]) }
    }
}

/// A share of a whole, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(f64);

impl Percent {
    /// `part` of `whole` in per cent, within 0 and 100; none when the whole is zero or less.
    pub fn of(part: f64, whole: f64) -> Option<Self> {
        (whole > 0.0 && part.is_finite()).then(|| Self((part / whole * 100.0).clamp(0.0, 100.0)))
    }

    /// The number, 0 to 100.
    pub const fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_print_with_binary_prefixes() {
        assert_eq!(ByteCount(999).to_string(), "999 B");
        assert_eq!(ByteCount(1536).to_string(), "1.5 KiB");
        assert_eq!(ByteCount::mebibytes(32).to_string(), "32.0 MiB");
    }

    #[test]
    fn a_share_of_nothing_is_unknown() {
        assert_eq!(Percent::of(1.0, 0.0), None);
        assert_eq!(Percent::of(1.0, 4.0).map(Percent::get), Some(25.0));
    }
}
