//! A development fleet of real processes in a folder of its own, gone when dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use crate::wire::{Answer, Connection, Request};

/// How long an answer may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An aggregator with a few agents.
pub(crate) struct Fleet {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) token: String,
    tls: Arc<ClientConfig>,
}

/// Where cargo puts the programs: beside the folder of the test's own.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{} is missing: build the workspace first", path.display());
    path
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Trusts the CA in `pem` and offers `protocol`.
fn client_config(pem: &Path, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

impl Fleet {
    /// Starts an aggregator and `nodes` agents, named node-01 and so on, and waits until all are online.
    pub(crate) fn start(nodes: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let root = folder.path().join("fleet");
        let started = Command::new(program("campanile"))
            .args(["dev", "up", "--detach", "--nodes", &nodes.to_string(), "--port", &port.to_string()])
            .arg("--dir")
            .arg(&root)
            .output()
            .unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let token = std::fs::read_to_string(root.join("token")).unwrap().trim().to_owned();
        let tls = client_config(&root.join("operator/ca.pem"), b"http/1.1");
        Self { folder, port, token, tls }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("fleet")
    }

    /// The aggregator's process.
    pub(crate) fn aggregator(&self) -> rustix::process::Pid {
        let text = std::fs::read_to_string(self.root().join("aggregator/aggregator.pid")).unwrap();
        rustix::process::Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    /// A TLS connection for HTTP/1.1, verified against the fleet's CA.
    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    /// The same where refusing is a possible answer.
    pub(crate) fn try_connect(&self) -> std::io::Result<Connection> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Connection::open(self.port, Arc::clone(&self.tls), name)
    }

    /// Shakes hands under another name or protocol; gives the protocol that was chosen.
    pub(crate) fn shake_hands(
        &self,
        name: &'static str,
        protocol: &[u8],
    ) -> std::io::Result<Option<Vec<u8>>> {
        let tls = client_config(&self.root().join("operator/ca.pem"), protocol);
        let connection = Connection::open(self.port, tls, ServerName::try_from(name).unwrap())?;
        Ok(connection.protocol())
    }

    /// Sends a request as the administrator, over a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.send(Request { body, ..Request::new(method, path).bearing(&self.token) })
    }

    /// Sends a request over a connection of its own.
    pub(crate) fn send(&self, request: Request) -> Answer {
        self.connect().exchange(&request)
    }

    /// An API token with one role; gives its id and text.
    pub(crate) fn api_token(&self, role: &str, selector: &str) -> (String, String) {
        let body =
            json!({ "name": role, "grants": [{ "role": role, "selector": selector }], "ttlSeconds": 3600 });
        let created = self.ask("POST", "/api/v1/api-tokens", Some(body)).expect(201).json();
        let text = |key: &str| created[key].as_str().unwrap().to_owned();
        (text("tokenId"), text("token"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let stopped =
            Command::new(program("campanile")).args(["dev", "down", "--dir"]).arg(self.root()).output();
        match stopped {
            Ok(output) if output.status.success() => {}
            other => eprintln!("the fleet could not be stopped: {other:?}"),
        }
    }
}

/// Waits until `done` gives something.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
