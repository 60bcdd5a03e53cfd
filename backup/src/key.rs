//! The master key of a repository, and sealing with it: AES-256 in counter mode, authenticated by Poly1305-AES.
//!
//! Sealed bytes are a random 16-byte counter block, the ciphertext and a 16-byte authenticator over the ciphertext
//! (restic's design, "Keys, Encryption and MAC"). Nothing is decrypted before its authenticator was compared.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt as _, KeyInit as _, KeyIvInit as _, StreamCipher as _};
use aes::{Aes128, Aes256};
use ctr::Ctr128BE;
use data_encoding::BASE64;
use poly1305::Poly1305;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::random;

/// Bytes in front of a ciphertext: the first counter block.
pub const NONCE_BYTES: usize = 16;
/// Bytes behind a ciphertext: its authenticator.
pub const MAC_BYTES: usize = 16;
/// Bytes that sealing adds.
pub const OVERHEAD_BYTES: usize = NONCE_BYTES + MAC_BYTES;
/// Bits of `r` that Poly1305 clears (RFC 8439, section 2.5); keys are kept with them cleared, as restic does.
const CLAMP: [u8; 16] =
    [0xff, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f];

/// What all content of a repository is sealed with.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct MasterKey {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey([redacted])")
    }
}

/// Sealed bytes that were altered, cut short, or sealed with another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not authentic: altered, cut short, or sealed with another key")]
pub struct NotAuthentic;

/// Text that is no master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a repository's master key")]
pub struct NotAKey;

/// As in the key files of the format.
#[derive(Serialize, Deserialize)]
struct Written {
    mac: WrittenMac,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct WrittenMac {
    k: String,
    r: String,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.encrypt.zeroize();
        self.mac.k.zeroize();
        self.mac.r.zeroize();
    }
}

impl MasterKey {
    /// A new random key.
    pub fn generate() -> Self {
        let bytes = Zeroizing::new(random::bytes::<64>());
        Self::from_bytes(&bytes)
    }

