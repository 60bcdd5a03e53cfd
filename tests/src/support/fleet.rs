//! A whole fleet: one aggregator, its agents, an operator.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use campanile_aggregator::identity::Ca;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::api::Api;
use super::command::{self, Output};
use super::daemon::Daemon;
use super::program::{AGENT, AGGREGATOR, CAMPANILE, program};
use super::steward::{POLICY_OPEN, now};
use super::{port, wait};

/// Of the operator's key.
pub(super) const PASSPHRASE: &str = "correct horse battery staple";
/// How long a daemon may take to be ready on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What differs from a fleet with the defaults.
#[derive(Debug, Clone, Default)]
pub struct FleetOptions {
    /// More lines of `aggregator.toml`.
    pub aggregator_settings: String,
    /// Environment of the aggregator's process.
    pub aggregator_environment: Vec<(String, String)>,
    /// The aggregator's state folder, when it is not to be in the fleet's own.
    pub aggregator_state: Option<PathBuf>,
    /// Nodes have agents and no stewards: they take no orders.
    pub without_stewards: bool,
    /// More lines of every node's `[config]`.
    pub config_settings: String,
}

/// A fleet in a temporary folder. Dropped, all its processes are killed and the folder is removed.
#[derive(Debug)]
pub struct LocalFleet {
    // Declared first, so dropped first: nothing runs any more when the folder goes.
    /// The agents that were started, by node name.
    pub agents: BTreeMap<String, Daemon>,
    /// The stewards that were started, by node name.
    pub stewards: BTreeMap<String, Daemon>,
    /// The aggregator, while there is one.
    pub aggregator: Option<Daemon>,
    /// Speaks as an admin.
    pub api: Api,
    token: String,
    port: u16,
    options: FleetOptions,
    folder: TempDir,
}

impl LocalFleet {
    /// A fleet with the defaults and a running aggregator.
    pub fn start() -> Self {
        Self::with(FleetOptions::default())
    }

    /// A fleet with a running aggregator.
    ///
    /// # Panics
    /// When any step fails.
    pub fn with(options: FleetOptions) -> Self {
        let mut fleet = Self::founded(options);
        fleet.start_aggregator();
        fleet
    }

    /// A fleet that was made, with an admin's API token, and not started.
    ///
    /// # Panics
    /// When any step fails.
    pub fn founded(options: FleetOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("campanile-e2e-").tempdir().expect("a temporary folder");
        let root = folder.path();
        let state = options.aggregator_state.clone().unwrap_or_else(|| root.join("state"));
        fs::write(root.join("passphrase"), format!("{PASSPHRASE}\n")).expect("the folder is ours");
        let mut init = Command::new(program(CAMPANILE));
        init.args(["fleet", "init", "--name", "test", "--operator", "ada", "--aggregator-dir"])
            .arg(&state)
            .arg("--passphrase-file")
            .arg(root.join("passphrase"))
            .env("CAMPANILE_CONFIG_DIR", root.join("operator"));
        command::run(&mut init, "").ok();
        Self::settled(folder, options)
    }

    /// A fleet that ran elsewhere, perhaps under another release and long ago, and was stopped: its folder, and its nodes. It
    /// listens on another port, which its agents are told, and their keys get certificates of today.
    ///
    /// # Panics
    /// When it is not the folder of a fleet.
    pub fn adopted(folder: TempDir, nodes: &[&str], options: FleetOptions) -> Self {
        let fleet = Self::settled(folder, options);
        for node in nodes {
            fleet.write_agent_settings(node, "");
            fleet.readdress(node);
        }
        fleet
    }

    /// Changes what an agent knows of its aggregator's address, and its certificate: one that expired long ago cannot be
    /// renewed.
    fn readdress(&self, node: &str) {
        let path = self.node_path(node, "state/identity.json");
        let text = fs::read(&path).expect("an enrolled node has an identity");
        let mut identity: Value = serde_json::from_slice(&text).expect("an agent wrote it");
        let field = |name: &str| identity[name].as_str().unwrap_or_else(|| panic!("{name} of an identity"));
        let (fleet, id) = (field("fleet").parse().expect("an id"), field("node").parse().expect("an id"));
        let key = rcgen::KeyPair::from_pem(field("key")).expect("a private key");
        let request = rcgen::CertificateParams::default().serialize_request(&key).expect("it signs");
        let ca =
            Ca::load(&self.aggregator_state(), fleet, Duration::from_secs(86_400)).expect("the CA is there");
        let request = ca.check_request(request.der()).expect("it is sound");
        let leaf = ca.issue_node(id, &request, now()).expect("the CA signs");
        identity["addresses"] = json!([format!("127.0.0.1:{}", self.port)]);
        identity["certificate"] = json!(data_encoding::BASE64.encode(&leaf.certificate));
        identity["issued"] = json!(now());
        identity["notAfter"] = json!(leaf.not_after);
        fs::write(&path, identity.to_string()).expect("the folder is ours");
    }

