//! Against a TLS listener on the loopback that plays the aggregator with certificates made here.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use campanile_common::api::FleetStatus;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Serves one connection: gives `answer` to whatever is asked, and what was asked to the test.
struct Aggregator {
    address: SocketAddr,
    thread: JoinHandle<Option<String>>,
}

impl Aggregator {
    fn answering(ca: &CertifiedIssuer<'static, KeyPair>, name: &str, answer: String) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, ca).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || serve_one(&listener, Arc::new(config), &answer));
        Self { address, thread }
    }

    fn client(&self, ca: &CertifiedIssuer<'static, KeyPair>) -> Client {
        client(self.address, ca)
    }

    /// The request it was sent, if the handshake succeeded.
    fn asked(self) -> Option<String> {
        self.thread.join().unwrap()
    }
}

fn serve_one(listener: &TcpListener, config: Arc<rustls::ServerConfig>, answer: &str) -> Option<String> {
    let (mut socket, _) = listener.accept().unwrap();
    let mut connection = rustls::ServerConnection::new(config).unwrap();
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let mut asked = Vec::new();
    let mut buffer = [0; 1024];
    while !asked.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => asked.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
    stream.write_all(answer.as_bytes()).unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    Some(String::from_utf8(asked).unwrap())
}

fn client(address: SocketAddr, ca: &CertifiedIssuer<'static, KeyPair>) -> Client {
    let token = Some(Zeroizing::new("cmpa_secret".to_owned()));
    Client::new(&format!("https://{address}"), ca.pem().as_bytes(), token, PATIENCE).unwrap()
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn problem(status: u16, code: &str) -> String {
    let problem =
        Problem { status, code: code.to_owned(), title: "no".to_owned(), detail: "because".to_owned() };
    answer(&format!("{status} No"), &serde_json::to_string(&problem).unwrap())
}

#[test]
fn the_pinned_aggregator_is_asked_with_the_token() {
    let ca = ca();
    let aggregator = Aggregator::answering(&ca, "127.0.0.1", answer("200 OK", "[1,2]"));
    let found: Vec<u8> = aggregator.client(&ca).get("/api/v1/x", &[("selector", "a=b,c!=d e")]).unwrap();
    assert_eq!(found, [1, 2]);
    let asked = aggregator.asked().unwrap().to_lowercase();
    assert!(asked.starts_with("get /api/v1/x?selector=a%3db%2cc%21%3dd%20e http/1.1"), "{asked}");
    assert!(asked.contains("authorization: bearer cmpa_secret"), "{asked}");
}

#[test]
fn an_aggregator_of_another_ca_is_refused_and_never_sees_the_token() {
    let aggregator = Aggregator::answering(&ca(), "127.0.0.1", answer("200 OK", "[]"));
    let error = aggregator.client(&ca()).get::<Vec<u8>>("/api/v1/x", &[]).unwrap_err();
    assert!(matches!(error, ClientError::NotOurs { .. }), "{error:?}");
    assert_eq!(aggregator.asked(), None);
}

#[test]
fn an_aggregator_under_another_name_is_refused() {
    let ca = ca();
    let aggregator = Aggregator::answering(&ca, "other.example", answer("200 OK", "[]"));
    let error = aggregator.client(&ca).get::<Vec<u8>>("/api/v1/x", &[]).unwrap_err();
    assert!(matches!(error, ClientError::NotOurs { .. }), "{error:?}");
    assert_eq!(aggregator.asked(), None);
}

#[test]
fn a_closed_port_says_that_nobody_is_there() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address, &ca()).get::<Vec<u8>>("/x", &[]).unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()));
}

#[test]
fn a_port_without_tls_says_so() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut socket, _): (TcpStream, _) = listener.accept().unwrap();
        socket.write_all(b"SSH-2.0-other\r\nand more\r\n").unwrap();
        // Until the other side hangs up.
        socket.read_to_end(&mut Vec::new()).ok();
    });
    let error = client(address, &ca()).get::<Vec<u8>>("/x", &[]).unwrap_err();
    assert!(matches!(error, ClientError::Handshake { .. }), "{error:?}");
    thread.join().unwrap();
}

#[test]
fn refusals_keep_their_meaning() {
    let refusal = |status, code| {
        let ca = ca();
        let aggregator = Aggregator::answering(&ca, "127.0.0.1", problem(status, code));
        aggregator.client(&ca).get::<FleetStatus>("/x", &[]).unwrap_err()
    };
    assert!(matches!(refusal(401, "unauthenticated"), ClientError::NotSignedIn { .. }));
    assert!(matches!(refusal(403, "denied"), ClientError::Denied { .. }));
    let other = refusal(409, "conflict");
    assert_eq!((other.code(), other.to_string().as_str()), (Some("conflict"), "because"));
}

#[test]
fn an_answer_of_something_else_is_not_taken_for_one_of_ours() {
    for body in ["<html>", "{}"] {
        let ca = ca();
        let aggregator = Aggregator::answering(&ca, "127.0.0.1", answer("200 OK", body));
        let error = aggregator.client(&ca).get::<FleetStatus>("/x", &[]).unwrap_err();
        assert!(matches!(error, ClientError::NotUnderstood { .. }), "{error:?}");
    }
}

#[test]
fn the_last_page_ends_the_list() {
    let ca = ca();
    let page = r#"{"items":[1],"nextCursor":null}"#;
    let aggregator = Aggregator::answering(&ca, "127.0.0.1", answer("200 OK", page));
    assert_eq!(aggregator.client(&ca).pages::<u8>("/x", &[]).unwrap(), [1]);
}

#[test]
fn addresses_that_are_not_https_are_refused() {
    for url in ["http://a:8443", "a:8443", "https://", "https://a/path", "ftp://a"] {
        let error = Client::new(url, ca().pem().as_bytes(), None, PATIENCE).unwrap_err();
        assert!(matches!(error, ClientError::Address { .. }), "{url}: {error:?}");
    }
    let error = Client::new("https://a", b"no certificate", None, PATIENCE).unwrap_err();
    assert!(matches!(error, ClientError::NoCertificate), "{error:?}");
}

#[test]
fn a_path_segment_cannot_leave_its_place() {
    assert_eq!(segment("a/../b?c#d%"), "a%2F..%2Fb%3Fc%23d%25");
    assert_eq!(segment("web-01.eu_x~"), "web-01.eu_x~");
}

#[test]
fn only_tls_1_3_is_offered() {
    assert!(provider().cipher_suites.iter().all(|suite| suite.tls13().is_some()));
    assert!(!provider().cipher_suites.is_empty());
}

#[test]
fn a_session_speaks_as_the_aggregators_own_page_does() {
    let ca = ca();
    let aggregator = Aggregator::answering(&ca, "127.0.0.1", answer("200 OK", "{}"));
    let cookie = Zeroizing::new("__Host-campanile=secret".to_owned());
    aggregator.client(&ca).with_cookie(cookie).order(Method::DELETE, "/api/v1/session").unwrap();
    let asked = aggregator.asked().unwrap().to_lowercase();
    assert!(asked.contains("cookie: __host-campanile=secret"), "{asked}");
    assert!(asked.contains("sec-fetch-site: same-origin"), "{asked}");
}
