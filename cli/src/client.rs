//! The HTTPS client: TLS 1.3 only, trusting the fleet's CA and nothing else, through no proxy.
//!
//! Every way in which it can fail has its own error, which says what to do.

mod bytes;
mod error;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use campanile_common::api::{Page, Problem};
use data_encoding::HEXLOWER;
use rustls::crypto::CryptoProvider;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{self, Method};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use zeroize::Zeroizing;

pub use self::bytes::Condition;
pub use self::error::ClientError;
pub use self::stream::{ServerEvent, ServerEvents};
use crate::os::random;

/// Longest answer that is read: a page of 1,000 nodes with all their causes is a few megabytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Entries asked for at once.
const PAGE_ITEMS: &str = "500";
/// Most pages that are followed, so that a broken cursor cannot keep us for ever.
const PAGES_MAX: usize = 10_000;

/// A client of one aggregator.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<Zeroizing<String>>,
    cookie: Option<Zeroizing<String>>,
    timeout: Duration,
}

/// An answer with what its headers tell.
#[derive(Debug)]
pub struct Answer<T> {
    /// The body.
    pub body: T,
    /// The session cookie it set, as `name=value`.
    pub cookie: Option<Zeroizing<String>>,
}

impl Client {
    /// A client of the aggregator at `url`, trusting the certificates in `ca_pem` alone.
    ///
    /// # Errors
    /// When the address or the CA cannot be used.
    pub fn new(
        url: &str,
        ca_pem: &[u8],
        token: Option<Zeroizing<String>>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let base = url.trim_end_matches('/');
        let address = || ClientError::Address { url: url.to_owned() };
        let uri: http::Uri = base.parse().map_err(|_| address())?;
        if uri.scheme_str() != Some("https") || uri.host().is_none() || uri.path() != "/" {
            return Err(address());
        }
        let roots = certificates(ca_pem)?;
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider())
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            // The pinned aggregator is spoken to directly: a proxy could only be in between.
            .proxy(None)
            .user_agent(concat!("campanile/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(Duration::from_secs(10))))
            .build()
            .new_agent();
        Ok(Self { agent, base: base.to_owned(), token, cookie: None, timeout })
    }

    /// The same client speaking for the session in `cookie`.
    pub fn with_cookie(mut self, cookie: Zeroizing<String>) -> Self {
        self.cookie = Some(cookie);
        self
    }

    /// Where the aggregator is.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Reads.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ClientError> {
        let answer = self.exchange(Method::GET, &with_query(path, query), None, None)?;
        self.decode(&answer.body)
    }

    /// Reads a list to its end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, ClientError> {
        let mut items = Vec::new();
        self.each_page(path, query, |page| {
            items.extend(page);
            true
        })?;
        Ok(items)
    }

    /// Reads a list page by page, for lists too long to be held at once. `take` says whether to go on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn each_page<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        mut take: impl FnMut(Vec<T>) -> bool,
    ) -> Result<(), ClientError> {
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            query.push(("limit", PAGE_ITEMS));
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let page: Page<T> = self.get(path, &query)?;
            let goes_on = take(page.items);
            match page.next_cursor {
                Some(next) if goes_on && Some(&next) != cursor.as_ref() => cursor = Some(next),
                Some(_) if goes_on => return Err(self.not_understood("a list that never ends")),
                _ => return Ok(()),
            }
        }
        Err(self.not_understood("a list that never ends"))
    }

    /// Sends `body` and reads the answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        Ok(self.send_for_cookie(method, path, body)?.body)
    }

    /// Sends `body`; the answer has nothing of interest.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn tell(&self, method: Method, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.exchange(method, path, Some(&encode(body)), None).map(drop)
    }

    /// As [`Self::send`], with the cookie that the answer sets.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn send_for_cookie<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, ClientError> {
        let body = encode(body);
        let answer = self.exchange(method, path, Some(&body), None)?;
        Ok(Answer { body: self.decode(&answer.body)?, cookie: answer.cookie })
    }

    /// Changes a thing that must still have `revision`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        revision: u64,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let answer = self.exchange(Method::PATCH, path, Some(&encode(body)), Some(revision))?;
        self.decode(&answer.body)
    }

    /// Sends a request without a body and reads the answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn call<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        let answer = self.exchange(method, path, None, None)?;
        self.decode(&answer.body)
    }

    /// Sends a request whose answer has no body of interest.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn order(&self, method: Method, path: &str) -> Result<(), ClientError> {
        self.exchange(method, path, None, None).map(drop)
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
        revision: Option<u64>,
    ) -> Result<Answer<Vec<u8>>, ClientError> {
        let mut request = self.request(&method, path);
        if method == Method::POST {
            // Lets the aggregator tell a repeated request from a second one.
            request = request.header("idempotency-key", HEXLOWER.encode(&random::bytes::<16>()));
        }
        if let Some(revision) = revision {
            request = request.header("if-match", format!("\"{revision}\""));
        }
        let transport =
            |error: ureq::Error| ClientError::of_transport(self.base.clone(), self.timeout, error);
        let built = |error: http::Error| self.not_understood(&error.to_string());
        let response = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(body).map_err(built)?)
            }
            None => self.agent.run(request.body(()).map_err(built)?),
        };
        let mut response = response.map_err(transport)?;
        let cookie = response.headers().get("set-cookie").and_then(session_cookie);
        let bytes =
            response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(transport)?;
        if response.status().is_success() {
            Ok(Answer { body: bytes, cookie })
        } else {
            Err(self.refusal(response.status().as_u16(), &bytes))
        }
    }

    /// A request with what says who asks.
    fn request(&self, method: &Method, path: &str) -> http::request::Builder {
        let mut request = http::Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base))
            .header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.as_str()));
        }
        if let Some(cookie) = &self.cookie {
            // The aggregator takes changes by cookie from its own page alone, which no foreign page can pass for.
            // The cookie here is one that this process was just given.
            request = request.header("cookie", cookie.as_str()).header("sec-fetch-site", "same-origin");
        }
        request
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(bytes).map_err(|error| self.not_understood(&error.to_string()))
    }

    fn refusal(&self, status: u16, bytes: &[u8]) -> ClientError {
        let Ok(problem) = serde_json::from_slice::<Problem>(bytes) else {
            return self.not_understood(&format!("status {status} without an explanation"));
        };
        ClientError::of_problem(problem)
    }

    fn not_understood(&self, what: &str) -> ClientError {
        ClientError::NotUnderstood { url: self.base.clone(), what: what.to_owned() }
    }
}

/// One part of a path, with everything that has a meaning in addresses escaped.
pub fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut whole = path.to_owned();
    for (index, (key, value)) in query.iter().enumerate() {
        whole.push(if index == 0 { '?' } else { '&' });
        whole.push_str(&format!("{}={}", segment(key), segment(value)));
    }
    whole
}

fn encode(body: &impl Serialize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(serde_json::to_vec(body).expect("requests are plain structures with text keys"))
}

fn certificates(pem: &[u8]) -> Result<Vec<ureq::tls::Certificate<'static>>, ClientError> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        if let Ok(PemItem::Certificate(certificate)) = item {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(ClientError::NoCertificate) } else { Ok(found) }
}

/// *ring* without the suites of TLS 1.2, which makes TLS 1.3 the only version that is offered.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    Arc::new(provider)
}

fn session_cookie(header: &http::HeaderValue) -> Option<Zeroizing<String>> {
    let pair = header.to_str().ok()?.split(';').next()?.trim();
    pair.starts_with("__Host-campanile=").then(|| Zeroizing::new(pair.to_owned()))
}

#[cfg(test)]
mod tests;