    /// The key made of 64 bytes: 32 to encrypt, 16 and 16 to authenticate, as scrypt gives them for a password.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut key = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        key.encrypt.copy_from_slice(&bytes[..32]);
        key.mac_k.copy_from_slice(&bytes[32..48]);
        key.mac_r.copy_from_slice(&bytes[48..]);
        key.mac_r.iter_mut().zip(CLAMP).for_each(|(byte, mask)| *byte &= mask);
        key
    }

    /// The JSON of the format's key files, which stock `restic` knows as a master key.
    pub fn to_json(&self) -> Zeroizing<String> {
        let written = Written {
            mac: WrittenMac { k: BASE64.encode(&self.mac_k), r: BASE64.encode(&self.mac_r) },
            encrypt: BASE64.encode(&self.encrypt),
        };
        Zeroizing::new(serde_json::to_string(&written).expect("three texts are written"))
    }

    /// Reads what [`MasterKey::to_json`] wrote.
    ///
    /// # Errors
    /// [`NotAKey`] for anything else.
    pub fn from_json(json: &[u8]) -> Result<Self, NotAKey> {
        let written: Written = serde_json::from_slice(json).map_err(|_| NotAKey)?;
        let mut bytes = Zeroizing::new([0; 64]);
        let parts = [(&written.encrypt, 0..32), (&written.mac.k, 32..48), (&written.mac.r, 48..64)];
        for (text, range) in parts {
            let part = Zeroizing::new(BASE64.decode(text.as_bytes()).map_err(|_| NotAKey)?);
            if part.len() != range.len() {
                return Err(NotAKey);
            }
            bytes[range].copy_from_slice(&part);
        }
        Ok(Self::from_bytes(&bytes))
    }

    /// Appends `plaintext`, sealed, to `out`.
    pub fn seal(&self, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let nonce = random::bytes::<NONCE_BYTES>();
        out.reserve(plaintext.len() + OVERHEAD_BYTES);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        let ciphertext = &mut out[start + NONCE_BYTES..];
        self.cipher(&nonce).apply_keystream(ciphertext);
        let mac = self.mac(&nonce, ciphertext);
        out.extend_from_slice(&mac);
    }

    /// Opens sealed bytes in place; what is returned lies within `sealed`.
    ///
    /// # Errors
    /// [`NotAuthentic`] when not every bit is as it was sealed; `sealed` is unchanged then.
    pub fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], NotAuthentic> {
        self.authenticate(sealed)?;
        let end = sealed.len() - MAC_BYTES;
        let (nonce, ciphertext) = sealed[..end].split_at_mut(NONCE_BYTES);
        let nonce: [u8; NONCE_BYTES] = (&*nonce).try_into().expect("split there");
        self.cipher(&nonce).apply_keystream(ciphertext);
        Ok(ciphertext)
    }

    /// Compares the authenticator of sealed bytes, which stay sealed.
    ///
    /// # Errors
    /// [`NotAuthentic`] when not every bit is as it was sealed.
    pub fn authenticate(&self, sealed: &[u8]) -> Result<(), NotAuthentic> {
        let length = sealed.len().checked_sub(OVERHEAD_BYTES).ok_or(NotAuthentic)?;
        let (nonce, rest) = sealed.split_at(NONCE_BYTES);
        let (ciphertext, mac) = rest.split_at(length);
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().expect("split there");
        let expected = self.mac(&nonce, ciphertext);
        let difference = expected.iter().zip(mac.iter()).fold(0, |sum, (left, right)| sum | (left ^ right));
        if difference == 0 { Ok(()) } else { Err(NotAuthentic) }
    }

    fn cipher(&self, nonce: &[u8; NONCE_BYTES]) -> Ctr128BE<Aes256> {
        Ctr128BE::<Aes256>::new(&self.encrypt.into(), nonce.into())
    }

    /// Poly1305 with `r` of this key and the nonce, encrypted, as `s` (Bernstein, "The Poly1305-AES message-
    /// authentication code", 2005).
    fn mac(&self, nonce: &[u8; NONCE_BYTES], ciphertext: &[u8]) -> [u8; MAC_BYTES] {
        let mut s = GenericArray::from(*nonce);
        Aes128::new(&self.mac_k.into()).encrypt_block(&mut s);
        let mut key = Zeroizing::new([0; 32]);
        key[..16].copy_from_slice(&self.mac_r);
        key[16..].copy_from_slice(&s);
        Poly1305::new(GenericArray::from_slice(&*key)).compute_unpadded(ciphertext).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_the_same_key_alone() {
        let (key, other) = (MasterKey::generate(), MasterKey::generate());
        for length in [0, 1, 15, 16, 17, 1000, 100_000] {
            let plaintext: Vec<u8> = (0..length).map(|byte: u32| byte.to_le_bytes()[0]).collect();
            let mut sealed = b"before".to_vec();
            key.seal(&plaintext, &mut sealed);
            let mut sealed = sealed.split_off(6);
            assert_eq!(sealed.len(), plaintext.len() + OVERHEAD_BYTES);
            assert_eq!(other.open(&mut sealed.clone()), Err(NotAuthentic));
            assert_eq!(key.open(&mut sealed).unwrap(), plaintext);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let key = MasterKey::generate();
        let mut sealed = Vec::new();
        key.seal(b"a few words", &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&mut altered), Err(NotAuthentic), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(key.open(&mut sealed[..length].to_vec()), Err(NotAuthentic), "{length} bytes");
        }
    }

    /// The third vector of appendix B of "The Poly1305-AES message-authentication code".
    #[test]
    fn the_authenticator_is_the_published_one() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let mut bytes = [0; 64];
        bytes[32..48].copy_from_slice(&hex("6acb5f61a7176dd320c5c1eb2edcdc74"));
        bytes[48..].copy_from_slice(&hex("48443d0bb0d21109c89a100b5ce2c208"));
        let key = MasterKey::from_bytes(&bytes);
        let nonce: [u8; 16] = hex("ae212a55399729595dea458bc621ff0e").try_into().unwrap();
        let message = hex("663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136");
        assert_eq!(key.mac(&nonce, &message).to_vec(), hex("0ee1c16bb73f0f4fd19881753c01cdbe"));
    }

    #[test]
    fn a_key_survives_being_written_and_prints_nothing() {
        let key = MasterKey::generate();
        assert_eq!(MasterKey::from_json(key.to_json().as_bytes()).unwrap(), key);
        assert_eq!(format!("{key:?}"), "MasterKey([redacted])");
        assert_eq!(MasterKey::from_json(b"{}"), Err(NotAKey));
        assert_eq!(
            MasterKey::from_json(br#"{"mac":{"k":"AA==","r":"AA=="},"encrypt":"AA=="}"#),
            Err(NotAKey)
        );
    }
}
