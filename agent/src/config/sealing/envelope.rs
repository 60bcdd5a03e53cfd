//! The envelope of age v1: a header of lines that wraps the key of the file for each recipient, its MAC, and a body
//! of chunks of 64 KiB. Pure.

use data_encoding::BASE64_NOPAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::SealingError;
use super::SealingError::{Altered, Malformed, NotForUs};

pub(super) const VERSION_LINE: &[u8] = b"age-encryption.org/v1";
/// A header of 64 KiB names over 500 recipients: more than that is not for one node.
const HEADER_BYTES_MAX: usize = 64 << 10;
pub(super) const CHUNK_BYTES: usize = 64 << 10;
pub(super) const TAG_BYTES: usize = 16;
pub(super) const NONCE_BYTES: usize = 16;
pub(super) const FILE_KEY_BYTES: usize = 16;
/// A line of a stanza's body that has as many characters is followed by another.
const FULL_LINE: usize = 64;

pub(super) type FileKey = Zeroizing<[u8; FILE_KEY_BYTES]>;

/// One recipient's way to the file's key.
struct Stanza<'a> {
    arguments: Vec<&'a [u8]>,
    body: Vec<u8>,
}

struct Envelope<'a> {
    stanzas: Vec<Stanza<'a>>,
    /// What the MAC is of: the header up to `---`.
    authenticated: &'a [u8],
    mac: Vec<u8>,
    payload: &'a [u8],
}

pub(super) fn open(
    secret: &StaticSecret,
    public: &PublicKey,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let envelope = parse(sealed)?;
    let mut file_key = None;
    for stanza in &envelope.stanzas {
        // Every stanza of our kind is looked at: a malformed one is refused even when it is not ours.
        let found = unwrap(secret, public, stanza)?;
        file_key = file_key.or(found);
    }
    let file_key = file_key.ok_or(NotForUs)?;
    let mac_key = hmac::Key::new(hmac::HMAC_SHA256, derive(&[], &file_key[..], b"header").as_slice());
    hmac::verify(&mac_key, envelope.authenticated, &envelope.mac).map_err(|_| Altered)?;
    open_payload(&file_key, envelope.payload)
}

fn parse(sealed: &[u8]) -> Result<Envelope<'_>, SealingError> {
    let mut rest = sealed;
    if line(&mut rest) != Some(VERSION_LINE) {
        return Err(Malformed("its first line is not `age-encryption.org/v1`"));
    }
    let mut stanzas = Vec::new();
    loop {
        let before = sealed.len() - rest.len();
        let head = line(&mut rest).ok_or(Malformed("its header has no end"))?;
        if before > HEADER_BYTES_MAX {
            return Err(Malformed("its header is longer than 65536 bytes"));
        }
        if let Some(arguments) = head.strip_prefix(b"-> ") {
            stanzas.push(parse_stanza(arguments, &mut rest)?);
            continue;
        }
        let mac = head.strip_prefix(b"--- ").ok_or(Malformed("its header has a line of no known kind"))?;
        let mac = base64(mac)?;
        if stanzas.is_empty() {
            return Err(Malformed("it has no recipient"));
        }
        return Ok(Envelope { stanzas, authenticated: &sealed[..before + 3], mac, payload: rest });
    }
}

fn parse_stanza<'a>(arguments: &'a [u8], rest: &mut &'a [u8]) -> Result<Stanza<'a>, SealingError> {
    let arguments: Vec<_> = arguments.split(|byte| *byte == b' ').collect();
    if arguments.iter().any(|argument| argument.is_empty() || !argument.iter().all(u8::is_ascii_graphic)) {
        return Err(Malformed("a recipient has an argument that is empty or not printable"));
    }
    let mut body = Vec::new();
    loop {
        let text = line(rest).ok_or(Malformed("a recipient's body has no end"))?;
        if text.len() > FULL_LINE {
            return Err(Malformed("a line of a recipient's body is too long"));
        }
        body.extend(base64(text)?);
        if text.len() < FULL_LINE {
            return Ok(Stanza { arguments, body });
        }
    }
}

/// The next line without its end; none when there is no end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().take(HEADER_BYTES_MAX).position(|byte| *byte == b'\n')?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Some(line)
}

fn base64(text: &[u8]) -> Result<Vec<u8>, SealingError> {
    BASE64_NOPAD.decode(text).map_err(|_| Malformed("a line is not canonical base64"))
}

/// The file's key, when this stanza wraps it for us.
fn unwrap(
    secret: &StaticSecret,
    public: &PublicKey,
    stanza: &Stanza<'_>,
) -> Result<Option<FileKey>, SealingError> {
    if stanza.arguments[0] != b"X25519" {
        return Ok(None);
    }
    let [_, share] = stanza.arguments[..] else {
        return Err(Malformed("an X25519 recipient has not two arguments"));
    };
    let share: [u8; 32] =
        base64(share)?.try_into().map_err(|_| Malformed("an X25519 share has not 32 bytes"))?;
    if stanza.body.len() != FILE_KEY_BYTES + TAG_BYTES {
        return Err(Malformed("an X25519 recipient's body has not 32 bytes"));
    }
    let shared = secret.diffie_hellman(&PublicKey::from(share));
    if !shared.was_contributory() {
        return Err(Malformed("an X25519 share is of low order"));
    }
    let salt = [&share[..], public.as_bytes()].concat();
    let wrap_key = derive(&salt, shared.as_bytes(), b"age-encryption.org/v1/X25519");
    let mut body = Zeroizing::new(stanza.body.clone());
    let Some(opened) = open_in_place(&chacha(&wrap_key), [0; 12], &mut body) else { return Ok(None) };
    let mut key = FileKey::default();
    key.copy_from_slice(opened);
    Ok(Some(key))
}

fn open_payload(file_key: &FileKey, payload: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let (nonce, body) = payload.split_at_checked(NONCE_BYTES).ok_or(Altered)?;
    let key = chacha(&derive(nonce, &file_key[..], b"payload"));
    let chunks = body.chunks(CHUNK_BYTES + TAG_BYTES);
    let Some(last) = chunks.len().checked_sub(1) else { return Err(Altered) };
    // Taken in one piece: growing it would leave copies of the secret behind.
    let mut text = Zeroizing::new(Vec::with_capacity(body.len()));
    let mut chunk = Zeroizing::new(Vec::with_capacity(CHUNK_BYTES + TAG_BYTES));
    for (counter, sealed) in chunks.enumerate() {
        chunk.clear();
        chunk.extend_from_slice(sealed);
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&u64::try_from(counter).map_err(|_| Altered)?.to_be_bytes());
        nonce[11] = u8::from(counter == last);
        let opened = open_in_place(&key, nonce, &mut chunk).ok_or(Altered)?;
        if opened.is_empty() && counter > 0 {
            return Err(Malformed("its last chunk is empty"));
        }
        text.extend_from_slice(opened);
    }
    Ok(text)
}

fn open_in_place<'a>(key: &LessSafeKey, nonce: [u8; 12], sealed: &'a mut [u8]) -> Option<&'a [u8]> {
    let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), sealed);
    opened.ok().map(|opened| &*opened)
}

pub(super) fn chacha(key: &Zeroizing<[u8; 32]>) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key[..]).expect("the key has 32 bytes"))
}

/// HKDF-SHA-256.
pub(super) fn derive(salt: &[u8], key: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let filled = extracted.expand(&[info], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut derived[..]));
    filled.expect("32 bytes are within what the hash can derive");
    derived
}
