//! The node under attack, and the operators whose signatures it honours.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use campanile_aggregator::identity::Ca;
use campanile_aggregator::listener;
use campanile_common::authority::{Authority, Document, Operator, OperatorKey, Role, SignedAuthority};
use campanile_common::fleet::{AUTHORITY_DIR, FLEET_FILE, FleetFile, authority_file};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::codec;
use campanile_tests::support::LocalFleet;

/// Name of the node under attack.
pub(crate) const NODE: &str = "victim";

/// Three operators; two of them make tier 3.
pub(crate) struct Operators {
    pub(crate) ada: OperatorKey,
    pub(crate) bob: OperatorKey,
    /// In the second version of the authority, and no more in the third.
    pub(crate) eve: OperatorKey,
    /// Never an operator here.
    pub(crate) stranger: OperatorKey,
}

/// The chain that the node follows: ada alone; with bob and eve; without eve.
pub(crate) struct Victim {
    pub(crate) fleet: LocalFleet,
    pub(crate) file: FleetFile,
    pub(crate) node: NodeId,
    pub(crate) operators: Operators,
    pub(crate) chain: Vec<SignedAuthority>,
    /// Whatever is executed leaves a file here.
    pub(crate) marks: PathBuf,
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed([seed; 32].into()).unwrap()
}

fn operator(name: &str, key: &OperatorKey) -> Operator {
    Operator { name: name.to_owned(), key: key.public(), roles: Role::ALL.into() }
}

impl Victim {
    /// A fleet with one enrolled node, whose aggregator is gone.
    pub(crate) fn enrolled() -> Self {
        let mut fleet = LocalFleet::start();
        fleet.add_nodes(&[NODE]);
        let node = fleet.node(NODE)["nodeId"].as_str().unwrap().parse().unwrap();
        drop(fleet.aggregator.take());
        let state = fleet.aggregator_state();
        let file: FleetFile = serde_json::from_slice(&fs::read(state.join(FLEET_FILE)).unwrap()).unwrap();
        let operators = Operators { ada: fleet.operator_key(), bob: key(2), eve: key(3), stranger: key(4) };
        let chain = chain(&state, &file, &operators);
        let marks = fleet.path("marks");
        fs::create_dir(&marks).unwrap();
        Self { fleet, file, node, operators, chain, marks }
    }

    /// What the impostor serves with: certificate and key from the stolen CA.
    pub(crate) fn stolen_tls(&self) -> Arc<rustls::ServerConfig> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let state = self.fleet.aggregator_state();
        let day = Duration::from_secs(86_400);
        let ca = Ca::load(&state, self.file.fleet_id, day).unwrap();
        let hosts = ["127.0.0.1".to_owned()];
        let (chain, key) = ca.issue_server(self.file.aggregator_id, &hosts, now()).unwrap();
        Arc::new(listener::agent_config(ca.certificate(), chain, key).unwrap())
    }

    /// Where the steward listens.
    pub(crate) fn steward_socket(&self) -> PathBuf {
        self.fleet.steward_socket(NODE)
    }

    /// Names of the marks that were left.
    pub(crate) fn marks(&self) -> Vec<String> {
        let names = fs::read_dir(&self.marks).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn chain(state: &Path, file: &FleetFile, operators: &Operators) -> Vec<SignedAuthority> {
    let first = fs::read(state.join(AUTHORITY_DIR).join(authority_file(1))).unwrap();
    let first: SignedAuthority = codec::decode("SignedAuthority", &first).unwrap();
    let next = |authority: &Authority, change: &dyn Fn(&mut Document)| {
        let mut document = authority.document().successor(authority.digest(), now());
        change(&mut document);
        authority.verify_next(document.sign(&[&operators.ada]).unwrap()).unwrap()
    };
    let first = first.verify_pinned(file.authority).unwrap();
    let second = next(&first, &|document| {
        document.operators.extend([operator("bob", &operators.bob), operator("eve", &operators.eve)]);
        document.thresholds.insert(Role::Critical, 2);
    });
    let third = next(&second, &|document| {
        document.operators.retain(|operator| operator.name != "eve");
    });
    [first, second, third].iter().map(|version| version.signed().clone()).collect()
}
