//! Speaks HTTP to one server: signs, sends, reads to the end. One attempt each; whether there is another is for the caller.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use campanile_common::backup::S3Place;
use rustls::crypto::ring::default_provider;
use ureq::http::{self, Request};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::credentials::Credentials;
use super::sign::{self, Unsigned};
use crate::os::{clock, file};

/// A server that says nothing for so long is away.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may take over one request once it has it: storing 20 MiB takes a slow one a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest body that is read: restic's packs have 128 MiB at most.
const BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;
const CA_BYTES_MAX: u64 = 1024 * 1024;
const USUAL_REGION: &str = "us-east-1";
const AMAZON: &str = ".amazonaws.com";

/// One server, and who speaks to it.
#[derive(Debug)]
pub(super) struct Wire {
    agent: ureq::Agent,
    /// Scheme, host and port.
    base: String,
    host: String,
    /// What precedes a key in a path.
    above: String,
    region: String,
    credentials: Credentials,
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: &'static str,
    /// Of an object; empty for the bucket.
    pub(super) key: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Names in lower case.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: &'a [u8],
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// No answer came.
#[derive(Debug)]
pub(super) enum Silence {
    /// The next attempt may go well.
    Passing(String),
    /// It would fail in the same way; the text says what to do.
    Lasting(String),
}

/// A server that cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub(in crate::backup) enum WireError {
    /// The certificates of `ca`.
    #[error("the certificates in {path} (`ca` of the credentials) cannot be used: {source}")]
    Ca {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// None on this machine.
    #[error(
        "this machine trusts no certificate authority: install `ca-certificates`, or give `ca` in the credentials"
    )]
    NoRoots,
}

impl Wire {
    pub(super) fn new(place: &S3Place, credentials: Credentials) -> Result<Self, WireError> {
        let S3Place { is_tls, host, port, bucket, .. } = place;
        let is_amazon = host.ends_with(AMAZON);
        // A name with a dot does not fit Amazon's certificate.
        let is_path_style = credentials.path_style.unwrap_or(!is_amazon || bucket.contains('.'));
        let host = if is_path_style { host.clone() } else { format!("{bucket}.{host}") };
        let host = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let region = credentials.region.clone().or_else(|| amazon_region(&place.host));
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("campanile/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(ANSWER_TIMEOUT))
            .timeout_per_write(Some(SILENCE_MAX));
        if *is_tls {
            let roots = RootCerts::Specific(Arc::new(roots(credentials.ca.as_deref())?));
            let provider = Arc::new(default_provider());
            let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(roots);
            config = config.https_only(true).tls_config(tls.build());
        }
        Ok(Self {
            agent: config.build().new_agent(),
            base: format!("{}://{host}", if *is_tls { "https" } else { "http" }),
            host,
            above: if is_path_style { format!("/{bucket}") } else { String::new() },
            region: region.unwrap_or_else(|| USUAL_REGION.to_owned()),
            credentials,
        })
    }

    /// Name and port of the server.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Sends a request and reads the answer to its end.
    pub(super) fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, Silence> {
        let request = self.signed(ask).map_err(|error| Silence::Lasting(error.to_string()))?;
        let response = if ask.body.is_empty() && ask.method != "PUT" {
            self.agent.run(request.map(|_| ()))
        } else {
            self.agent.run(request)
        };
        let mut response = response.map_err(silence)?;
        let promised =
            response.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec().map_err(silence)?;
        if ask.method != "HEAD" && promised.is_some_and(|promised: u64| promised != body.len() as u64) {
            return Err(Silence::Passing("the connection was cut".to_owned()));
        }
        Ok(Answer { status, body })
    }

    fn signed<'a>(&self, ask: &Ask<'a>) -> Result<Request<&'a [u8]>, http::Error> {
        let (time, payload) = (sign::stamp(clock::now()), sign::sha256(ask.body));
        let slash = if ask.key.is_empty() && !self.above.is_empty() { "" } else { "/" };
        let path = format!("{}{slash}{}", self.above, sign::escape(ask.key, true));
        let query = sign::query(ask.query);
        let mut headers = ask.headers.clone();
        headers.push(("host", self.host.clone()));
        headers.push(("x-amz-content-sha256", payload.clone()));
        headers.push(("x-amz-date", time.clone()));
        if let Some(token) = &self.credentials.session_token {
            headers.push(("x-amz-security-token", token.to_string()));
        }
        headers.sort();
        let unsigned =
            Unsigned { method: ask.method, path: &path, query: &query, headers: &headers, payload: &payload };
        let authorization = sign::authorization(&unsigned, &self.credentials, &self.region, &time);
        let mark = if query.is_empty() { "" } else { "?" };
        let mut request =
            Request::builder().method(ask.method).uri(format!("{}{path}{mark}{query}", self.base));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.header("authorization", authorization).body(ask.body)
    }
}

