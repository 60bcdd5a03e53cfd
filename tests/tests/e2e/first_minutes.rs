//! From two programs and a folder of packages to a node that is online, with nothing typed but what is printed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use campanile_tests::support::{
    AGENT, AGGREGATOR, Api, CAMPANILE, Daemon, Output, free_port, patience, program, run, until,
};
use serde_json::Value;

/// What the packages hold: nothing that any machine would install.
const CONTENT: &str = "the agent\n";

/// A machine for an aggregator and one for a node, with a `PATH` on which nothing is installed for real.
struct Machines {
    // First, so that nothing runs any more when the folder goes.
    aggregator: Option<Daemon>,
    agent: Option<Daemon>,
    port: u16,
    folder: tempfile::TempDir,
}

impl Machines {
    fn new() -> Self {
        let machines = Self {
            aggregator: None,
            agent: None,
            port: free_port(),
            folder: tempfile::Builder::new().prefix("campanile-first-").tempdir().unwrap(),
        };
        for folder in ["bin", "packages", "node", "desk"] {
            fs::create_dir(machines.path(folder)).unwrap();
        }
        fs::write(machines.path("passphrase"), "correct horse battery staple\n").unwrap();
        let (port, state, packages) = (machines.port, machines.path("state"), machines.path("packages"));
        let settings = format!(
            "state_dir = {state:?}\nlisten = \"127.0.0.1:{port}\"\naddresses = [\"127.0.0.1:{port}\"]\n\
             log_format = \"text\"\n[packages]\ndir = {packages:?}\n"
        );
        fs::write(machines.path("aggregator.toml"), settings).unwrap();
        let node = machines.path("node");
        let settings = format!(
            "state_dir = {:?}\npolicy = {:?}\nlog_format = \"text\"\n[steward]\nstate_dir = {:?}\nsocket = {:?}\n",
            node.join("state"),
            node.join("policy.toml"),
            node.join("steward"),
            node.join("steward.sock")
        );
        fs::write(machines.path("agent.toml"), settings).unwrap();
        for name in [
            "campanile-agent_0.1.0-1_amd64.deb",
            "campanile-agent_0.1.0-1_arm64.deb",
            "campanile-agent-0.1.0-1.x86_64.rpm",
            "campanile-agent-0.1.0-1.aarch64.rpm",
        ] {
            fs::write(machines.path("packages").join(name), CONTENT).unwrap();
        }
        machines.fake("id", "echo 0");
        machines.fake("sudo", "exec \"$@\"");
        // What would install keeps what it was given.
        let installed = machines.path("installed").display().to_string();
        let keep = format!("for last; do :; done; cat \"$last\" >> '{installed}'");
        for tool in ["apt-get", "dpkg", "rpm"] {
            machines.fake(tool, &keep);
        }
        let (agent, settings) = (program(AGENT), machines.path("agent.toml"));
        machines.fake("campanile-agent", &format!("exec {agent:?} --config {settings:?} \"$@\""));
        machines
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fake(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn aggregator_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(AGGREGATOR));
        command.args(arguments).arg("--config").arg(self.path("aggregator.toml"));
        command.env("CAMPANILE_CONFIG_DIR", self.path("operator"));
        command
    }

    fn init(&self, more: &[&str]) -> Output {
        let mut command = self.aggregator_command(&["init", "-o", "json"]);
        command.args(more);
        run(&mut command, "")
    }

    fn found(&self) -> Value {
        let passphrase = self.path("passphrase").display().to_string();
        self.init(&["--name", "acme", "--operator", "ada", "--passphrase-file", &passphrase]).json()
    }

    fn serve(&mut self) {
        let mut serve = self.aggregator_command(&["serve"]);
        self.aggregator = Some(Daemon::start("aggregator", &mut serve, &self.path("aggregator.log")));
        let api = self.api(None);
        until("the aggregator serves", patience(Duration::from_secs(10)), || {
            api.send("GET", "/readyz", None).is_ok_and(|answer| answer.status == 200)
        });
    }

    fn api(&self, token: Option<&str>) -> Api {
        Api::new(&format!("https://127.0.0.1:{}", self.port), &self.path("state/ca.pem"), token)
    }

    fn admin(&self) -> Api {
        let mut token = self.aggregator_command(&["api-token", "--name", "test", "--role", "admin"]);
        self.api(Some(run(&mut token, "").ok().trim()))
    }

