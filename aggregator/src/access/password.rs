//! Passwords: argon2id, on blocking threads, few at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64_NOPAD;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::AccessError;
use super::secret::is_same;
use crate::os::random;
use crate::state::StateError;

/// Argon2id with 19 MiB, 2 passes and 1 lane: what the OWASP password storage cheat sheet names first among those
/// that fit a small server.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Most of what a stored record may ask for, should later versions raise it: 64 MiB.
const STORED_MEMORY_KIB_MAX: u32 = 64 * 1024;
const STORED_PASSES_MAX: u32 = 8;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// Hashes at the same time: one per core of the smallest machine, 38 MiB in all.
const HASHES_MAX: usize = 2;
/// Sign-ins that wait for a hash: a second or two of work. Past it they are turned away at once.
const WAITING_MAX: usize = 32;
/// Shortest password, in characters.
const CHARACTERS_MIN: usize = 12;
/// Longest password, in bytes: far beyond any real one, and hashing it costs nothing extra.
const BYTES_MAX: usize = 1024;

/// A hashed password with all that is needed to check one against it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PasswordHash {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    hash: String,
}

/// Refuses passwords that are too short or too long.
pub(super) fn check(password: &str) -> Result<(), AccessError> {
    if password.chars().count() < CHARACTERS_MIN {
        let text = format!("a password has at least {CHARACTERS_MIN} characters");
        return Err(AccessError::Invalid(text));
    }
    if password.len() > BYTES_MAX {
        return Err(AccessError::Invalid(format!("a password has at most {BYTES_MAX} bytes")));
    }
    Ok(())
}

/// Hashes and verifies, at a bounded cost.
#[derive(Clone)]
pub(super) struct Hasher {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// Matches no password: what names without one are held against, so that they cost the same.
    nobody: PasswordHash,
}

impl Hasher {
    pub(super) fn new() -> Self {
        let nobody = PasswordHash::of_parts(&random::bytes::<SALT_BYTES>(), &random::bytes::<HASH_BYTES>());
        Self { turns: Arc::new(Semaphore::new(HASHES_MAX)), waiting: Arc::default(), nobody }
    }

    /// Hashes a new password.
    pub(super) async fn hash(&self, password: &str) -> Result<PasswordHash, AccessError> {
        let password = Zeroizing::new(password.to_owned());
        self.run(move || {
            let salt: [u8; SALT_BYTES] = random::bytes();
            let hash = compute(&password, &salt, (MEMORY_KIB, PASSES, LANES))?;
            Some(PasswordHash::of_parts(&salt, &hash))
        })
        .await?
        .ok_or_else(|| unavailable("the password cannot be hashed"))
    }

    /// True when it is the password. Takes as long for nobody's.
    pub(super) async fn verify(
        &self,
        password: &str,
        stored: Option<&PasswordHash>,
    ) -> Result<bool, AccessError> {
        let is_somebody = stored.is_some();
        let stored = stored.unwrap_or(&self.nobody).clone();
        // One that is too long is hashed up to the limit and refused: no free answer.
        let fits = password.len() <= BYTES_MAX;
        let looked_at = password.as_bytes()[..password.len().min(BYTES_MAX)].to_vec();
        let looked_at = Zeroizing::new(String::from_utf8_lossy(&looked_at).into_owned());
        let matches = self.run(move || stored.matches(&looked_at)).await?;
        Ok(matches && fits && is_somebody)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccessError> {
        let place = Place::take(&self.waiting).ok_or_else(|| unavailable("too many sign-ins at once"))?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| unavailable("stopping"))?;
        drop(place);
        let work = move || {
            let result = work();
            drop(turn);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| unavailable("hashing failed"))
    }
}

/// A place among those that wait; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(waiting.clone());
        // Counted first: the place that is one too many gives itself back.
        (waiting.fetch_add(1, Ordering::AcqRel) < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn unavailable(detail: &str) -> AccessError {
    AccessError::State(StateError::Unavailable { detail: detail.to_owned() })
}

fn compute(
    password: &str,
    salt: &[u8],
    (memory, passes, lanes): (u32, u32, u32),
) -> Option<[u8; HASH_BYTES]> {
    let params = Params::new(memory, passes, lanes, Some(HASH_BYTES)).ok()?;
    let mut hash = [0; HASH_BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .ok()?;
    Some(hash)
}

impl PasswordHash {
    fn of_parts(salt: &[u8], hash: &[u8]) -> Self {
        let (salt, hash) = (BASE64_NOPAD.encode(salt), BASE64_NOPAD.encode(hash));
        Self { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt, hash }
    }

    /// True when it is the very same hash.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        is_same(self.hash.as_bytes(), other.hash.as_bytes()) && self.salt == other.salt
    }

    fn matches(&self, password: &str) -> bool {
        if self.memory_kib > STORED_MEMORY_KIB_MAX || self.passes > STORED_PASSES_MAX {
            return false;
        }
        let parts = (BASE64_NOPAD.decode(self.salt.as_bytes()), BASE64_NOPAD.decode(self.hash.as_bytes()));
        let (Ok(salt), Ok(hash)) = parts else { return false };
        compute(password, &salt, (self.memory_kib, self.passes, self.lanes))
            .is_some_and(|found| is_same(&found, &hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let hasher = Hasher::new();
        let stored = hasher.hash("correct horse battery").await.unwrap();
        assert!(hasher.verify("correct horse battery", Some(&stored)).await.unwrap());
        assert!(!hasher.verify("correct horse batterz", Some(&stored)).await.unwrap());
        assert!(!hasher.verify("correct horse battery", None).await.unwrap());
        assert_ne!(hasher.hash("correct horse battery").await.unwrap().hash, stored.hash, "salted");
        let limit = "x".repeat(BYTES_MAX);
        let stored = hasher.hash(&limit).await.unwrap();
        assert!(hasher.verify(&limit, Some(&stored)).await.unwrap());
        assert!(!hasher.verify(&format!("{limit}x"), Some(&stored)).await.unwrap());
    }

    #[test]
    fn the_hash_is_argon2id() {
        // RFC 9106's own vector needs secret and associated data; this one is the reference program's:
        // `echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32`.
        let hash = compute("password", b"somesalt", (65_536, 2, 1)).unwrap();
        let expected = "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7";
        assert_eq!(data_encoding::HEXLOWER.encode(&hash), expected);
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(check("elevenchars").is_err() && check("twelve chars").is_ok());
        assert!(check(&"x".repeat(BYTES_MAX)).is_ok() && check(&"x".repeat(BYTES_MAX + 1)).is_err());
    }

    #[tokio::test]
    async fn too_many_at_once_are_turned_away() {
        let hasher = Hasher::new();
        let places: Vec<_> = (0..WAITING_MAX).map(|_| Place::take(&hasher.waiting).unwrap()).collect();
        assert!(hasher.verify("anything at all", None).await.is_err());
        drop(places);
        assert!(hasher.verify("anything at all", None).await.is_ok());
    }
}
