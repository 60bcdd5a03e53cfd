//! The operator's signing key, which lies in the profile encrypted under a passphrase.
//!
//! The file is an age file with one scrypt recipient around the 32 bytes of the Ed25519 seed.

use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use campanile_common::authority::{KeyError, OperatorKey, PublicKey};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::os::file::{self, FileError};
use crate::os::terminal::{self, TerminalError};

/// Name of the encrypted key within the operator's folder.
pub const KEY_FILE: &str = "operator.key.age";
/// Name of the file with the public half beside it.
pub const PUBLIC_FILE: &str = "operator.pub";
/// What a public key's text begins with.
const PUBLIC_MARK: &str = "cmpk_";
/// What a recovery key's text begins with.
const RECOVERY_MARK: &str = "cmpr_";
/// Shortest passphrase that is taken.
const PASSPHRASE_CHARS_MIN: usize = 12;
/// What to do without a terminal.
const INSTEAD: &str = "give --passphrase-file or set CAMPANILE_PASSPHRASE_FILE";

/// Why the key cannot be locked or unlocked.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The passphrase file cannot be read.
    #[error("cannot read the passphrase")]
    PassphraseFile(#[source] FileError),
    /// Nobody can be asked for the passphrase.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// Too easy to guess.
    #[error("the passphrase is shorter than {PASSPHRASE_CHARS_MIN} characters")]
    Short,
    /// The two entries differ.
    #[error("the two passphrases differ")]
    Differ,
    /// Encryption failed.
    #[error("cannot encrypt the operator key")]
    Encrypt(#[source] age::EncryptError),
    /// The file is damaged, or the passphrase another.
    #[error("cannot decrypt the operator key: wrong passphrase or damaged file")]
    Decrypt(#[source] age::DecryptError),
    /// It decrypts to something else.
    #[error("the operator key file does not hold an operator key")]
    NotAKey,
    /// No public key.
    #[error(
        "that is no operator's public key; `campanile key show` prints one, beginning with {PUBLIC_MARK}"
    )]
    NotPublic,
    /// No recovery key.
    #[error("that is no recovery key; `campanile fleet init` wrote them, beginning with {RECOVERY_MARK}")]
    NotRecovery,
    /// The seed is refused.
    #[error("the operator key cannot be used")]
    Key(#[source] KeyError),
}

/// What a key file may cost at most, as a power of 2: 4 GiB of memory and some 15 s, the limit of the reference
/// implementation of age. A limit that is measured anew each time, which is the default, turns a machine that is busy for
/// a moment into one that cannot open its own key.
const WORK_MAX: u8 = 22;

/// How hard guessing a passphrase is made.
#[derive(Debug, Clone, Copy)]
pub enum WorkFactor {
    /// About a second of this machine's time for each guess.
    Calibrated,
    /// 2 to this power, for tests.
    Fixed(u8),
}

/// Encrypts the key.
///
/// # Errors
/// When encryption fails.
pub fn lock(key: &OperatorKey, passphrase: &str, work: WorkFactor) -> Result<Vec<u8>, KeyringError> {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    if let WorkFactor::Fixed(power) = work {
        recipient.set_work_factor(power);
    }
    age::encrypt(&recipient, key.seed()).map_err(KeyringError::Encrypt)
}

/// Decrypts the key.
///
/// # Errors
/// When the passphrase is another or the file no such key.
pub fn unlock(encrypted: &[u8], passphrase: &str) -> Result<OperatorKey, KeyringError> {
    let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
    identity.set_max_work_factor(WORK_MAX);
    let seed = Zeroizing::new(age::decrypt(&identity, encrypted).map_err(KeyringError::Decrypt)?);
    let seed: [u8; 32] = seed.as_slice().try_into().map_err(|_| KeyringError::NotAKey)?;
    OperatorKey::from_seed(Zeroizing::new(seed)).map_err(KeyringError::Key)
}

/// The passphrase for a new key: the first line of `file`, or asked for twice.
///
/// # Errors
/// When there is none, or it is too short.
pub fn new_passphrase(file: Option<&PathBuf>) -> Result<Zeroizing<String>, KeyringError> {
    let passphrase = match file {
        Some(path) => first_line(path)?,
        None => {
            let first = terminal::ask_secret("New passphrase for the operator key", INSTEAD)?;
            let second = terminal::ask_secret("The same again", INSTEAD)?;
            if first != second {
                return Err(KeyringError::Differ);
            }
            first
        }
    };
    if passphrase.chars().count() < PASSPHRASE_CHARS_MIN { Err(KeyringError::Short) } else { Ok(passphrase) }
}

/// The passphrase of the key that is there: the first line of `file`, or asked for.
///
/// # Errors
/// When there is none.
pub fn passphrase(file: Option<&Path>) -> Result<Zeroizing<String>, KeyringError> {
    match file {
        Some(path) => first_line(path),
        None => Ok(terminal::ask_secret(
            "Passphrase of the operator key",
            "give --passphrase-file, set CAMPANILE_PASSPHRASE_FILE, or run `campanile key unlock` at a terminal",
        )?),
    }
}

/// The public half as people hand it on.
pub fn public_text(key: &PublicKey) -> String {
    format!("{PUBLIC_MARK}{}", BASE64URL_NOPAD.encode(&key.0))
}

/// Reads what [`public_text`] wrote.
///
/// # Errors
/// When it is something else.
pub fn parse_public(text: &str) -> Result<PublicKey, KeyringError> {
    let bytes = text.trim().strip_prefix(PUBLIC_MARK).and_then(|rest| {
        let bytes = BASE64URL_NOPAD.decode(rest.as_bytes()).ok()?;
        <[u8; 32]>::try_from(bytes).ok()
    });
    bytes.map(PublicKey).ok_or(KeyringError::NotPublic)
}

/// A recovery key as it is kept off-line.
pub fn recovery_text(key: &OperatorKey) -> Zeroizing<String> {
    Zeroizing::new(format!("{RECOVERY_MARK}{}\n", BASE64URL_NOPAD.encode(key.seed())))
}

/// Reads what [`recovery_text`] wrote.
///
/// # Errors
/// When it is something else.
pub fn parse_recovery(text: &str) -> Result<OperatorKey, KeyringError> {
    let seed = text.trim().strip_prefix(RECOVERY_MARK).and_then(|rest| {
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(rest.as_bytes()).ok()?);
        <[u8; 32]>::try_from(bytes.as_slice()).ok()
    });
    OperatorKey::from_seed(Zeroizing::new(seed.ok_or(KeyringError::NotRecovery)?)).map_err(KeyringError::Key)
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, KeyringError> {
    let text = Zeroizing::new(file::read_text(path).map_err(KeyringError::PassphraseFile)?);
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fast: what is tested is the format, not its strength.
    const WORK: WorkFactor = WorkFactor::Fixed(2);

    fn key() -> OperatorKey {
        OperatorKey::from_seed(Zeroizing::new([7; 32])).unwrap()
    }

    #[test]
    fn a_locked_key_opens_with_its_passphrase_alone() {
        let locked = lock(&key(), "correct horse battery", WORK).unwrap();
        assert_eq!(unlock(&locked, "correct horse battery").unwrap().public(), key().public());
        assert!(matches!(unlock(&locked, "correct horse batterz"), Err(KeyringError::Decrypt(_))));
    }

    #[test]
    fn the_seed_is_not_in_the_locked_file() {
        let locked = lock(&key(), "correct horse battery", WORK).unwrap();
        assert!(!locked.windows(8).any(|window| window == [7; 8]));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let mut locked = lock(&key(), "correct horse battery", WORK).unwrap();
        let last = locked.len() - 1;
        locked[last] ^= 1;
        assert!(unlock(&locked, "correct horse battery").is_err());
    }

    #[test]
    fn what_a_file_may_cost_is_the_same_on_a_slow_machine_and_never_without_bounds() {
        let locked = lock(&key(), "correct horse battery", WORK).unwrap();
        let line = locked.windows(10).position(|window| window == b"-> scrypt ").unwrap();
        let cost = line + locked[line..].iter().position(|byte| *byte == b'\n').unwrap() - 1;
        for (more, is_refused) in [(b"10".as_slice(), false), (b"23", true), (b"63", true)] {
            let file = [&locked[..cost], more, &locked[cost + 1..]].concat();
            let error = unlock(&file, "correct horse battery").unwrap_err();
            let is_cost = matches!(error, KeyringError::Decrypt(age::DecryptError::ExcessiveWork { .. }));
            assert_eq!(is_cost, is_refused, "{error:?}");
        }
    }

    #[test]
    fn keys_have_a_text_form_that_nothing_else_passes_for() {
        let text = public_text(&key().public());
        assert_eq!(parse_public(&format!(" {text}\n")).unwrap(), key().public());
        let recovery = recovery_text(&key());
        assert_eq!(parse_recovery(&recovery).unwrap().public(), key().public());
        for wrong in ["", "cmpk_", "cmpk_AAAA", recovery.as_str(), &text[1..]] {
            assert!(matches!(parse_public(wrong), Err(KeyringError::NotPublic)), "{wrong}");
        }
        assert!(matches!(parse_recovery(&text), Err(KeyringError::NotRecovery)));
    }

    #[test]
    fn the_passphrase_is_the_first_line_and_not_a_short_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        std::fs::write(&path, "correct horse battery\nsecond line\n").unwrap();
        assert_eq!(new_passphrase(Some(&path)).unwrap().as_str(), "correct horse battery");
        std::fs::write(&path, "short\n").unwrap();
        assert!(matches!(new_passphrase(Some(&path)), Err(KeyringError::Short)));
    }
}