/// Of `s3.eu-central-1.amazonaws.com`.
fn amazon_region(host: &str) -> Option<String> {
    let name = host.strip_suffix(AMAZON)?;
    let region = name.rsplit('.').next().filter(|part| !part.starts_with("s3"))?;
    Some(region.to_owned())
}

/// Whom to trust: the given file alone, or whom this machine trusts.
fn roots(ca: Option<&Path>) -> Result<Vec<Certificate<'static>>, WireError> {
    let Some(path) = ca else {
        let found = rustls_native_certs::load_native_certs().certs;
        if found.is_empty() {
            return Err(WireError::NoRoots);
        }
        return Ok(found.iter().map(|root| Certificate::from_der(root).to_owned()).collect());
    };
    let failed = |source| WireError::Ca { path: path.to_owned(), source };
    let pem = file::read_secret(path, CA_BYTES_MAX).map_err(failed)?;
    let pem = pem.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let certificate = |item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None };
    let found: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if found.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "there is no certificate in it")));
    }
    Ok(found)
}

fn silence(error: ureq::Error) -> Silence {
    let tls = match &error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    match (tls, &error) {
        (Some(rustls::Error::InvalidCertificate(why)), _) => Silence::Lasting(format!(
            "its certificate is not trusted ({why:?}): if it is the right server, name the certificate of its authority as \
             `ca` in the credentials"
        )),
        (_, ureq::Error::HostNotFound) => Silence::Passing("its name is not known".to_owned()),
        (_, ureq::Error::Timeout(_)) => Silence::Passing("it did not answer in time".to_owned()),
        (_, ureq::Error::BodyExceedsLimit(limit)) => {
            Silence::Lasting(format!("an answer has more than {limit} bytes"))
        }
        (_, ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_)) => {
            Silence::Lasting(error.to_string())
        }
        _ => Silence::Passing(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(place: &str, path_style: Option<bool>) -> Wire {
        let mut credentials = Credentials::of("id", "hush");
        credentials.path_style = path_style;
        Wire::new(&place.parse().unwrap(), credentials).unwrap()
    }

    fn uri(wire: &Wire, key: &str, query: &[(&str, &str)]) -> String {
        let ask = Ask { method: "GET", key, query, headers: Vec::new(), body: b"" };
        wire.signed(&ask).unwrap().uri().to_string()
    }

    #[test]
    fn a_bucket_is_named_in_the_path_or_in_the_host() {
        let plain = wire("s3:http://127.0.0.1:5000/bucket/p", None);
        assert_eq!(uri(&plain, "p/a b", &[]), "http://127.0.0.1:5000/bucket/p/a%20b");
        assert_eq!(uri(&plain, "", &[("prefix", "p/")]), "http://127.0.0.1:5000/bucket?prefix=p%2F");
        let host = wire("s3:http://127.0.0.1:5000/bucket/p", Some(false));
        assert_eq!(uri(&host, "", &[("list-type", "2")]), "http://bucket.127.0.0.1:5000/?list-type=2");
        assert_eq!(uri(&host, "p/x", &[]), "http://bucket.127.0.0.1:5000/p/x");
    }

    #[test]
    fn the_region_is_in_the_name_of_a_host_of_amazon() {
        assert_eq!(amazon_region("s3.eu-central-1.amazonaws.com").as_deref(), Some("eu-central-1"));
        assert_eq!(amazon_region("s3.amazonaws.com"), None);
        assert_eq!(amazon_region("minio.example.org"), None);
    }

    #[test]
    fn no_secret_is_in_a_request_or_in_what_is_printed() {
        let wire = wire("s3:http://127.0.0.1:5000/bucket", None);
        let ask = Ask { method: "GET", key: "x", query: &[], headers: Vec::new(), body: b"" };
        let request = wire.signed(&ask).unwrap();
        assert!(!format!("{request:?}{wire:?}").contains("hush"));
        assert!(request.headers()["authorization"].to_str().unwrap().contains("Credential=id/"));
    }
}
