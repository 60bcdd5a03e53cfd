//! A fleet of real processes in a temporary folder, and what can be seen of it from outside.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use campanile_cli::client::Client;
use campanile_cli::keyring::{self, KEY_FILE};
use campanile_common::api::{
    self, AuditEntry, Coverage, CreatedToken, DispatchOptions, Liveness, Node, OrderRequest, SignedText,
    TokenRequest,
};
use campanile_common::authority::{OperatorKey, Order};
use campanile_common::fleet::{CA_FILE, CA_KEY_FILE, FLEET_FILE, FleetFile};
use campanile_common::id::{NodeId, OrderId};
use campanile_common::label::Labels;
use campanile_common::token::Token;
use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;
use ureq::http::Method;

/// Longest wait for anything that should happen soon; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Of the operator's key.
const PASSPHRASE: &str = "correct horse battery staple";
const LOOK: Duration = Duration::from_millis(50);

/// A process that ends with its owner.
pub(crate) struct Daemon(Child);

impl Daemon {
    fn start(program: &str, verb: &str, settings: &Path, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let child = Command::new(binary(program))
            .args([verb, "--config"])
            .arg(settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A program of this workspace, built beside this test.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace`", path.display());
    path
}

/// One well-behaved agent.
pub(crate) struct Agent {
    pub(crate) node: NodeId,
    _daemon: Daemon,
}

/// An aggregator with some agents.
pub(crate) struct Fleet {
    agents: Vec<Agent>,
    aggregator: Daemon,
    client: Client,
    operator: OnceLock<OperatorKey>,
    pub(crate) file: FleetFile,
    pub(crate) address: SocketAddr,
    // Last: removed when nothing runs in it any more.
    folder: TempDir,
}

impl Fleet {
    /// Makes a fleet with so many agents and waits until all are online.
    pub(crate) fn start(agents: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("campanile-link-").tempdir().unwrap();
        let state = folder.path().join("aggregator");
        init(folder.path(), &state);
        let address = free_address();
        let settings = folder.path().join("aggregator.toml");
        let text = format!(
            "state_dir = {state:?}\nlisten = \"{address}\"\naddresses = [\"{address}\"]\n\
             log_level = \"info\"\nlog_format = \"json\"\n"
        );
        fs::write(&settings, text).unwrap();
        let token = ask_aggregator(&settings);
        let aggregator =
            Daemon::start("campanile-aggregator", "serve", &settings, &folder.path().join("aggregator.log"));
        let ca = fs::read(state.join(CA_FILE)).unwrap();
        let client = Client::new(&format!("https://{address}"), &ca, Some(token.into()), PATIENCE).unwrap();
        until("the aggregator is ready", || client.order(Method::GET, "/readyz").ok());
        let file = serde_json::from_slice(&fs::read(state.join(FLEET_FILE)).unwrap()).unwrap();
        let mut fleet =
            Self { agents: Vec::new(), aggregator, client, operator: OnceLock::new(), file, address, folder };
        let token = fleet.token(u32::try_from(agents.max(1)).unwrap());
        for index in 0..agents {
            fleet.add_agent(&format!("agent-{index}"), &token);
        }
        fleet.await_online();
        fleet
    }

    /// Enrols and starts an agent.
    pub(crate) fn add_agent(&mut self, name: &str, token: &Token) {
        let done = self.run_enroll(name, &token.to_text());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let log = self.folder.path().join(format!("{name}.log"));
        let daemon = Daemon::start("campanile-agent", "run", &self.agent_settings(name), &log);
        let node = self.nodes().into_iter().find(|node| node.name == name).unwrap().node_id;
        self.agents.push(Agent { node, _daemon: daemon });
    }

    fn agent_settings(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.toml"))
    }

    /// What `campanile-agent enroll` says to this token.
    pub(crate) fn run_enroll(&self, name: &str, token: &str) -> Output {
        let state = self.folder.path().join(name);
        let steward = self.folder.path().join(format!("{name}-steward"));
        let socket = self.folder.path().join(format!("{name}.sock"));
        let settings =
            format!("state_dir = {state:?}\n[steward]\nstate_dir = {steward:?}\nsocket = {socket:?}\n");
        fs::write(self.agent_settings(name), settings).unwrap();
        let token_file = self.folder.path().join(format!("{name}.token"));
        fs::write(&token_file, token).unwrap();
        Command::new(binary("campanile-agent"))
            .args(["enroll", "--name", name, "--config"])
            .arg(self.agent_settings(name))
            .arg("--token-file")
            .arg(token_file)
            .output()
            .unwrap()
    }

    /// A token for so many nodes.
    pub(crate) fn token(&self, uses: u32) -> Token {
        self.created_token(uses, 3600).token.parse().unwrap()
    }

    /// A token with its details.
    pub(crate) fn created_token(&self, uses: u32, ttl_seconds: u64) -> CreatedToken {
        let request = TokenRequest { labels: Labels::default(), ttl_seconds, uses, name: None };
        self.client.send(Method::POST, "/api/v1/tokens", &request).unwrap()
    }

    /// Takes a token back.
    pub(crate) fn revoke_token(&self, token_id: &str) {
        self.client.order(Method::DELETE, &format!("/api/v1/tokens/{token_id}")).unwrap();
    }

    /// Takes a node out.
    pub(crate) fn retire(&self, node: NodeId) {
        self.client.order(Method::POST, &format!("/api/v1/nodes/{node}/retire")).unwrap();
    }

    /// Signs an order as the fleet's operator and submits it.
    pub(crate) fn submit(&self, order: &Order) -> OrderId {
        let key = self.operator.get_or_init(|| {
            let encrypted = fs::read(self.folder.path().join("operator").join(KEY_FILE)).unwrap();
            keyring::unlock(&encrypted, PASSPHRASE).unwrap()
        });
        let signed = order.sign(&[key]).unwrap();
        let request = OrderRequest {
            order: SignedText::new(&signed.bytes, &signed.signatures),
            nodes: Vec::new(),
            dispatch: DispatchOptions::default(),
        };
        let taken: api::Order = self.client.send(Method::POST, "/api/v1/orders", &request).unwrap();
        taken.order_id
    }

    /// An order.
    pub(crate) fn order(&self, order: OrderId) -> api::Order {
        self.client.get(&format!("/api/v1/orders/{order}"), &[]).unwrap()
    }

    /// Withdraws an order.
    pub(crate) fn cancel(&self, order: OrderId) {
        self.client.order(Method::POST, &format!("/api/v1/orders/{order}/cancel")).unwrap();
    }

    /// The active nodes.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.client.pages("/api/v1/nodes", &[]).unwrap()
    }

    /// One node.
    pub(crate) fn node(&self, node: NodeId) -> Node {
        self.client.get(&format!("/api/v1/nodes/{node}"), &[]).unwrap()
    }

    /// The account of one node's ticks.
    pub(crate) fn coverage(&self, node: NodeId) -> Coverage {
        self.client.get(&format!("/api/v1/nodes/{node}/coverage"), &[]).unwrap()
    }

    /// The audit log.
    pub(crate) fn audit(&self) -> Vec<AuditEntry> {
        self.client.pages("/api/v1/audit", &[]).unwrap()
    }

    /// The aggregator's log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("aggregator.log")).unwrap()
    }

    /// Waits for a line of the aggregator's log that holds all of `parts`.
    pub(crate) fn await_log(&self, parts: &[&str]) {
        let what = format!("the log has a line with {parts:?}");
        until(&what, || {
            self.log().lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
        });
    }

    /// Resident memory of the aggregator in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.aggregator.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    fn await_online(&self) {
        let is_online = |node: NodeId| self.node(node).liveness == Liveness::Online;
        until("all agents are online", || {
            self.agents.iter().all(|agent| is_online(agent.node)).then_some(())
        });
    }

    /// The agents beside were online all the time, and every tick of theirs is here.
    pub(crate) fn assert_agents_untouched(&self) {
        for agent in &self.agents {
            let id = agent.node.to_string();
            let log = self.log();
            let fell = log.lines().find(|line| {
                line.contains("liveness changed")
                    && line.contains(&id)
                    && line.contains("\"before\":\"Online\"")
            });
            assert_eq!(fell, None, "a well-behaved agent was touched");
            assert_eq!(self.node(agent.node).liveness, Liveness::Online);
            until("no tick is missing", || {
                let coverage = self.coverage(agent.node);
                let is_whole = |run: &campanile_common::api::RunCoverage| run.missing == 0 && run.gaps == 0;
                (coverage.runs.len() == 1 && coverage.runs.iter().all(is_whole)).then_some(())
            });
        }
    }

    /// The CA's certificate.
    pub(crate) fn ca(&self) -> CertificateDer<'static> {
        let pem = fs::read(self.folder.path().join("aggregator").join(CA_FILE)).unwrap();
        CertificateDer::from_pem_slice(&pem).unwrap()
    }

    /// The CA itself, as whoever stole it would have it.
    pub(crate) fn issuer(&self) -> Issuer<'static, KeyPair> {
        let pem = fs::read_to_string(self.folder.path().join("aggregator").join(CA_KEY_FILE)).unwrap();
        Issuer::from_ca_cert_der(&self.ca(), KeyPair::from_pem(&pem).unwrap()).unwrap()
    }
}

/// Waits until `look` gives something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(LOOK);
    }
}

fn init(folder: &Path, state: &Path) {
    let passphrase = folder.join("passphrase");
    fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
    let done = Command::new(binary("campanile"))
        .args(["fleet", "init", "--name", "test", "--operator", "alice", "--aggregator-dir"])
        .arg(state)
        .arg("--passphrase-file")
        .arg(passphrase)
        .env("CAMPANILE_CONFIG_DIR", folder.join("operator"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn ask_aggregator(settings: &Path) -> String {
    let done = Command::new(binary("campanile-aggregator"))
        .args(["api-token", "--name", "test", "--role", "admin", "--ttl", "1d", "--config"])
        .arg(settings)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// An address whose port is free for both UDP and TCP.
fn free_address() -> SocketAddr {
    until("a port is free", || {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let address = tcp.local_addr().ok()?;
        UdpSocket::bind(address).is_ok().then_some(address)
    })
}
