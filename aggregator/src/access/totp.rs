//! The second factor: six digits that change every half minute (RFC 6238, SHA-1, as every authenticator has it).

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use totp_rs::{Builder, Totp};

use campanile_common::time::Timestamp;

use crate::os::random;

/// Bytes of the secret: what RFC 4226 recommends.
const SECRET_BYTES: usize = 20;
/// Steps that a clock may be off, either way: what RFC 6238 recommends.
const SKEW_STEPS: u16 = 1;
const STEP_SECONDS: u64 = 30;
const DIGITS: u8 = 6;

/// A second factor as it is stored; the secret is needed to check a code.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SecondFactor {
    secret: String,
    /// The last step of which a code was accepted: none is accepted twice, nor an older one.
    last_step: u64,
}

impl SecondFactor {
    /// A new one.
    pub(super) fn draw() -> Self {
        Self { secret: BASE32_NOPAD.encode(&random::bytes::<SECRET_BYTES>()), last_step: 0 }
    }

    /// The secret as people type it.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The address that authenticators read; names have no character that would need escaping.
    pub(super) fn uri(&self, name: &str) -> String {
        format!("otpauth://totp/Campanile:{name}?secret={}&issuer=Campanile", self.secret)
    }

    /// Takes a code; true when it is current and was not taken before.
    pub(super) fn accept(&mut self, code: &str, now: Timestamp) -> bool {
        let Some(totp) = self.totp() else { return false };
        match totp.check(code.trim(), now.as_secs()) {
            Some(step) if step > self.last_step => {
                self.last_step = step;
                true
            }
            _ => false,
        }
    }

    fn totp(&self) -> Option<Totp> {
        let secret = BASE32_NOPAD.decode(self.secret.as_bytes()).ok()?;
        Builder::new()
            .with_secret(secret)
            .with_skew(SKEW_STEPS)
            .with_step_duration(STEP_SECONDS)
            .with_digits(DIGITS)
            .build()
            .ok()
    }

    /// The code at a time.
    #[cfg(test)]
    pub(super) fn code(secret: &str, now: Timestamp) -> String {
        let factor = Self { secret: secret.to_owned(), last_step: 0 };
        factor.totp().unwrap().generate(now.as_secs()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1, the last six of its eight digits.
        let secret = BASE32_NOPAD.encode(b"12345678901234567890");
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(SecondFactor::code(&secret, at(seconds)), code);
        }
    }

    #[test]
    fn a_code_is_taken_once_and_none_before_it() {
        let mut factor = SecondFactor::draw();
        let code = |seconds| SecondFactor::code(&factor.secret, at(seconds));
        let (earlier, current, later) = (code(3000), code(3030), code(3060));
        assert!(factor.accept(&current, at(3030)));
        assert!(!factor.accept(&current, at(3031)), "twice");
        assert!(!factor.accept(&earlier, at(3031)), "older");
        assert!(factor.accept(&later, at(3031)), "a clock that is a step ahead");
    }

    #[test]
    fn codes_beyond_one_step_are_refused() {
        let factor = SecondFactor::draw();
        let code = SecondFactor::code(&factor.secret, at(3000));
        for (now, expected) in [(2939, false), (2970, true), (3029, true), (3059, true), (3060, false)] {
            assert_eq!(factor.clone().accept(&code, at(now)), expected, "{now}");
        }
        for nonsense in ["", "12345", "1234567", "abcdef", "+12345"] {
            assert!(!factor.clone().accept(nonsense, at(3000)), "{nonsense}");
        }
    }
}