    /// Settings and an admin's API token for what is in the folder.
    fn settled(folder: TempDir, options: FleetOptions) -> Self {
        let (root, port) = (folder.path(), port::free_port());
        let state = options.aggregator_state.clone().unwrap_or_else(|| root.join("state"));
        let settings = format!(
            "state_dir = {}\nlisten = \"127.0.0.1:{port}\"\naddresses = [\"127.0.0.1:{port}\"]\n\
             log_format = \"text\"\n{}\n",
            quoted(&state),
            options.aggregator_settings
        );
        fs::write(root.join("aggregator.toml"), settings).expect("the folder is ours");
        let mut token = Command::new(program(AGGREGATOR));
        token
            .args(["api-token", "--name", "test", "--role", "admin", "--ttl", "1d", "--config"])
            .arg(root.join("aggregator.toml"));
        let token = command::run(&mut token, "").ok().trim().to_owned();
        let url = format!("https://127.0.0.1:{port}");
        let api = Api::new(&url, &root.join("operator/ca.pem"), Some(&token));
        let (agents, stewards) = (BTreeMap::new(), BTreeMap::new());
        Self { agents, stewards, aggregator: None, api, token, port, options, folder }
    }

    /// A file or folder of the fleet.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The aggregator's state folder.
    pub fn aggregator_state(&self) -> PathBuf {
        self.options.aggregator_state.clone().unwrap_or_else(|| self.path("state"))
    }

    /// The aggregator's port, UDP and TCP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the aggregator without waiting for it.
    pub fn launch_aggregator(&mut self) {
        let mut serve = Command::new(program(AGGREGATOR));
        serve
            .args(["serve", "--config"])
            .arg(self.path("aggregator.toml"))
            .envs(self.options.aggregator_environment.iter().cloned());
        self.aggregator = Some(Daemon::start("aggregator", &mut serve, &self.path("aggregator.log")));
    }

