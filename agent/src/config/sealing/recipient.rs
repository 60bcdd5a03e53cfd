//! Whom something is sealed to.

use std::fmt;
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use x25519_dalek::PublicKey;

const PREFIX: Hrp = Hrp::parse_unchecked("age");

/// A public key of age: `age1...`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Recipient(PublicKey);

/// Text that is no recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no recipient of age: give an X25519 one, `age1` and 58 characters, as age-keygen prints it"
)]
pub struct NotARecipient(String);

impl NotARecipient {
    pub(super) fn new(recipient: &Recipient) -> Self {
        Self(recipient.to_string())
    }
}

impl Recipient {
    pub(super) const fn of(key: PublicKey) -> Self {
        Self(key)
    }

    pub(super) const fn key(&self) -> &PublicKey {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode::<Bech32>(PREFIX, self.0.as_bytes()).expect("32 bytes are short enough"))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Recipient {
    type Err = NotARecipient;

    fn from_str(text: &str) -> Result<Self, NotARecipient> {
        let refused = || NotARecipient(text.chars().take(80).collect());
        let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| refused())?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        let key: [u8; 32] = bytes.try_into().map_err(|_| refused())?;
        if checked.hrp() == PREFIX { Ok(Self(PublicKey::from(key))) } else { Err(refused()) }
    }
}
