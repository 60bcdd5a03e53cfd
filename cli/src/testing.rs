//! What tests of several modules need: a context that prints into memory, and an aggregator that follows a script.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use campanile_common::api::{
    AuthorityChainText, Liveness, Node, NodeHealth, NodeState, SignedText, TargetState,
};
use campanile_common::time::Timestamp;
use clap::Parser as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use zeroize::Zeroizing;

use crate::cli::Cli;
use crate::client::Client;
use crate::context::{Context, Environment};
use crate::exit::Exit;
use crate::keyring::WorkFactor;
use crate::{authority, fleet};

/// Passphrase of the operator's key.
pub(crate) const PASSPHRASE: &str = "correct horse battery";

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

/// An active node, online, with the name and id of a target of the same number.
pub(crate) fn node(number: usize) -> Node {
    let target = crate::order::tests::target(number, TargetState::Ok);
    Node {
        node_id: target.node_id,
        name: target.name,
        labels: Default::default(),
        state: NodeState::Active,
        liveness: Liveness::Online,
        status: NodeHealth::Healthy,
        score: None,
        causes: Vec::new(),
        agent_version: None,
        last_heartbeat: None,
        facts: None,
        enrolled_at: Timestamp::from_millis(1),
        retired_at: None,
        confinement: None,
        certificate_expires_at: Timestamp::from_millis(1),
        revision: 1,
    }
}

/// The folder of `ada`, the operator of a new fleet, with her passphrase beside her key.
pub(crate) fn operator() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fleet::create(&fleet::Plan {
        name: "acme",
        operator: "ada",
        aggregator_dir: Some(&folder.path().join("aggregator")),
        operator_dir: folder.path(),
        passphrase: &Zeroizing::new(PASSPHRASE.to_owned()),
        work: WorkFactor::Fixed(2),
        recovery_keys: 1,
        now: crate::os::clock::now(),
    })
    .unwrap();
    std::fs::write(folder.path().join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
    folder
}

/// Runs the command line against the script, as the operator of `folder`.
pub(crate) fn campanile(
    script: &Script,
    folder: &tempfile::TempDir,
    line: &[&str],
) -> (Exit, String, String) {
    let mut environment = script.environment(folder.path());
    let passphrase = folder.path().join("passphrase").to_str().unwrap().to_owned();
    environment.variables.insert("CAMPANILE_PASSPHRASE_FILE".to_owned(), passphrase);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let line = ["campanile"].iter().chain(line).map(Into::into);
    let exit = crate::run_with(line, &environment, &mut out, &mut err);
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// What an aggregator says that has the authority in `folder` and no later one.
pub(crate) fn authority_answer(folder: &std::path::Path) -> String {
    let variables = [("CAMPANILE_CONFIG_DIR".to_owned(), folder.to_str().unwrap().to_owned())].into();
    let authority = authority::load(&Environment { variables, ..Environment::default() }).unwrap();
    let signed = authority.signed();
    let chain = AuthorityChainText {
        version: authority.document().version,
        digest: authority.digest(),
        expires_at: authority.document().expires,
        chain: vec![SignedText::new(&signed.bytes, &signed.signatures)],
    };
    answer("200 OK", &serde_json::to_string(&chain).unwrap())
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
/// As above, where headers matter or bodies are no text.
type Serve = Box<dyn FnMut(&Request) -> Vec<u8> + Send>;

/// What was asked.
pub(crate) struct Request {
    /// Method, path and version.
    pub(crate) line: String,
    /// The headers, in lower case.
    pub(crate) headers: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// An answer with a body of bytes.
pub(crate) fn bytes_answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

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
        Self::serving(Box::new(move |request| {
            choose(&request.line, &String::from_utf8_lossy(&request.body)).into_bytes()
        }))
    }

    /// Gives the answer that `serve` makes of the request.
    pub(crate) fn serving(mut serve: Serve) -> Self {
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
                let Some(request) = read_request(&mut stream) else { continue };
                let reply = serve(&request);
                let body = String::from_utf8_lossy(&request.body);
                seen.lock().unwrap().push(format!("{}\n{body}", request.line));
                // A client that went away needs no answer.
                stream.write_all(&reply).ok();
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

fn read_request(stream: &mut impl std::io::Read) -> Option<Request> {
    let mut asked = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = asked.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&asked[..end]).into_owned();
            let (line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
            let headers = headers.to_lowercase();
            let length = headers
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            let body = &asked[end + 4..];
            if body.len() >= length {
                return Some(Request { line: line.to_owned(), headers, body: body.to_vec() });
            }
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        asked.extend_from_slice(&buffer[..read]);
    }
}
