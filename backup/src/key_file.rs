//! Key files: the master key, sealed with a key that scrypt makes of a password. Any of them opens the repository.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::key::{MasterKey, NotAKey, NotAuthentic};
use crate::random;

/// Largest cost that is paid for opening: 1 GiB of memory. A key file is not authentic before it is opened.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// restic's own cost: 32 MiB of memory, some 0.1 s.
const COST: Cost = Cost { n: 1 << 15, r: 8, p: 1 };

/// A file below `keys/`, in the clear but for the sealed key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyFile {
    /// RFC 3339.
    pub created: String,
    /// Who made it.
    #[serde(default)]
    pub username: String,
    /// On which machine.
    #[serde(default)]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
    /// The password, for those who open it with keys that are kept elsewhere. restic passes over it.
    #[serde(default, rename = "campanile_escrow", skip_serializing_if = "Option::is_none")]
    pub escrow: Option<Escrow>,
}

/// The password of a key file, sealed. What it says is not authentic: only who made the file knows that it is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escrow {
    /// For whom, as age writes them: `age1...`.
    pub recipients: Vec<String>,
    /// The password in the text form of age.
    pub password: String,
}

struct Cost {
    n: u64,
    r: u32,
    p: u32,
}

/// A key file that does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Not in the format.
    #[error("this is not a key file of a restic repository: {0}")]
    Malformed(&'static str),
    /// The cost is out of bounds.
    #[error("the key file asks for a scrypt of N={n}, r={r}, p={p}, which is not paid")]
    Cost {
        /// Iterations.
        n: u64,
        /// Block size.
        r: u32,
        /// Parallelism.
        p: u32,
    },
    /// Another password, or an altered file.
    #[error("the password does not open this key file")]
    WrongPassword,
}

impl From<NotAuthentic> for KeyFileError {
    fn from(_: NotAuthentic) -> Self {
        Self::WrongPassword
    }
}

impl From<NotAKey> for KeyFileError {
    fn from(_: NotAKey) -> Self {
        Self::Malformed("what was sealed is no key")
    }
}

impl KeyFile {
    /// Seals `master` for whoever knows `password`.
    pub fn seal(
        master: &MasterKey,
        password: &[u8],
        created: String,
        username: String,
        hostname: String,
    ) -> Self {
        let salt = random::bytes::<64>();
        let user = derive(password, &salt, &COST).expect("the cost is within bounds");
        let mut data = Vec::new();
        user.seal(master.to_json().as_bytes(), &mut data);
        Self {
            created,
            username,
            hostname,
            kdf: "scrypt".to_owned(),
            n: COST.n,
            r: COST.r,
            p: COST.p,
            salt: BASE64.encode(&salt),
            data: BASE64.encode(&data),
            escrow: None,
        }
    }

    /// Reads a file below `keys/`.
    ///
    /// # Errors
    /// [`KeyFileError::Malformed`].
    pub fn from_json(json: &[u8]) -> Result<Self, KeyFileError> {
        serde_json::from_slice(json).map_err(|_| KeyFileError::Malformed("it is not the JSON of one"))
    }

    /// The bytes of the file; its name is their hash.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are written")
    }

    /// The master key, for whoever knows the password. Costs memory and time on purpose.
    ///
    /// # Errors
    /// When the password is another, or the file is not in order.
    pub fn open(&self, password: &[u8]) -> Result<MasterKey, KeyFileError> {
        if self.kdf != "scrypt" {
            return Err(KeyFileError::Malformed("its key derivation is not scrypt"));
        }
        let decode = |text: &str| BASE64.decode(text.as_bytes());
        let salt = decode(&self.salt).map_err(|_| KeyFileError::Malformed("its salt is not base64"))?;
        let mut data = decode(&self.data).map_err(|_| KeyFileError::Malformed("its data are not base64"))?;
        let user = derive(password, &salt, &Cost { n: self.n, r: self.r, p: self.p })?;
        let json = Zeroizing::new(user.open(&mut data)?.to_vec());
        Ok(MasterKey::from_json(&json)?)
    }
}

fn derive(password: &[u8], salt: &[u8], cost: &Cost) -> Result<MasterKey, KeyFileError> {
    let refused = || KeyFileError::Cost { n: cost.n, r: cost.r, p: cost.p };
    let memory = cost.n.checked_mul(128).and_then(|bytes| bytes.checked_mul(u64::from(cost.r)));
    if !cost.n.is_power_of_two()
        || cost.n < 2
        || cost.p > 16
        || memory.is_none_or(|bytes| bytes > MEMORY_BYTES_MAX)
    {
        return Err(refused());
    }
    let log_n = u8::try_from(cost.n.trailing_zeros()).map_err(|_| refused())?;
    let params = scrypt::Params::new(log_n, cost.r, cost.p, 64).map_err(|_| refused())?;
    let mut bytes = Zeroizing::new([0; 64]);
    scrypt::scrypt(password, salt, &params, &mut *bytes).map_err(|_| refused())?;
    Ok(MasterKey::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(master: &MasterKey) -> KeyFile {
        KeyFile::seal(
            master,
            b"secret",
            "2026-05-03T10:14:00Z".to_owned(),
            "root".to_owned(),
            "web-1".to_owned(),
        )
    }

    #[test]
    fn the_password_opens_and_another_does_not() {
        let master = MasterKey::generate();
        let file = KeyFile::from_json(&sealed(&master).to_json()).unwrap();
        assert_eq!(file.open(b"secret").unwrap(), master);
        assert_eq!(file.open(b"Secret").unwrap_err(), KeyFileError::WrongPassword);
    }

    #[test]
    fn a_cost_without_bounds_is_refused_before_it_is_paid() {
        let mut file = sealed(&MasterKey::generate());
        for (n, r, p) in
            [(u64::MAX, 8, 1), (1 << 40, 8, 1), (3, 8, 1), (1 << 15, u32::MAX, 1), (1 << 15, 8, 1000)]
        {
            (file.n, file.r, file.p) = (n, r, p);
            assert_eq!(file.open(b"secret").unwrap_err(), KeyFileError::Cost { n, r, p });
        }
    }

    #[test]
    fn an_escrowed_password_is_read_again_and_a_file_without_one_has_no_field_for_it() {
        let mut file = sealed(&MasterKey::generate());
        assert!(!String::from_utf8(file.to_json()).unwrap().contains("escrow"));
        file.escrow = Some(Escrow { recipients: vec!["age1x".to_owned()], password: "sealed".to_owned() });
        let text = file.to_json();
        assert!(String::from_utf8(text.clone()).unwrap().contains("\"campanile_escrow\":{\"recipients\""));
        assert_eq!(KeyFile::from_json(&text).unwrap().escrow, file.escrow);
    }

    #[test]
    fn what_is_no_key_file_is_said_to_be_none() {
        assert!(KeyFile::from_json(b"[]").is_err());
        let mut file = sealed(&MasterKey::generate());
        file.kdf = "argon2".to_owned();
        assert!(matches!(file.open(b"secret"), Err(KeyFileError::Malformed(_))));
    }
}
