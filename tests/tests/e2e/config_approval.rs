//! Configuration of a fleet where two operators must sign each change, and secrets of nodes that came later.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use campanile_cli::keyring;
use campanile_common::authority::{Action, ConfigMode, Order};
use campanile_tests::support::{CAMPANILE, Output, patience, program, run, until};
use serde_json::{Value, json};

use super::config::Configured;

/// The second operator, at a machine of his own.
struct Bob<'a> {
    configured: &'a Configured,
    config: PathBuf,
    token: String,
}

impl<'a> Bob<'a> {
    /// Makes him an operator, and has changes take two signatures from now on.
    fn join(configured: &'a Configured) -> Self {
        let fleet = &configured.fleet;
        let grants = json!([{ "role": "operator", "selector": "" }]);
        let request = json!({ "name": "bob", "grants": grants, "ttlSeconds": 3600 });
        let created = fleet.api.call("POST", "/api/v1/api-tokens", &request).json();
        let token = created["token"].as_str().unwrap().to_owned();
        let bob = Self { configured, config: fleet.path("bob"), token };
        bob.command(&["key", "new", "--name", "bob"]).ok();
        let key = bob.command(&["key", "show", "-o", "name"]).ok();
        let ada = |line: &[&str]| configured.command(line, "").ok();
        ada(&["operator", "add", "bob", "--key", key.trim(), "--roles", "change", "--yes"]);
        ada(&["operator", "threshold", "change", "2", "--yes"]);
        let authority: Value = serde_json::from_str(&ada(&["operator", "ls", "-o", "json"])).unwrap();
        bob.command(&["operator", "trust", authority["firstDigest"].as_str().unwrap()]).ok();
        bob
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let fleet = &self.configured.fleet;
        let mut campanile = Command::new(program(CAMPANILE));
        campanile
            .args(arguments)
            .env("CAMPANILE_URL", format!("https://127.0.0.1:{}", fleet.port()))
            .env("CAMPANILE_CA", fleet.path("operator/ca.pem"))
            .env("CAMPANILE_TOKEN", &self.token)
            .env("CAMPANILE_CONFIG_DIR", &self.config)
            .env("CAMPANILE_PASSPHRASE_FILE", fleet.path("passphrase"));
        run(&mut campanile, "")
    }
}

/// The order that a command line proposed: it says what the next operator types.
fn proposed(output: &Output) -> String {
    let output = output.clone().expect_code(6);
    let id = output.out.trim().to_owned();
    assert!(output.err.contains(&format!("campanile approve sign {id}")), "{}", output.err);
    id
}

fn number_of_head(configured: &Configured) -> Option<u64> {
    let log = configured.command(&["config", "log", "-o", "json"], "").json();
    log.as_array().unwrap().first().map(|newest| newest["number"].as_u64().unwrap())
}

#[test]
fn a_second_operator_sees_and_signs_what_the_first_applies() {
    let configured = Configured::start(&[("web-1", "web"), ("db-1", "db")]);
    let bob = Bob::join(&configured);
    let applied = configured.apply(&["-m", "first"]);
    assert!(applied.err.contains("1 of 2 signatures (ada)"), "{}", applied.err);
    assert!(applied.err.contains("missing: 1 of bob"), "{}", applied.err);
    let id = proposed(&applied);
    assert_eq!((number_of_head(&configured), configured.motd("web-1")), (None, "by hand\n".to_owned()));

    let waiting = bob.command(&["approve", "ls"]).ok();
    assert!(waiting.contains(&id) && waiting.contains("generation-"), "{waiting}");
    let shown = bob.command(&["approve", "show", &id]).ok();
    for word in
        ["message", "first", "+content = ", "+selector = \"role=web\"", "web-1:", "db-1:", "+bell = \"dong\""]
    {
        assert!(shown.contains(word), "{word}:\n{shown}");
    }
    let again = configured.command(&["approve", "sign", &id, "--yes"], "");
    assert_ne!(again.code, Some(0), "the same operator twice is one: {again:?}");
    assert_eq!((number_of_head(&configured), configured.motd("web-1")), (None, "by hand\n".to_owned()));

    let signed = bob.command(&["approve", "sign", &id, "--yes"]).expect_code(0);
    assert!(signed.err.contains(&format!("campanile order watch {id}")), "{}", signed.err);
    let targets = configured.fleet.await_order(id.parse().unwrap());
    assert!(targets.values().all(|target| target["state"] == "ok"), "{targets:?}");
    assert_eq!((configured.motd("web-1"), configured.motd("db-1")), ("ding\n".into(), "ding\n".into()));
    let head = configured.command(&["config", "show", "head", "-o", "json"], "").json();
    assert_eq!(head["operators"], json!(["ada", "bob"]));
    assert_eq!(bob.command(&["approve", "ls", "-o", "json"]).json(), json!([]));

    // What a plan tells of a node is as much a change as any: it takes two as well.
    let plan = proposed(&configured.config("plan", &[]));
    bob.command(&["approve", "sign", &plan, "--yes"]).expect_code(0);
    let targets = configured.fleet.await_order(plan.parse().unwrap());
    assert!(targets.values().all(|target| target["exitCode"] == 0), "{targets:?}");
    assert_eq!(number_of_head(&configured), Some(1));
}

