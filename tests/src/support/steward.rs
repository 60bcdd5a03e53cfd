//! Stewards of a fleet's nodes and the orders they are given.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command as Process;
use std::time::Duration;

use campanile_cli::keyring;
use campanile_common::api;
use campanile_common::authority::{Action, Command, Limits, OperatorKey, Order, SignedOrder, Targets, Tier};
use campanile_common::fleet::FLEET_FILE;
use campanile_common::id::{NodeId, OrderId};
use campanile_common::time::Timestamp;
use serde_json::{Value, json};

use super::api::Answer;
use super::daemon::Daemon;
use super::fleet::{LocalFleet, PASSPHRASE};
use super::program::{AGENT, program};
use super::wait;

/// Everything, up to tier 3.
pub const POLICY_OPEN: &str = r#"
highest_tier = 3
classes = ["observe", "backup", "config", "command", "shell", "rollout", "update"]
[units]
observe = ["*"]
change = ["*"]
"#;
/// Longest path of a Unix socket, its end included.
const SOCKET_PATH_MAX: usize = 107;
/// How far orders reach back, for clocks that are behind, as the command line does it.
const REACH_BACK: Duration = Duration::from_secs(60);

impl LocalFleet {
    /// The socket of a node's steward.
    ///
    /// # Panics
    /// When its path is too long for the kernel.
    pub fn steward_socket(&self, node: &str) -> PathBuf {
        let socket = self.node_path(node, "steward.sock");
        let length = socket.as_os_str().len();
        assert!(length <= SOCKET_PATH_MAX, "{} is too long for a socket: shorten TMPDIR", socket.display());
        socket
    }

    /// Writes a node's policy; it holds from the next order on.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_policy(&self, node: &str, policy: &str) {
        fs::create_dir_all(self.node_path(node, "")).expect("the folder is ours");
        // As a whole: the steward may read it at any moment.
        let (new, path) = (self.node_path(node, "policy.toml.new"), self.node_path(node, "policy.toml"));
        fs::write(&new, policy).expect("the folder is ours");
        fs::rename(new, path).expect("the folder is ours");
    }

    /// Starts the steward of an enrolled node.
    pub fn run_steward(&mut self, node: &str) {
        self.run_steward_in(node, &[]);
    }

    /// Starts the steward of an enrolled node with more environment variables.
    pub fn run_steward_in(&mut self, node: &str, environment: &[(String, String)]) {
        let mut run = Process::new(program(AGENT));
        run.args(["steward", "--config"]).arg(self.node_path(node, "agent.toml"));
        run.envs(environment.iter().cloned());
        let daemon =
            Daemon::start(&format!("steward of {node}"), &mut run, &self.node_path(node, "steward.log"));
        self.stewards.insert(node.to_owned(), daemon);
    }

    /// A steward that was started.
    ///
    /// # Panics
    /// When there is none.
    pub fn steward(&mut self, node: &str) -> &mut Daemon {
        self.stewards.get_mut(node).unwrap_or_else(|| panic!("the steward of {node} was not started"))
    }

    /// The key of the operator who made the fleet.
    ///
    /// # Panics
    /// When it cannot be unlocked.
    pub fn operator_key(&self) -> OperatorKey {
        let encrypted =
            fs::read(self.path("operator").join(keyring::KEY_FILE)).expect("fleet init writes it");
        keyring::unlock(&encrypted, PASSPHRASE).expect("the passphrase is ours")
    }

    /// Ids of nodes, ascending.
    #[track_caller]
    pub fn node_ids(&self, nodes: &[&str]) -> Vec<NodeId> {
        let id = |node: &&str| self.node(node)["nodeId"].as_str().and_then(|id| id.parse().ok());
        let mut ids: Vec<NodeId> = nodes.iter().map(|node| id(node).expect("a node has an id")).collect();
        ids.sort();
        ids
    }

    /// An order of tier 2 to run a command, valid for `validity` from now.
    #[track_caller]
    pub fn order_to_run(&self, nodes: &[&str], argv: &[&str], validity: Duration) -> Order {
        let text = fs::read(self.aggregator_state().join(FLEET_FILE)).expect("the fleet was made");
        let fleet: campanile_common::fleet::FleetFile = serde_json::from_slice(&text).expect("it is ours");
        let now = now();
        Order {
            format: Order::FORMAT,
            fleet: fleet.fleet_id,
            id: OrderId::from_bytes(random()),
            authority_version: 1,
            tier: Tier::Change,
            not_before: now - REACH_BACK,
            expires: now + validity,
            targets: Targets::Nodes(self.node_ids(nodes)),
            action: Action::Run(Command {
                argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
                user: None,
                stdin: Vec::new(),
            }),
            limits: Limits::default(),
            standing: None,
            reason: "a test".to_owned(),
        }
    }

    /// Submits a signed order.
    pub fn submit(&self, signed: &SignedOrder, dispatch: Value) -> Result<Answer, ureq::Error> {
        let order = api::SignedText::new(&signed.bytes, &signed.signatures);
        let request = json!({ "order": order, "dispatch": dispatch });
        self.api.send("POST", "/api/v1/orders", Some(&request))
    }

    /// Orders a command of nodes, and gives the order's id.
    ///
    /// # Panics
    /// When it is not taken.
    #[track_caller]
    pub fn order(&self, nodes: &[&str], argv: &[&str]) -> OrderId {
        let order = self.order_to_run(nodes, argv, REACH_BACK);
        let signed = order.sign(&[&self.operator_key()]).expect("the order keeps the rules");
        let answer = self.submit(&signed, json!({})).expect("the aggregator answers");
        assert_eq!(answer.status, 201, "{}", answer.text);
        order.id
    }

    /// An order as the API shows it, with its targets by the names of their nodes.
    #[track_caller]
    pub fn order_targets(&self, order: OrderId) -> (Value, BTreeMap<String, Value>) {
        let shown = self.api.get(&format!("/api/v1/orders/{order}")).json();
        let targets = shown["targets"].as_array().cloned().unwrap_or_default();
        let name = |target: &Value| target["name"].as_str().unwrap_or_default().to_owned();
        (shown.clone(), targets.into_iter().map(|target| (name(&target), target)).collect())
    }

    /// Waits until an order is done, and gives its targets.
    ///
    /// # Panics
    /// When it is not in a long time.
    #[track_caller]
    pub fn await_order(&self, order: OrderId) -> BTreeMap<String, Value> {
        let mut last = Value::Null;
        let done = wait::within(Duration::from_secs(120), || {
            let answer = self.api.send("GET", &format!("/api/v1/orders/{order}"), None).ok()?;
            last = serde_json::from_str(&answer.text).ok()?;
            (last["state"] == "done").then_some(())
        });
        assert!(done.is_some(), "the order is not done: {last}\n{}", self.tails());
        self.order_targets(order).1
    }
}

/// The wall clock.
pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_millis(u64::try_from(since.as_millis()).expect("before the year 584 million"))
}

/// Random bytes.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    filled.expect("the kernel has randomness");
    bytes
}