    /// Starts the aggregator and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_aggregator(&mut self) {
        self.launch_aggregator();
        let ready = wait::within(READY_TIMEOUT, || {
            let is_running = self.aggregator().is_running();
            let answer = self.api.send("GET", "/readyz", None);
            (!is_running || answer.is_ok_and(|answer| answer.status == 200)).then_some(is_running)
        });
        assert_eq!(ready, Some(true), "the aggregator does not become ready\n{}", self.tails());
    }

    /// The running aggregator.
    ///
    /// # Panics
    /// When it was never started.
    pub fn aggregator(&mut self) -> &mut Daemon {
        self.aggregator.as_mut().expect("the aggregator was started")
    }

    /// An agent that was started.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn agent(&mut self, node: &str) -> &mut Daemon {
        self.agents.get_mut(node).unwrap_or_else(|| panic!("agent {node} was not started"))
    }

    /// A file or folder of a node.
    pub fn node_path(&self, node: &str, name: &str) -> PathBuf {
        self.path("nodes").join(node).join(name)
    }

    /// A token for `uses` nodes with `labels`.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn enrollment_token(&self, labels: &Value, uses: u32) -> String {
        let request = json!({ "labels": labels, "ttlSeconds": 3600, "uses": uses });
        let created = self.api.call("POST", "/api/v1/tokens", &request).json();
        created["token"].as_str().expect("a token is shown once").to_owned()
    }

    /// Writes the settings of a node's agent; `more` are further lines. Its policy, unless it has one, allows all.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write_agent_settings(&self, node: &str, more: &str) {
        fs::create_dir_all(self.node_path(node, "")).expect("the folder is ours");
        let state = self.node_path(node, "state");
        let policy = self.node_path(node, "policy.toml");
        if !policy.exists() {
            self.write_policy(node, POLICY_OPEN);
        }
        let (steward, socket) = (self.node_path(node, "steward"), self.steward_socket(node));
        // What the node configures: a machine of its own as far as files go.
        let root = self.node_path(node, "root");
        fs::create_dir_all(root.join("etc")).expect("the folder is ours");
        // Tests kill agents on purpose; those of safe mode say so in a drop-in.
        let text = format!(
            "state_dir = {}\npolicy = {}\nlog_format = \"text\"\n{more}\n[safe_mode]\nstarts = 0\n[steward]\nstate_dir = {}\nsocket = {}\n\
             units = \"never\"\n[config]\nroot = {}\n{}\n",
            quoted(&state),
            quoted(&policy),
            quoted(&steward),
            quoted(&socket),
            quoted(&root),
            self.options.config_settings
        );
        fs::write(self.node_path(node, "agent.toml"), text).expect("the folder is ours");
    }

    /// Enrols a node with a token.
    #[track_caller]
    pub fn enroll(&self, node: &str, token: &str) -> Output {
        let mut enroll = self.agent_command(node, &["enroll", "--token-file", "-", "--name", node]);
        command::run(&mut enroll, token)
    }

    /// A command line of a node's agent.
    pub fn agent_command(&self, node: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(AGENT));
        command.args(arguments).arg("--config").arg(self.node_path(node, "agent.toml"));
        command
    }

    /// Starts the agent of an enrolled node.
    pub fn run_agent(&mut self, node: &str) {
        self.run_agent_in(node, &[]);
    }

    /// Starts the agent of an enrolled node with more environment variables, and its steward unless that runs already.
    pub fn run_agent_in(&mut self, node: &str, environment: &[(String, String)]) {
        if !self.options.without_stewards && !self.stewards.contains_key(node) {
            self.run_steward(node);
        }
        let mut run = self.agent_command(node, &["run"]);
        run.envs(environment.iter().cloned());
        let daemon = Daemon::start(node, &mut run, &self.node_path(node, "agent.log"));
        self.agents.insert(node.to_owned(), daemon);
    }

    /// Enrols nodes without labels, starts their agents and waits until they are online.
    ///
    /// # Panics
    /// When any step fails.
    #[track_caller]
    pub fn add_nodes(&mut self, nodes: &[&str]) {
        let uses = u32::try_from(nodes.len()).expect("a few");
        let token = self.enrollment_token(&json!({}), uses);
        for node in nodes {
            self.write_agent_settings(node, "");
            self.enroll(node, &token).ok();
            self.run_agent(node);
        }
        for node in nodes {
            self.wait_liveness(node, "online");
        }
    }

    /// A node as the API shows it.
    ///
    /// # Panics
    /// When it is unknown.
    #[track_caller]
    pub fn node(&self, node: &str) -> Value {
        self.api.get(&format!("/api/v1/nodes/{node}")).json()
    }

    /// The liveness of a node, if the aggregator answers.
    pub fn liveness(&self, node: &str) -> Option<String> {
        let answer = self.api.send("GET", &format!("/api/v1/nodes/{node}"), None).ok()?;
        let node: Value = serde_json::from_str(&answer.text).ok()?;
        node["liveness"].as_str().map(str::to_owned)
    }

    /// Waits until a node has a liveness.
    ///
    /// # Panics
    /// When it does not in a long time.
    #[track_caller]
    pub fn wait_liveness(&self, node: &str, liveness: &str) {
        let mut last = None;
        let found = wait::within(Duration::from_secs(75), || {
            last = self.liveness(node);
            (last.as_deref() == Some(liveness)).then_some(())
        });
        assert!(found.is_some(), "{node} is {last:?}, not {liveness}\n{}", self.tails());
    }

    /// The admin's API token.
    pub fn api_token(&self) -> &str {
        &self.token
    }

    /// Runs `campanile` as the admin.
    #[track_caller]
    pub fn campanile(&self, arguments: &[&str]) -> Output {
        self.campanile_as(&self.token, arguments)
    }

    /// Runs `campanile` as the bearer of a token.
    #[track_caller]
    pub fn campanile_as(&self, token: &str, arguments: &[&str]) -> Output {
        let mut campanile = Command::new(program(CAMPANILE));
        campanile
            .args(arguments)
            .env("CAMPANILE_URL", format!("https://127.0.0.1:{}", self.port))
            .env("CAMPANILE_CA", self.path("operator/ca.pem"))
            .env("CAMPANILE_TOKEN", token)
            .env("CAMPANILE_CONFIG_DIR", self.path("operator"));
        command::run(&mut campanile, "")
    }

    /// The ends of all logs.
    pub fn tails(&self) -> String {
        let daemons = self.aggregator.iter().chain(self.agents.values()).chain(self.stewards.values());
        daemons.map(Daemon::tail).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for LocalFleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tails());
        }
    }
}

/// A TOML string; JSON's are a subset of its basic ones.
fn quoted(path: &Path) -> String {
    Value::from(path.to_str().expect("temporary folders have UTF-8 names")).to_string()
}
