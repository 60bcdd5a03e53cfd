//! What tests of several modules need: a context that prints into memory, and an aggregator that follows a script.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clap::Parser as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::cli::Cli;
use crate::client::Client;
use crate::context::{Context, Environment};

/// Runs `act` with the common options in `arguments`; gives what it printed as a result.
pub(crate) fn with_context(
    arguments: &[&str],
    environment: &Environment,
    act: impl FnOnce(&mut Context<'_>),
) -> String {
    with_both(arguments, environment, act).0
}

/// As [`with_context`], with what it printed beside the result.
pub(crate) fn with_both(
    arguments: &[&str],
    environment: &Environment,
    act: impl FnOnce(&mut Context<'_>),
) -> (String, String) {
    let line = ["campanile"].iter().chain(arguments).chain(&["version"]);
    let cli = Cli::try_parse_from(line).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    act(&mut Context { global: &cli.global, environment, out: &mut out, err: &mut err });
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// An answer with a body of JSON.
pub(crate) fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An answer that is a stream of events, ended by closing the connection.
pub(crate) fn events(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
}

/// How an answer is chosen: by what was asked, as its first line and its body.
type Choose = Box<dyn FnMut(&str, &str) -> String + Send>;

/// An aggregator on the loopback that gives prepared answers, one a connection, whoever asks.
pub(crate) struct Script {
    address: SocketAddr,
    ca: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// Gives these answers, one after the other.
    pub(crate) fn start(answers: Vec<String>) -> Self {
        let mut answers = answers.into_iter();
        Self::choosing(Box::new(move |_, _| answers.next().unwrap_or_else(|| answer("503 No", "{}"))))
    }

    /// Gives the answer that `choose` makes of the request's first line and body.
    pub(crate) fn choosing(mut choose: Choose) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config =
            rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        // It serves until the test's process ends.
        thread::spawn(move || {
            while let Ok((mut socket, _)) = listener.accept() {
                let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::Stream::new(&mut connection, &mut socket);
                let Some((line, body)) = read_request(&mut stream) else { continue };
                let reply = choose(&line, &body);
                seen.lock().unwrap().push(format!("{line}\n{body}"));
                // A client that went away needs no answer.
                stream.write_all(reply.as_bytes()).ok();
                stream.conn.send_close_notify();
                stream.flush().ok();
            }
        });
        Self { address, ca: ca.pem(), asked }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("https://{}", self.address), self.ca.as_bytes(), None, Duration::from_secs(20))
            .unwrap()
    }

    /// What was asked so far: first line and body of each request.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// An environment in which the command line speaks to it, with `dir` as the operator's folder.
    pub(crate) fn environment(&self, dir: &std::path::Path) -> Environment {
        let ca = dir.join("ca.pem");
        std::fs::write(&ca, &self.ca).unwrap();
        let variables = [
            ("CAMPANILE_CONFIG_DIR", dir.to_str().unwrap().to_owned()),
            ("CAMPANILE_URL", format!("https://{}", self.address)),
            ("CAMPANILE_CA", ca.to_str().unwrap().to_owned()),
            ("CAMPANILE_TOKEN", "cmpa_secret".to_owned()),
        ];
        let variables = variables.map(|(key, value)| (key.to_owned(), value)).into();
        Environment { variables, ..Environment::default() }
    }
}

fn read_request(stream: &mut impl std::io::Read) -> Option<(String, String)> {
    let mut asked = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&asked);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Some((head.lines().next()?.to_owned(), body.to_owned()));
            }
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        asked.extend_from_slice(&buffer[..read]);
    }
}
