//! One of several equal shares of all objects.

use std::fmt;
use std::str::FromStr;

use crate::id::ObjectId;

/// The shares 1/m, 2/m to m/m together are all objects; none is in two of them. Told by the first byte of the name, as
/// restic's `--read-data-subset` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    part: u8,
    of: u8,
}

/// Numbers that are no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no share: it is written as `2/7`, the second of seven, of at most 255")]
pub struct NotAShare(pub String);

impl Share {
    /// Everything.
    pub const ALL: Self = Self { part: 1, of: 1 };

    /// The share number `part`, counted from one, of `of`.
    ///
    /// # Errors
    /// When there is no such share.
    pub fn new(part: u8, of: u8) -> Result<Self, NotAShare> {
        let is_one = part >= 1 && part <= of;
        if is_one { Ok(Self { part, of }) } else { Err(NotAShare(format!("{part}/{of}"))) }
    }

    /// Its number, counted from one, and of how many.
    pub fn parts(self) -> (u8, u8) {
        (self.part, self.of)
    }

    /// Whether an object is in this share.
    pub fn has(self, id: ObjectId) -> bool {
        id.0[0] % self.of == self.part - 1
    }

    /// Whether it is everything.
    pub fn is_all(self) -> bool {
        self.of == 1
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

impl FromStr for Share {
    type Err = NotAShare;

    fn from_str(text: &str) -> Result<Self, NotAShare> {
        let numbers =
            text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
        let (part, of) = numbers.ok_or_else(|| NotAShare(text.chars().take(80).collect()))?;
        Self::new(part, of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_together_are_everything_once() {
        for of in [1, 2, 7, 255] {
            for byte in 0..=255 {
                let id = ObjectId([byte; 32]);
                let shares = (1..=of).filter(|part| Share::new(*part, of).unwrap().has(id)).count();
                assert_eq!(shares, 1, "{byte} of {of}");
            }
        }
        assert!(Share::ALL.is_all());
    }

    #[test]
    fn a_share_is_read_as_written() {
        assert_eq!("2/7".parse::<Share>().unwrap().to_string(), "2/7");
        for text in ["", "2", "0/7", "8/7", "1/0", "1/256", "-1/7", "a/b"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
