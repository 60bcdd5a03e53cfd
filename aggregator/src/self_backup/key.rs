//! Keys of the envelope: recipients as the settings name them, identities as `age-keygen` writes them.

use age::x25519;
use zeroize::Zeroizing;

use super::Recipient;

/// Most recipients of one backup.
const RECIPIENTS_MAX: usize = 16;

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a recipient.
    #[error("`{0}` is no age recipient; give the `age1...` line that `age-keygen` shows as the public key")]
    Recipient(String),
    /// Too many.
    #[error("there are {0} recipients; give at most 16")]
    TooMany(usize),
    /// No identity in the file.
    #[error("there is no line `AGE-SECRET-KEY-1...`; give the file that `age-keygen` wrote, decrypted")]
    NoIdentity,
    /// A line that is none.
    #[error("line {0} is no age identity; give the file that `age-keygen` wrote")]
    Identity(usize),
}

/// Who can read backups. Never printed.
pub struct Identities(pub(super) Vec<x25519::Identity>);

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identities([redacted])")
    }
}

/// Reads the recipients of the settings.
///
/// # Errors
/// When one cannot be read, or there are too many.
pub fn parse_recipients(texts: &[String]) -> Result<Vec<Recipient>, KeyError> {
    if texts.len() > RECIPIENTS_MAX {
        return Err(KeyError::TooMany(texts.len()));
    }
    let parse = |text: &String| text.trim().parse().map_err(|_| KeyError::Recipient(text.clone()));
    texts.iter().map(parse).collect()
}

impl Identities {
    /// Reads the text of an identity file: comments, and one identity a line.
    ///
    /// # Errors
    /// When a line is none, or there is no line.
    pub fn parse(text: &Zeroizing<String>) -> Result<Self, KeyError> {
        let mut identities = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            identities.push(line.parse().map_err(|_| KeyError::Identity(number))?);
        }
        if identities.is_empty() { Err(KeyError::NoIdentity) } else { Ok(Self(identities)) }
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;

    fn identities(text: &str) -> Result<Identities, KeyError> {
        Identities::parse(&Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn a_file_of_age_keygen_is_read() {
        let identity = x25519::Identity::generate();
        let text = format!(
            "# created: 2026-01-01T00:00:00Z\n# public key: {}\n{}\n",
            identity.to_public(),
            identity.to_string().expose_secret()
        );
        let read = identities(&text).unwrap();
        assert_eq!(read.0[0].to_public(), identity.to_public());
        assert!(!format!("{read:?}").contains("SECRET"));
    }

    #[test]
    fn what_is_no_identity_is_named_by_its_line_alone() {
        assert_eq!(identities("# nothing\n").unwrap_err(), KeyError::NoIdentity);
        let error = identities("# a\nAGE-SECRET-KEY-1WRONG\n").unwrap_err();
        assert_eq!(error, KeyError::Identity(2));
        assert!(!error.to_string().contains("WRONG"));
    }

    #[test]
    fn what_is_no_recipient_is_named() {
        let good = x25519::Identity::generate().to_public().to_string();
        assert_eq!(parse_recipients(std::slice::from_ref(&good)).unwrap()[0].to_string(), good);
        assert!(parse_recipients(&[good, "age1x".to_owned()]).unwrap_err().to_string().contains("`age1x`"));
    }
}
