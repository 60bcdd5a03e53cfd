//! Enrolment tokens: what an operator carries to a new node.
//!
//! A token names the aggregator's addresses, proves that the bearer may enrol, and pins both the aggregator's CA
//! key and the fleet's authority, so that nothing is trusted on first use.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::{Digest, FleetId};
use crate::wire::codec;

/// What every token of this format begins with.
const PREFIX: &str = "cmp1_";
/// Longest token text that is read at all.
const TOKEN_BYTES_MAX: usize = 4096;

/// The secret half of a token. Prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct TokenSecret(pub [u8; 32]);

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl TokenSecret {
    /// What the aggregator keeps instead of the secret.
    pub fn digest(&self) -> Digest {
        crate::authority::sha256(&[b"campanile/token/v1\0", &self.0])
    }
}

/// An enrolment token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Fleet it enrols into.
    pub fleet: FleetId,
    /// Proof that the bearer may enrol.
    pub secret: TokenSecret,
    /// `host:port` of each aggregator, in the order to try.
    pub addresses: Vec<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of the aggregator's CA.
    pub ca_key: Digest,
    /// SHA-256 of the authority document in force when the token was made.
    pub authority: Digest,
}

/// Text that is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Another prefix.
    #[error("this is no enrolment token: one begins with `{PREFIX}`; make one with `campanile token create`")]
    Prefix,
    /// Damaged on its way.
    #[error("the enrolment token is damaged; copy it again, whole")]
    Damaged,
}

impl Token {
    /// The text an operator copies. Contains the secret.
    pub fn to_text(&self) -> String {
        let bytes = codec::encode("Token", self).expect("addresses are few and short");
        let sum = crate::authority::sha256(&[&bytes]);
        let mut whole = bytes;
        whole.extend_from_slice(&sum.as_bytes()[..4]);
        let text = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&whole));
        whole.zeroize();
        text
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if encoded.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Damaged);
        }
        let whole = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| TokenError::Damaged)?;
        let (bytes, sum) = whole.split_last_chunk::<4>().ok_or(TokenError::Damaged)?;
        if crate::authority::sha256(&[bytes]).as_bytes()[..4] != sum[..] {
            return Err(TokenError::Damaged);
        }
        codec::decode("Token", bytes).map_err(|_| TokenError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            fleet: FleetId::from_bytes([7; 16]),
            secret: TokenSecret([9; 32]),
            addresses: vec!["aggregator.example:8443".to_owned()],
            ca_key: Digest::from_bytes([1; 32]),
            authority: Digest::from_bytes([2; 32]),
        }
    }

    #[test]
    fn a_token_survives_being_copied() {
        assert_eq!(format!(" {}\n", token().to_text()).parse::<Token>().unwrap(), token());
    }

    #[test]
    fn a_cut_or_altered_token_is_damaged_not_half_read() {
        let text = token().to_text();
        assert!(matches!(text[..text.len() - 1].parse::<Token>(), Err(TokenError::Damaged)));
        let altered = text.replacen(&text[10..11], if &text[10..11] == "A" { "B" } else { "A" }, 1);
        assert!(matches!(altered.parse::<Token>(), Err(TokenError::Damaged)));
        assert!(matches!("hunter2".parse::<Token>(), Err(TokenError::Prefix)));
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert!(format!("{:?}", token()).contains("[redacted]"));
    }
}
