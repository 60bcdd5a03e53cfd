//! The aggregator's HTTPS API as a test sees it: status, headers and JSON.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client that trusts one fleet's CA.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as text.
    pub text: String,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Panics
    /// When it is a failure, or no JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text))
    }

    /// The stable code of a failure.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn code(&self) -> String {
        assert!(self.status >= 400, "{}: {}", self.status, self.text);
        let problem: Value = serde_json::from_str(&self.text).expect("a failure is a problem document");
        problem["code"].as_str().expect("a problem has a code").to_owned()
    }
}

impl Api {
    /// A client of the aggregator at `base`, as the bearer of `token`.
    ///
    /// # Panics
    /// When the CA file cannot be used.
    pub fn new(base: &str, ca: &Path, token: Option<&str>) -> Self {
        let pem = std::fs::read(ca).expect("the CA file can be read");
        let roots = parse_pem(&pem)
            .filter_map(|item| match item.expect("the CA file is PEM") {
                PemItem::Certificate(certificate) => Some(certificate.to_owned()),
                _ => None,
            })
            .collect();
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            // The aggregator is killed under us: a connection kept from before would fail the next request.
            .max_idle_connections(0)
            .build();
        Self {
            agent: ureq::Agent::new_with_config(config),
            base: base.to_owned(),
            token: token.map(str::to_owned),
        }
    }

    /// The same client as the bearer of another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client as nobody.
    #[must_use]
    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// Sends a request; fails only when no answer comes.
    ///
    /// # Errors
    /// When there is no connection or no whole answer.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, ureq::Error> {
        let method: Method = method.parse().expect("a method");
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (body, kind) = match body {
            Some(body) => (body.to_string(), Some("application/json")),
            None => (String::new(), None),
        };
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let request = request.body(body).expect("a request");
        let request = self.agent.configure_request(request);
        let request = request.allow_non_standard_methods(true).timeout_global(Some(TIMEOUT)).build();
        let mut answer = self.agent.run(request)?;
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.body_mut().read_to_string()?,
        })
    }

    /// GET, whatever the status.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// A request with a body, whatever the status.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = (!body.is_null()).then_some(body);
        self.send(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Reads `/api/v1/events` as it comes, from behind `last` on.
    ///
    /// # Panics
    /// When it is refused.
    pub fn events(&self, last: Option<&str>) -> EventStream {
        let mut request = Request::builder().uri(format!("{}/api/v1/events", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(()).expect("a request");
        let request = self.agent.configure_request(request).timeout_recv_response(Some(TIMEOUT)).build();
        let answer = self.agent.run(request).expect("events are answered");
        assert_eq!(answer.status().as_u16(), 200, "events are refused");
        let (sender, lines) = mpsc::channel();
        // Ends with the stream, or with the test's process.
        std::thread::spawn(move || {
            for line in BufReader::new(answer.into_body().into_reader()).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        EventStream { lines, partial: Event::default() }
    }
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Where to resume.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// JSON text.
    pub data: String,
}

/// Events as they come.
#[derive(Debug)]
pub struct EventStream {
    lines: Receiver<String>,
    partial: Event,
}

impl EventStream {
    /// The next event for which `wanted` holds; none when the stream ended.
    ///
    /// # Panics
    /// When neither happened within `limit`.
    pub fn next_where(&mut self, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("no such event within {limit:?}"),
            };
            if let Some(event) = self.take(&line)
                && wanted(&event)
            {
                return Some(event);
            }
        }
    }

    fn take(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.partial);
            return (!event.kind.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':')?;
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "id" => self.partial.id = value,
            "event" => self.partial.kind = value,
            "data" => self.partial.data.push_str(&value),
            _ => {}
        }
        None
    }
}
