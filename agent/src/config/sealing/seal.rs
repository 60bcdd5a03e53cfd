//! Sealing: the way back of `envelope`.

use data_encoding::{BASE64, BASE64_NOPAD};
use ring::aead::{Aad, LessSafeKey, Nonce};
use ring::hmac;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::envelope::{CHUNK_BYTES, FILE_KEY_BYTES, FileKey, NONCE_BYTES, VERSION_LINE, chacha, derive};
use super::recipient::{NotARecipient, Recipient};
use crate::os::random;

/// Columns of the text form.
const ARMOR_COLUMNS: usize = 64;

/// Seals `text` so that each of `recipients` opens it, and nobody else.
///
/// # Errors
/// When a recipient is a key to which nothing can be sealed: a point of low order, which nobody owns.
pub fn seal(recipients: &[Recipient], text: &[u8]) -> Result<Vec<u8>, NotARecipient> {
    let file_key: FileKey = Zeroizing::new(random::bytes::<FILE_KEY_BYTES>());
    let mut sealed = VERSION_LINE.to_vec();
    sealed.push(b'\n');
    for recipient in recipients {
        sealed.extend(stanza(recipient, &file_key)?);
    }
    sealed.extend_from_slice(b"---");
    let mac_key = hmac::Key::new(hmac::HMAC_SHA256, derive(&[], &file_key[..], b"header").as_slice());
    let mac = BASE64_NOPAD.encode(hmac::sign(&mac_key, &sealed).as_ref());
    sealed.extend_from_slice(format!(" {mac}\n").as_bytes());
    let nonce = random::bytes::<NONCE_BYTES>();
    sealed.extend_from_slice(&nonce);
    append_chunks(&chacha(&derive(&nonce, &file_key[..], b"payload")), text, &mut sealed);
    Ok(sealed)
}

/// The file's key, wrapped for one recipient.
fn stanza(recipient: &Recipient, file_key: &FileKey) -> Result<Vec<u8>, NotARecipient> {
    let secret = StaticSecret::from(random::bytes::<32>());
    let share = PublicKey::from(&secret);
    let shared = secret.diffie_hellman(recipient.key());
    if !shared.was_contributory() {
        return Err(NotARecipient::new(recipient));
    }
    let salt = [&share.as_bytes()[..], recipient.key().as_bytes()].concat();
    let wrap_key = derive(&salt, shared.as_bytes(), b"age-encryption.org/v1/X25519");
    let mut body = Zeroizing::new(file_key.to_vec());
    seal_in_place(&chacha(&wrap_key), [0; 12], &mut body);
    // 32 bytes are 43 characters: a line that is not full, and so the last.
    let (share, body) = (BASE64_NOPAD.encode(share.as_bytes()), BASE64_NOPAD.encode(&body));
    Ok(format!("-> X25519 {share}\n{body}\n").into_bytes())
}

fn append_chunks(key: &LessSafeKey, text: &[u8], sealed: &mut Vec<u8>) {
    // An empty text is one empty chunk.
    let count = text.len().div_ceil(CHUNK_BYTES).max(1);
    for number in 0..count {
        let start = number * CHUNK_BYTES;
        let mut chunk = Zeroizing::new(text[start..text.len().min(start + CHUNK_BYTES)].to_vec());
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&(number as u64).to_be_bytes());
        nonce[11] = u8::from(number + 1 == count);
        seal_in_place(key, nonce, &mut chunk);
        sealed.extend_from_slice(&chunk);
    }
}

fn seal_in_place(key: &LessSafeKey, nonce: [u8; 12], bytes: &mut Vec<u8>) {
    let sealed = key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), bytes);
    sealed.expect("a chunk is shorter than the cipher's limit");
}

/// The text form of what is sealed, as `age --armor` writes it.
pub fn armored(sealed: &[u8]) -> String {
    let text = BASE64.encode(sealed);
    let mut armored = "-----BEGIN AGE ENCRYPTED FILE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(ARMOR_COLUMNS));
        armored.push_str(line);
        armored.push('\n');
        rest = after;
    }
    armored + "-----END AGE ENCRYPTED FILE-----\n"
}
