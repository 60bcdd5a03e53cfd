//! The key to which secrets of this node are sealed, and opening what was sealed to it.
//!
//! The format is age v1 (<https://age-encryption.org/v1>) with its X25519 recipients: `age -r` and `campanile secret
//! set` seal for a node, `age -d` opens with the file of its key. Only that one kind of recipient is known; the
//! primitives are those of `ring` and `x25519-dalek`. Text that is opened is never partly handed out: all of it is
//! authentic, or none is given.

mod envelope;
mod recipient;
mod seal;

use std::io;
use std::path::Path;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

pub use recipient::{NotARecipient, Recipient};
pub use seal::{armored, seal};

use crate::os::{file, random};

/// Longest sealed text that is opened; it is held in memory as a whole.
pub const SEALED_BYTES_MAX: usize = 16 << 20;
/// Name of the file of this node's key, in the folder of the configuration.
pub const KEY_FILE: &str = "secrets.key";
/// Longest file of a key: the key has 74 bytes, comments may stand around it.
const KEY_FILE_BYTES_MAX: u64 = 4096;
const SECRET_PREFIX: Hrp = Hrp::parse_unchecked("age-secret-key-");

/// The node's sealing key.
#[derive(Clone)]
pub struct Identity {
    secret: StaticSecret,
    public: PublicKey,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({}, [redacted])", self.recipient())
    }
}

/// Sealed text that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// Longer than is ever opened.
    #[error(
        "the sealed secret is longer than {SEALED_BYTES_MAX} bytes; split it, or keep it out of the bundle"
    )]
    TooLong,
    /// Not in the format.
    #[error("the sealed secret is not an age v1 file: {0}")]
    Malformed(&'static str),
    /// Sealed to other keys.
    #[error("the secret is not sealed to this node's key; run `campanile secret rotate` to seal it anew")]
    NotForUs,
    /// Altered or cut short after it was sealed.
    #[error("the sealed secret was altered or cut short; run `campanile secret rotate` to seal it anew")]
    Altered,
}

/// A file that holds no key.
#[derive(Debug, thiserror::Error)]
#[error(
    "sealing key {path} is damaged: {what}; remove it, restart the steward, then run `campanile secret rotate`"
)]
struct Damaged {
    path: String,
    what: &'static str,
}

impl Identity {
    /// Reads the key at `path`, or makes it when there is none: a file that its owner alone may read, durable before
    /// this returns. Of two processes that make it at once, both get the same key.
    ///
    /// # Errors
    /// When it is unreadable or cannot be written; `InvalidData` when it is damaged, which is never read as missing.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        if let Some(found) = Self::load(path)? {
            return Ok(found);
        }
        let made = Self::from_secret(StaticSecret::from(random::bytes()));
        match file::create(path, made.file_text().as_bytes()) {
            Ok(()) => Ok(made),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path)?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Reads the key at `path`; none when it is not there.
    ///
    /// # Errors
    /// When it is unreadable; `InvalidData` when it is damaged.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        let Some(bytes) = file::read_secret(path, KEY_FILE_BYTES_MAX)? else { return Ok(None) };
        let parsed = std::str::from_utf8(&bytes).map_err(|_| "it is not text").and_then(Self::parse);
        parsed.map(Some).map_err(|what| {
            let path = path.display().to_string();
            io::Error::new(io::ErrorKind::InvalidData, Damaged { path, what })
        })
    }

    /// Reads what `age-keygen` writes: one key, comments around it.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or("it holds no key")?;
        if lines.next().is_some() {
            return Err("it holds more than one line beside comments");
        }
        let checked = CheckedHrpstring::new::<Bech32>(line).map_err(|_| "its key fails its checksum")?;
        let mut secret = Zeroizing::new([0; 32]);
        if checked.hrp() != SECRET_PREFIX || checked.byte_iter().len() != secret.len() {
            return Err("its key is not an X25519 key of age");
        }
        for (place, byte) in secret.iter_mut().zip(checked.byte_iter()) {
            *place = byte;
        }
        Ok(Self::from_secret(StaticSecret::from(*secret)))
    }

    fn from_secret(secret: StaticSecret) -> Self {
        let public = PublicKey::from(&secret);
        Self { secret, public }
    }

    /// What is sealed to: `age1...`.
    #[must_use]
    pub fn recipient(&self) -> String {
        self.to_recipient().to_string()
    }

    /// The same, to seal to it.
    #[must_use]
    pub fn to_recipient(&self) -> Recipient {
        Recipient::of(self.public)
    }

    /// `AGE-SECRET-KEY-1...`
    fn secret_text(&self) -> Zeroizing<String> {
        let text = bech32::encode_upper::<Bech32>(SECRET_PREFIX, self.secret.as_bytes());
        Zeroizing::new(text.expect("32 bytes are short enough"))
    }

    fn file_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("# public key: {}\n{}\n", self.recipient(), self.secret_text().as_str()))
    }

    /// Opens what was sealed to this key, all of it or nothing.
    ///
    /// # Errors
    /// When it is too long, malformed, sealed to others, or altered: told apart.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealingError> {
        if sealed.len() > SEALED_BYTES_MAX {
            return Err(SealingError::TooLong);
        }
        envelope::open(&self.secret, &self.public, sealed)
    }
}

#[cfg(test)]
mod tests;
