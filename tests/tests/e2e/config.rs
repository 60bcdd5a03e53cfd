//! Configuration from a directory of files to nodes and back, through every process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use campanile_tests::support::{CAMPANILE, FleetOptions, LocalFleet, Output, patience, program, run, until};
use serde_json::json;

/// What a secret's value begins with, to be looked for where it must not be.
const CANARY: &str = "CANARY-3c1f7a";

/// A fleet whose nodes are configured below folders of their own, and a bundle.
pub(super) struct Configured {
    pub(super) fleet: LocalFleet,
    nodes: Vec<String>,
}

impl Configured {
    /// Nodes of a role each, online.
    pub(super) fn start(nodes: &[(&str, &str)]) -> Self {
        Self::start_with(nodes, FleetOptions::default())
    }

    /// The same, with more than the settings of nodes.
    pub(super) fn start_with(nodes: &[(&str, &str)], options: FleetOptions) -> Self {
        let config_settings = "check_interval_s = 1".to_owned();
        let fleet = LocalFleet::with(FleetOptions { config_settings, ..options });
        let mut configured = Self { fleet, nodes: Vec::new() };
        for (node, role) in nodes {
            configured.add(node, role);
        }
        for (node, _) in nodes {
            configured.fleet.wait_liveness(node, "online");
        }
        let groups = configured.fleet.path("bundle/groups");
        fs::create_dir_all(&groups).unwrap();
        configured
            .write("fleet.toml", "[vars]\nbell = \"ding\"\n[file.\"/etc/motd\"]\ncontent = \"ding\\n\"\n");
        configured.write("groups/web.toml", "selector = \"role=web\"\n[vars]\nbell = \"dong\"\n");
        configured
    }

    /// A fleet that was configured before, with its bundle; nothing of it runs yet.
    pub(super) fn of(fleet: LocalFleet, nodes: &[&str]) -> Self {
        Self { fleet, nodes: nodes.iter().map(|&node| node.to_owned()).collect() }
    }

    /// Enrols a node and starts it.
    pub(super) fn add(&mut self, node: &str, role: &str) {
        let root = self.root(node);
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/motd"), "by hand\n").unwrap();
        self.fleet.write_agent_settings(node, "");
        let token = self.fleet.enrollment_token(&json!({ "role": role }), 1);
        self.fleet.enroll(node, &token).ok();
        self.fleet.run_agent(node);
        self.nodes.push(node.to_owned());
    }

    pub(super) fn root(&self, node: &str) -> PathBuf {
        self.fleet.node_path(node, "root")
    }

    pub(super) fn motd(&self, node: &str) -> String {
        fs::read_to_string(self.root(node).join("etc/motd")).unwrap_or_default()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.fleet.path("bundle").join(name), text).unwrap();
    }

    /// A command line as the operator, with something on its standard input.
    pub(super) fn command(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.prepared(arguments);
        run(&mut command, input)
    }

    fn prepared(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(CAMPANILE));
        let token = self.fleet.api_token();
        command
            .args(arguments)
            .env("CAMPANILE_URL", format!("https://127.0.0.1:{}", self.fleet.port()))
            .env("CAMPANILE_CA", self.fleet.path("operator/ca.pem"))
            .env("CAMPANILE_TOKEN", token)
            .env("CAMPANILE_CONFIG_DIR", self.fleet.path("operator"))
            .env("CAMPANILE_PASSPHRASE_FILE", self.fleet.path("passphrase"));
        command
    }

    /// `config VERB DIR ...`.
    pub(super) fn config(&self, verb: &str, more: &[&str]) -> Output {
        let bundle = self.fleet.path("bundle");
        let mut line = vec!["config", verb, bundle.to_str().unwrap()];
        line.extend(more);
        self.command(&line, "")
    }

    pub(super) fn apply(&self, more: &[&str]) -> Output {
        let mut line = vec!["--yes", "--wave-pause", "0s"];
        line.extend(more);
        self.config("apply", &line)
    }
}

