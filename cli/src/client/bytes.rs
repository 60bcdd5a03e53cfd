//! Bodies that are bytes and no JSON, and changes that hold only while a thing is as it was when it was read.

use std::io::Read as _;

use campanile_common::id::Digest;
use ureq::http::Method;

use super::{Client, ClientError};

/// Longest refusal that is read.
const REFUSAL_BYTES_MAX: u64 = 64 * 1024;

/// What must hold for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The thing is not there yet.
    IsAbsent,
    /// The thing is still this one.
    Is(Digest),
}

impl Client {
    /// Puts bytes somewhere; what is answered is of no interest.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn put_bytes(&self, path: &str, bytes: &[u8], condition: Condition) -> Result<(), ClientError> {
        let transport =
            |error: ureq::Error| ClientError::of_transport(self.base.clone(), self.timeout, error);
        let request = self.request(&Method::PUT, path).header("content-type", "application/octet-stream");
        let request = match condition {
            Condition::Always => request,
            Condition::IsAbsent => request.header("if-none-match", "*"),
            Condition::Is(digest) => request.header("if-match", format!("\"{digest}\"")),
        };
        let request = request.body(bytes).map_err(|error| self.not_understood(&error.to_string()))?;
        let mut response = self.agent.run(request).map_err(transport)?;
        if response.status().is_success() {
            return Ok(());
        }
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(REFUSAL_BYTES_MAX).read_to_vec();
        Err(self.refusal(status, &body.map_err(transport)?))
    }

    /// Reads bytes, at most `most` of them.
    ///
    /// # Errors
    /// See [`ClientError`], and when there are more.
    pub fn bytes(&self, path: &str, most: usize) -> Result<Vec<u8>, ClientError> {
        let body = self.stream(path, &[], "application/octet-stream")?;
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        let broken = |error: std::io::Error| {
            ClientError::of_transport(self.base.clone(), self.timeout, ureq::Error::Io(error))
        };
        body.take(limit).read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() > most {
            return Err(self.not_understood(&format!("more than {most} bytes at {path}")));
        }
        Ok(bytes)
    }
}