#[test]
fn of_two_proposals_the_one_that_is_signed_first_wins_and_the_other_is_withdrawn() {
    let configured = Configured::start(&[("web-1", "web")]);
    let bob = Bob::join(&configured);
    let other = configured.fleet.path("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("fleet.toml"), "[file.\"/etc/motd\"]\ncontent = \"other\\n\"\n").unwrap();
    let of_ada = proposed(&configured.apply(&["-m", "of ada"]));
    let of_bob = proposed(&bob.command(&["config", "apply", other.to_str().unwrap(), "--yes"]));
    configured.command(&["approve", "sign", &of_bob, "--yes"], "").expect_code(0);
    configured.fleet.await_order(of_bob.parse().unwrap());
    assert_eq!(configured.motd("web-1"), "other\n");
    let late = bob.command(&["approve", "sign", &of_ada, "--yes"]).expect_code(1);
    assert!(late.err.contains("meanwhile") && late.err.contains("withdrawn"), "{}", late.err);
    assert_eq!(bob.command(&["approve", "ls", "-o", "json"]).json(), json!([]));
    assert_eq!((number_of_head(&configured), configured.motd("web-1")), (Some(1), "other\n".to_owned()));
}

#[test]
fn a_generation_that_one_signed_is_refused_by_nodes_once_two_must() {
    let configured = Configured::start(&[("web-1", "web"), ("db-1", "db")]);
    configured.apply(&["-l", "role=db", "-m", "alone"]).expect_code(0);
    let head = configured.command(&["config", "show", "head", "-o", "json"], "").json();
    let bob = Bob::join(&configured);
    let refused = configured.apply(&[]).expect_code(1);
    assert!(refused.err.contains("does not verify"), "{}", refused.err);
    // Built anew without looking at it, and signed by both.
    let id = proposed(&configured.apply(&["--forget-secrets", "-m", "together"]));
    let refused = bob.command(&["approve", "sign", &id, "--yes"]).expect_code(1);
    assert!(refused.err.contains("nothing to compare with"), "--yes does not do: {}", refused.err);

    // An order with both signatures is no help to a generation with one.
    let key = |folder: &str| {
        let encrypted = fs::read(configured.fleet.path(folder).join(keyring::KEY_FILE)).unwrap();
        let passphrase = fs::read_to_string(configured.fleet.path("passphrase")).unwrap();
        keyring::unlock(&encrypted, passphrase.trim()).unwrap()
    };
    let mode = ConfigMode::Apply { is_confirmed: false, confirm_within_s: 60 };
    let generation = head["digest"].as_str().unwrap().parse().unwrap();
    let order = Order {
        action: Action::Config { generation, mode },
        authority_version: 3,
        ..configured.fleet.order_to_run(&["web-1"], &[], Duration::from_secs(300))
    };
    let signed = order.sign(&[&key("operator"), &key("bob")]).unwrap();
    assert_eq!(configured.fleet.submit(&signed, json!({})).unwrap().status, 201);
    let targets = configured.fleet.await_order(order.id);
    assert_ne!(targets["web-1"]["state"], "ok", "{targets:?}");
    assert_eq!(configured.motd("web-1"), "by hand\n");
}

#[test]
fn a_node_that_was_enrolled_later_gets_the_secret_and_the_other_copies_stay() {
    let mut configured = Configured::start(&[("db-1", "db")]);
    fs::create_dir_all(configured.fleet.path("bundle/templates")).unwrap();
    configured.write("templates/db.conf.j2", "password = {{ secret(\"db\") }}\n");
    configured.write(
        "groups/db.toml",
        "selector = \"role=db\"\n[file.\"/etc/db.conf\"]\ntemplate = \"db.conf.j2\"\nmode = \"0600\"\n",
    );
    configured.command(&["secret", "set", "db", "-l", "role=db", "--yes"], "hunter2\n").expect_code(0);
    configured.apply(&[]).expect_code(0);
    configured.command(&["secret", "ls"], "").expect_code(0);
    configured.add("db-2", "db");
    let told = || configured.fleet.api.get("/api/v1/config/nodes/db-2").json();
    until("it follows, and fails for want of the secret", patience(Duration::from_secs(60)), || {
        told()["sealingKey"].is_string() && told()["phase"] == "failed"
    });
    assert!(told()["detail"].as_str().unwrap().contains("secret"), "{}", told());
    let listed = configured.command(&["secret", "ls"], "").expect_code(10);
    assert!(listed.out.contains("db-2") && listed.err.contains("campanile secret sync db"), "{listed:?}");

    configured.command(&["secret", "sync", "db", "--yes"], "hunter2\n").expect_code(0);
    let written = |node| fs::read_to_string(configured.root(node).join("etc/db.conf")).unwrap();
    assert_eq!(written("db-2"), "password = hunter2\n");
    configured.command(&["secret", "ls"], "").expect_code(0);
    let again = configured.command(&["secret", "sync", "db", "--yes"], "hunter2\n").expect_code(0);
    assert!(again.err.contains("every node"), "{}", again.err);
    configured.apply(&[]).expect_code(0);
    assert_eq!(written("db-1"), "password = hunter2\n");
}
