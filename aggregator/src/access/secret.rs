//! Secrets that are handed out once and kept as their digest alone: sessions, links, API tokens.

use campanile_common::authority::sha256;
use campanile_common::id::Digest;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::os::random;

/// What every API token begins with.
pub(super) const API_TOKEN_PREFIX: &str = "cmpa_";
/// Bytes of a token's id, in front of its secret.
const TOKEN_ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// Longest text that is looked at.
const TEXT_BYTES_MAX: usize = 128;

/// What a secret is for; its digest holds for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Session,
    Link,
    ApiToken,
}

/// The digest under which a secret's record is kept. The secret is random and long, so a plain hash will do.
pub(super) fn digest(purpose: Purpose, secret: &[u8]) -> Digest {
    let domain: &[u8] = match purpose {
        Purpose::Session => b"campanile/session/v1\0",
        Purpose::Link => b"campanile/sign-in-link/v1\0",
        Purpose::ApiToken => b"campanile/api-token/v1\0",
    };
    sha256(&[domain, secret])
}

/// A new session or link secret as text, and its digest.
pub(super) fn draw(purpose: Purpose) -> (String, Digest) {
    let bytes: [u8; SECRET_BYTES] = random::bytes();
    (BASE64URL_NOPAD.encode(&bytes), digest(purpose, &bytes))
}

/// The digest of a session or link secret as it came back; none when it cannot be one.
pub(super) fn read(purpose: Purpose, text: &str) -> Option<Digest> {
    let bytes = decode(text)?;
    (bytes.len() == SECRET_BYTES).then(|| digest(purpose, &bytes))
}

/// A new API token: its text, id and digest.
pub(super) fn draw_token() -> (String, String, Digest) {
    let bytes: [u8; TOKEN_ID_BYTES + SECRET_BYTES] = random::bytes();
    let (id, secret) = bytes.split_at(TOKEN_ID_BYTES);
    let text = format!("{API_TOKEN_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes));
    (text, HEXLOWER.encode(id), digest(Purpose::ApiToken, secret))
}

/// Id and digest of an API token as it came back; none when it cannot be one.
pub(super) fn read_token(text: &str) -> Option<(String, Digest)> {
    let bytes = decode(text.strip_prefix(API_TOKEN_PREFIX)?)?;
    let (id, secret) = bytes.split_at_checked(TOKEN_ID_BYTES)?;
    (secret.len() == SECRET_BYTES).then(|| (HEXLOWER.encode(id), digest(Purpose::ApiToken, secret)))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

/// Compares without telling by its time where the first difference is.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |found, (a, b)| std::hint::black_box(found | (a ^ b)));
    one.len() == other.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_back_as_their_digest_and_for_their_purpose_alone() {
        let (text, digest) = draw(Purpose::Session);
        assert_eq!(read(Purpose::Session, &text), Some(digest));
        assert_ne!(read(Purpose::Link, &text), Some(digest));
        assert_eq!(read(Purpose::Session, &text[1..]), None);
        assert_eq!(read(Purpose::Session, &"A".repeat(10_000)), None);
        assert_ne!(draw(Purpose::Session).0, text);
    }

    #[test]
    fn a_token_carries_its_id() {
        let (text, id, digest) = draw_token();
        assert!(text.starts_with("cmpa_"));
        assert_eq!(read_token(&text), Some((id, digest)));
        for other in ["", "cmpa_", "cmpa_AAAA", &text[5..], &text[..text.len() - 1], "cmp1_AAAA"] {
            assert_eq!(read_token(other), None, "{other}");
        }
    }

    #[test]
    fn comparison_is_exact() {
        assert!(is_same(b"abc", b"abc") && is_same(b"", b""));
        assert!(!is_same(b"abc", b"abd") && !is_same(b"abc", b"ab") && !is_same(b"", b"a"));
    }
}