#[test]
fn a_bundle_is_planned_applied_kept_and_gone_back_from() {
    let configured = Configured::start(&[("web-1", "web"), ("web-2", "web"), ("db-1", "db")]);
    let plan = configured.config("plan", &[]).expect_code(10);
    assert!(plan.out.contains("-by hand") && plan.out.contains("+ding"), "{}", plan.out);
    assert_eq!(
        plan.out.matches("file:/etc/motd").count(),
        1,
        "what is the same is shown once:\n{}",
        plan.out
    );
    assert_eq!(configured.motd("web-1"), "by hand\n", "a plan changes nothing");

    configured.apply(&["--canary", "1", "-m", "first"]).expect_code(0);
    for node in &configured.nodes {
        assert_eq!(configured.motd(node), "ding\n");
    }
    configured.config("plan", &[]).expect_code(0);
    let again = configured.apply(&[]).expect_code(0);
    assert!(again.err.contains("generation 1 says this already"), "{}", again.err);

    configured.write("fleet.toml", "[file.\"/etc/motd\"]\ncontent = \"second\\n\"\n");
    configured.apply(&["-m", "second"]).expect_code(0);
    let log = configured.command(&["config", "log", "-o", "json"], "").json();
    let messages: Vec<&str> =
        log.as_array().unwrap().iter().map(|one| one["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["second", "first"]);
    let diff = configured.command(&["config", "diff", "1", "2"], "").ok();
    assert!(diff.contains("-ding") && diff.contains("+second"), "{diff}");

    configured.command(&["config", "rollback", "1", "-l", "role=db", "--yes"], "").expect_code(0);
    assert_eq!((configured.motd("db-1"), configured.motd("web-1")), ("ding\n".into(), "second\n".into()));
    configured.command(&["config", "rollback", "1", "--yes"], "").expect_code(0);
    assert_eq!(configured.motd("web-1"), "ding\n");
    configured.command(&["config", "status"], "").expect_code(0);
}

#[test]
fn a_hand_edit_is_drift_and_an_apply_takes_it_back() {
    let configured = Configured::start(&[("web-1", "web")]);
    configured.apply(&[]).expect_code(0);
    configured.command(&["config", "drift"], "").expect_code(0);
    fs::write(configured.root("web-1").join("etc/motd"), "somebody\n").unwrap();
    until("the node tells the edit", patience(Duration::from_secs(60)), || {
        configured.command(&["config", "drift"], "").code == Some(10)
    });
    let drift = configured.command(&["config", "drift", "-o", "json"], "").expect_code(10);
    assert!(drift.out.contains("file:/etc/motd"), "{}", drift.out);
    let health = || configured.command(&["health"], "").out;
    until("it costs the node points", patience(Duration::from_secs(20)), || {
        health().contains("1 resource differs from its configuration")
    });
    let doctor = run(&mut configured.fleet.agent_command("web-1", &["doctor"]), "").out;
    assert!(doctor.contains("WARN  config       at generation 1 since"), "{doctor}");
    configured.apply(&[]).expect_code(0);
    assert_eq!(configured.motd("web-1"), "ding\n");
    until("the drift is gone", patience(Duration::from_secs(60)), || {
        configured.command(&["config", "drift"], "").code == Some(0)
    });
    until("it costs nothing any more", patience(Duration::from_secs(20)), || {
        !health().contains("differs from its configuration")
    });
}

#[test]
fn a_value_is_explained_by_the_layers_of_its_node() {
    let configured = Configured::start(&[("web-1", "web"), ("db-1", "db")]);
    configured.apply(&[]).expect_code(0);
    let of_web = configured.command(&["config", "explain", "web-1", "bell"], "").ok();
    assert!(of_web.contains("groups/web.toml") && of_web.contains("fleet.toml"), "{of_web}");
    let of_db = configured.command(&["config", "explain", "db-1", "bell"], "").ok();
    assert!(!of_db.contains("groups/web.toml"), "{of_db}");
}

#[test]
fn a_secret_reaches_its_nodes_and_is_in_no_store_and_no_log() {
    let configured = Configured::start(&[("db-1", "db"), ("web-1", "web")]);
    fs::create_dir_all(configured.fleet.path("bundle/templates")).unwrap();
    configured.write("templates/db.conf.j2", "password = {{ secret(\"db\") }}\n");
    configured.write(
        "groups/db.toml",
        "selector = \"role=db\"\n[file.\"/etc/db.conf\"]\ntemplate = \"db.conf.j2\"\nmode = \"0600\"\n",
    );
    let value = format!("{CANARY}-one\n");
    configured.command(&["secret", "set", "db", "-l", "role=db", "--yes"], &value).expect_code(0);
    let plan = configured.config("plan", &[]).expect_code(10);
    assert!(!plan.out.contains(CANARY) && !plan.err.contains(CANARY), "{}", plan.out);
    configured.apply(&[]).expect_code(0);
    let written = fs::read_to_string(configured.root("db-1").join("etc/db.conf")).unwrap();
    assert_eq!(written, format!("password = {CANARY}-one\n"));

    configured.command(&["secret", "rotate", "db", "--yes"], "").expect_code(0);
    let rotated = fs::read_to_string(configured.root("db-1").join("etc/db.conf")).unwrap();
    assert!(rotated.len() > 32 && !rotated.contains(CANARY), "{rotated}");
    let value = rotated.trim_start_matches("password = ").trim();
    for needle in [CANARY, value] {
        let found = holding(&configured.fleet.path(""), needle.as_bytes());
        let of_root = configured.root("db-1");
        let elsewhere: Vec<_> = found.iter().filter(|path| !path.starts_with(&of_root)).collect();
        assert!(elsewhere.is_empty(), "{needle} is in {elsewhere:?}");
    }
}

/// Files below a folder that hold the bytes.
fn holding(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(holding(&path, needle));
        } else if path.is_file()
            && fs::read(&path).unwrap_or_default().windows(needle.len()).any(|window| window == needle)
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn of_two_who_apply_at_once_one_wins_and_the_other_learns_it() {
    let configured = Configured::start(&[("web-1", "web")]);
    let other = configured.fleet.path("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("fleet.toml"), "[file.\"/etc/motd\"]\ncontent = \"other\\n\"\n").unwrap();
    let bundle = configured.fleet.path("bundle");
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let start = |dir: &Path| {
            let dir = dir.to_str().unwrap().to_owned();
            let mut command = configured.prepared(&["config", "apply", &dir, "--yes"]);
            scope.spawn(move || run(&mut command, ""))
        };
        let racing = [start(&bundle), start(&other)];
        racing.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let log = configured.command(&["config", "log", "-o", "json"], "").json();
    let numbers = log.as_array().unwrap().len();
    let losers = outputs.iter().filter(|output| output.err.contains("meanwhile")).count();
    // They may also have come one after the other: then there are two generations.
    assert_eq!(numbers + losers, 2, "{outputs:?}");
    let newest = configured.command(&["config", "show", "head", "-o", "json"], "").json();
    assert_eq!(newest["number"], json!(numbers));
}

#[test]
fn a_node_that_is_enrolled_later_gets_the_configuration_with_nobody_present() {
    let mut configured = Configured::start(&[("web-1", "web")]);
    configured.apply(&[]).expect_code(0);
    configured.add("web-2", "web");
    until("the new node is configured", patience(Duration::from_secs(60)), || {
        configured.motd("web-2") == "ding\n"
    });
    until("it tells so", patience(Duration::from_secs(30)), || {
        configured.command(&["config", "status"], "").code == Some(0)
    });
}

#[test]
fn a_node_whose_policy_has_no_class_config_denies_and_stays_as_it_is() {
    let configured = Configured::start(&[("web-1", "web")]);
    configured.fleet.write_policy("web-1", "highest_tier = 3\nclasses = [\"observe\", \"shell\"]\n");
    let denied = configured.apply(&[]).expect_code(5);
    assert!(denied.out.contains("config"), "{}", denied.out);
    configured.config("plan", &[]).expect_code(5);
    assert_eq!(configured.motd("web-1"), "by hand\n");
}