    /// Types it on the node.
    fn types(&self, line: &str) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(line).current_dir(self.path("desk")).env("PATH", path);
        run(&mut shell, "")
    }

    fn agent(&self, arguments: &[&str], input: &str) -> Output {
        run(Command::new(program(AGENT)).args(arguments).arg("--config").arg(self.path("agent.toml")), input)
    }

    fn installed(&self) -> String {
        fs::read_to_string(self.path("installed")).unwrap_or_default()
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

#[test]
fn a_node_is_online_with_the_line_that_init_prints() {
    let mut machines = Machines::new();
    let founded = machines.found();
    assert_eq!((&founded["isNew"], &founded["isServing"]), (&true.into(), &false.into()), "{founded}");
    assert!(text(&founded, "startCommand").contains("campanile-aggregator serve"), "{founded}");
    assert!(text(&founded, "signinLink").contains("/signin#link="), "{founded}");
    assert!(machines.path("operator/recovery").is_dir(), "the keys are the operator's");
    machines.serve();

    // As it is printed, with what the node is to take.
    let line = text(&founded, "nodeCommand").replace("install.sh <<", "install.sh --allow config,command <<");
    let done = machines.types(&line);
    let said = done.clone().ok();
    assert!(said.contains("enrolled as "), "{said}\n{}", done.err);
    assert_eq!(machines.installed(), CONTENT, "the package was given to the machine's tool");
    let policy = fs::read_to_string(machines.path("node/policy.toml")).unwrap();
    assert!(policy.contains("classes = [\"observe\", \"config\", \"command\"]"), "{policy}");

    let mut agent = Command::new(program(AGENT));
    agent.arg("run").arg("--config").arg(machines.path("agent.toml"));
    machines.agent = Some(Daemon::start("agent", &mut agent, &machines.path("agent.log")));
    let admin = machines.admin();
    until("the node is online", patience(Duration::from_secs(5)), || {
        let nodes = admin.get("/api/v1/nodes").json();
        nodes["items"].as_array().unwrap().iter().any(|node| node["liveness"] == "online")
    });
    until("doctor sees the session", patience(Duration::from_secs(5)), || {
        let found: Value = serde_json::from_str(&machines.agent(&["doctor", "-o", "json"], "").out).unwrap();
        let checks = found["checks"].as_array().unwrap();
        ["dns", "tcp", "link", "folder"]
            .iter()
            .all(|name| checks.iter().any(|check| check["name"] == *name && check["state"] == "ok"))
    });

    // Typed again, it installs and leaves the identity alone.
    let done = machines.types(text(&founded, "nodeCommand"));
    assert!(done.err.contains("enrolled already"), "{}", done.err);
    done.expect_code(0);
}

#[test]
fn what_is_not_what_the_line_pins_is_never_installed() {
    let mut machines = Machines::new();
    let founded = machines.found();
    machines.serve();
    let line = text(&founded, "nodeCommand").to_owned();
    let (fetch, _) = line.split_once("&&").unwrap();
    machines.types(fetch).expect_code(0);

    // The package changes behind the script's back.
    for package in fs::read_dir(machines.path("packages")).unwrap() {
        fs::write(package.unwrap().path(), "another\n").unwrap();
    }
    let refused = machines.types("sh campanile-install.sh </dev/null").expect_code(1);
    assert!(refused.err.contains("SHA-256 differs"), "{}", refused.err);
    // The old line knows another script.
    let refused = machines.types(&line);
    assert_ne!(refused.code, Some(0), "{}", refused.err);
    assert_eq!(machines.installed(), "");
    assert!(!machines.path("node/state").exists(), "nothing was enrolled");

    // Again: the same fleet, with another line, which works.
    let again = machines.init(&[]).json();
    assert_eq!((&again["isNew"], &again["isServing"]), (&false.into(), &true.into()), "{again}");
    assert_eq!(again["fleetId"], founded["fleetId"]);
    assert_ne!(again["token"], founded["token"]);
    machines.types(text(&again, "nodeCommand")).expect_code(0);
    assert_eq!(machines.installed(), "another\n");
}

#[test]
fn a_policy_changed_by_hand_costs_no_token() {
    let mut machines = Machines::new();
    let founded = machines.found();
    machines.serve();
    let token = text(&founded, "token");
    let policy = machines.path("node/policy.toml");
    fs::write(&policy, "highest_tier = 0\nclasses = [\"observe\"]\n").unwrap();
    let refused = machines.agent(&["enroll", "-", "--allow", "config"], token).expect_code(1);
    assert!(
        refused.err.contains("+highest_tier = 2") && refused.err.contains("--replace-policy"),
        "{}",
        refused.err
    );
    let refused = machines.agent(&["enroll", token], "").expect_code(1);
    assert!(refused.err.contains("Revoke") && !refused.err.contains(token), "{}", refused.err);
    let used =
        |machines: &Machines| machines.admin().get("/api/v1/tokens").json()["items"][0]["uses"].clone();
    assert_eq!(used(&machines), 0);
    // Standard input is read without a word.
    machines.agent(&["enroll", "--allow", "config", "--replace-policy"], token).ok();
    assert_eq!(used(&machines), 1);
    assert!(fs::read_to_string(&policy).unwrap().contains("highest_tier = 2"));
}

#[test]
fn a_fleet_comes_from_the_operators_machine_and_is_never_founded_over_anything() {
    let machines = Machines::new();
    let mut fleet = Command::new(program(CAMPANILE));
    fleet.args([
        "fleet",
        "init",
        "--name",
        "acme",
        "--operator",
        "ada",
        "--foundation",
        "-",
        "--passphrase-file",
    ]);
    fleet.arg(machines.path("passphrase")).env("CAMPANILE_CONFIG_DIR", machines.path("elsewhere"));
    let foundation = run(&mut fleet, "").ok();

    let listener = std::net::TcpListener::bind(("127.0.0.1", machines.port)).unwrap();
    let take = |text: &str| {
        run(&mut machines.aggregator_command(&["init", "--foundation", "-", "-o", "json"]), text)
    };
    let refused = take(&foundation).expect_code(1);
    assert!(refused.err.contains("cannot listen on TCP"), "{}", refused.err);
    drop(listener);
    let refused = take(&foundation[..foundation.len() / 2]).expect_code(1);
    assert!(refused.err.contains("not all of it"), "{}", refused.err);
    assert!(!machines.path("state").exists());

    let founded = take(&foundation).json();
    assert_eq!(founded["fleet"], "acme");
    assert!(!machines.path("operator").exists(), "no key of an operator is made here");
    let key = fs::metadata(machines.path("state/ca.key.pem")).unwrap().permissions().mode();
    assert_eq!(key & 0o777, 0o600);
    let refused = take(&foundation).expect_code(1);
    assert!(refused.err.contains("founded here already"), "{}", refused.err);

    fs::remove_file(machines.path("state/fleet.json")).unwrap();
    let refused = take(&foundation).expect_code(1);
    assert!(
        refused.err.contains("state.db") && refused.err.contains("nothing is overwritten"),
        "{}",
        refused.err
    );
}
