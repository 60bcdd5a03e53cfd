//! Every target of an order is accounted for, and the command line says so to people, to programs and by its exit code.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use campanile_tests::support::{CAMPANILE, LocalFleet, Output, patience, program, run, until};
use serde_json::{Value, json};

/// An operator at a machine: a key, a token, a configuration of their own.
struct Desk<'a> {
    fleet: &'a LocalFleet,
    config: PathBuf,
    token: String,
}

impl<'a> Desk<'a> {
    /// Of the operator who made the fleet.
    fn of_ada(fleet: &'a LocalFleet) -> Self {
        Self { fleet, config: fleet.path("operator"), token: api_token(fleet, "admin") }
    }

    fn with_role(&self, role: &str) -> Self {
        Self { fleet: self.fleet, config: self.config.clone(), token: api_token(self.fleet, role) }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut campanile = Command::new(program(CAMPANILE));
        campanile
            .args(arguments)
            .env("CAMPANILE_URL", format!("https://127.0.0.1:{}", self.fleet.port()))
            .env("CAMPANILE_CA", self.fleet.path("operator/ca.pem"))
            .env("CAMPANILE_TOKEN", &self.token)
            .env("CAMPANILE_CONFIG_DIR", &self.config)
            .env("CAMPANILE_PASSPHRASE_FILE", self.fleet.path("passphrase"));
        run(&mut campanile, "")
    }
}

fn api_token(fleet: &LocalFleet, role: &str) -> String {
    let grants = json!([{ "role": role, "selector": "" }]);
    let request = json!({ "name": role, "grants": grants, "ttlSeconds": 3600 });
    let created = fleet.api.call("POST", "/api/v1/api-tokens", &request).json();
    created["token"].as_str().unwrap().to_owned()
}

/// `campanile run` to its end as JSON, which must add up and end with `code`.
fn accounted(desk: &Desk<'_>, code: i32, arguments: &[&str]) -> Value {
    let output = desk.run(arguments).expect_code(code);
    let order: Value = serde_json::from_str(&output.out).unwrap_or_else(|e| panic!("{e}: {}", output.out));
    adds_up(&order);
    order
}

fn count(order: &Value, kind: &str) -> u64 {
    order["counts"][kind].as_u64().unwrap()
}

fn adds_up(order: &Value) {
    let kinds = ["ok", "failed", "silent", "denied", "skipped", "queued"];
    let sum: u64 = kinds.into_iter().map(|kind| count(order, kind)).sum();
    assert_eq!((count(order, "targeted"), count(order, "pending")), (sum, 0), "{order}");
    let targets = order["targets"].as_array().unwrap();
    for kind in kinds {
        let found = targets.iter().filter(|target| target["state"] == kind).count();
        assert_eq!(count(order, kind), u64::try_from(found).unwrap(), "{kind}: {order}");
    }
}

const NO_COMMANDS: &str = "highest_tier = 2\nclasses = [\"observe\", \"command\"]\n";

#[test]
fn twenty_eight_targets_of_every_kind_add_up() {
    let names: Vec<String> = (1..=28).map(|number| format!("n{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&names);
    let (denying, dead) = (["n03", "n04", "n05"], ["n06", "n07"]);
    for node in denying {
        fleet.write_policy(node, NO_COMMANDS);
    }
    // The order knows no names: the nodes that fail or hang are known by which of them comes when.
    let turns = fleet.path("turns");
    fs::create_dir(&turns).unwrap();
    let mixture = "for n in 1 2 3 4 5 6 7 8 9; do if mkdir \"$0/$n\" 2>/dev/null; then \
                   case $n in 1|2|3) exit 7;; 4|5) exec sleep 1000;; *) exit 0;; esac; fi; done";
    let argv = ["--timeout", "4s", "-o", "json", "--", "/bin/sh", "-c", mixture, turns.to_str().unwrap()];
    let everywhere = ["run", "-l", "name=n*", "--expect", "28"];
    let all: Vec<&str> = everywhere.iter().chain(&argv).copied().collect();

    for node in dead {
        fleet.agent(node).kill();
        fleet.wait_liveness(node, "offline");
    }
    let order = accounted(&Desk::of_ada(&fleet), 3, &all);
    let counts = ["targeted", "ok", "failed", "silent", "denied"].map(|kind| count(&order, kind));
    assert_eq!(counts, [28, 18, 5, 2, 3], "{order}");
    for target in order["targets"].as_array().unwrap() {
        let name = target["name"].as_str().unwrap();
        assert_eq!(target["state"] == "denied", denying.contains(&name), "{target}");
        assert_eq!(target["state"] == "silent", dead.contains(&name), "{target}");
        if target["state"] == "denied" {
            assert!(target["detail"].as_str().unwrap().contains("policy"), "{target}");
        }
    }
    let failed = |result: &str| {
        let targets = order["targets"].as_array().unwrap().iter();
        targets.filter(|target| target["state"] == "failed" && target["result"] == result).count()
    };
    assert_eq!((failed("exited"), failed("timed-out")), (3, 2), "{order}");

    let desk = Desk::of_ada(&fleet);
    let said = desk.run(&["run", "-l", "name=n*", "--", "/bin/true"]).expect_code(4);
    assert!(said.err.contains("28 targeted: 23 ok, 2 silent, 3 denied"), "{}", said.err);
    for node in denying.iter().chain(&dead) {
        assert!(said.err.contains(node), "{node} is named: {}", said.err);
    }
    accounted(&desk, 5, &["run", "n01", "n03", "-o", "json", "--", "/bin/true"]);
    accounted(&desk, 0, &["run", "n01", "n02", "-o", "json", "--", "/bin/true"]);
    let detached = desk.run(&["run", "n01", "--detach", "-o", "json", "--", "/bin/true"]);
    detached.expect_code(6);
    desk.run(&["run", "-l", "name=n*", "--expect", "27", "--", "/bin/true"]).expect_code(2);

    // A batch of seven with two failures stops it: the rest is never sent.
    let starts = fleet.path("starts");
    let failing = ["/bin/sh", "-c", "echo x >> \"$0\"; exit 1", starts.to_str().unwrap()];
    let spread = ["run", "-l", "name=n*", "--batch", "25%", "--max-fail", "1", "-o", "json", "--"];
    let order = accounted(&desk, 3, &[&spread[..], &failing[..]].concat());
    let started = fs::read_to_string(&starts).unwrap().lines().count();
    assert!(started <= 7 && count(&order, "skipped") >= 21, "{started} started: {order}");
    assert_eq!(count(&order, "failed"), u64::try_from(started).unwrap(), "{order}");
}

#[test]
fn a_queued_order_is_delivered_once_on_return_or_expires() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b"]);
    fleet.agent("b").kill();
    fleet.wait_liveness("b", "offline");
    let starts = fleet.path("starts");
    let note = ["/bin/sh", "-c", "echo x >> \"$0\"", starts.to_str().unwrap()];
    let queued = ["run", "a", "b", "--queue", "10m", "-o", "json", "--"];
    let order = accounted(&Desk::of_ada(&fleet), 6, &[&queued[..], &note[..]].concat());
    assert_eq!((count(&order, "ok"), count(&order, "queued")), (1, 1), "{order}");
    // The aggregator forgets nothing meanwhile.
    fleet.aggregator().kill();
    fleet.start_aggregator();
    let shown = |fleet: &LocalFleet| {
        fleet.api.get(&format!("/api/v1/orders/{}", order["orderId"].as_str().unwrap())).json()
    };
    assert_eq!(count(&shown(&fleet), "queued"), 1);
    fleet.run_agent("b");
    until("it is delivered", patience(Duration::from_secs(10)), || count(&shown(&fleet), "ok") == 2);
    adds_up(&shown(&fleet));
    // A second return delivers nothing again.
    fleet.agent("b").kill();
    fleet.run_agent("b");
    fleet.wait_liveness("b", "online");
    accounted(&Desk::of_ada(&fleet), 0, &["run", "b", "-o", "json", "--", "/bin/true"]);
    assert_eq!(fs::read_to_string(&starts).unwrap(), "x\nx\n", "once on each node");

    fleet.agent("b").kill();
    fleet.wait_liveness("b", "offline");
    let mut brief = fleet.order_to_run(&["b"], &note, Duration::from_secs(8));
    brief.reason = "it does not wait for long".to_owned();
    let signed = brief.sign(&[&fleet.operator_key()]).unwrap();
    assert_eq!(fleet.submit(&signed, json!({ "queue": true })).unwrap().status, 201);
    let target = || fleet.order_targets(brief.id).1.remove("b").unwrap();
    until("it is queued", patience(Duration::from_secs(2)), || target()["state"] != "waiting");
    until("it expires", patience(Duration::from_secs(10)), || target()["state"] == "silent");
    assert_eq!(target()["result"], "expired", "{}", target());
    fleet.run_agent("b");
    fleet.wait_liveness("b", "online");
    accounted(&Desk::of_ada(&fleet), 0, &["run", "b", "-o", "json", "--", "/bin/true"]);
    assert_eq!(fs::read_to_string(&starts).unwrap(), "x\nx\n", "what expired is not started");
}

#[test]
fn a_freeze_refuses_changes_and_a_viewer_may_not_order() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let ada = Desk::of_ada(&fleet);
    let order = ["run", "a", "--", "/bin/true"];
    ada.run(&["freeze", "--reason", "audit until Friday"]).ok();
    let refused = ada.run(&order).expect_code(8);
    assert!(refused.err.contains("audit until Friday"), "{}", refused.err);
    ada.run(&["order", "ls"]).ok();
    ada.run(&["unfreeze"]).ok();
    ada.run(&order).ok();
    let refused = ada.with_role("viewer").run(&order).expect_code(5);
    assert!(!refused.err.is_empty());
}

#[test]
fn two_operators_approve_and_a_token_runs_what_the_catalogue_names() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b"]);
    let ada = Desk::of_ada(&fleet);
    let bob = Desk { fleet: &fleet, config: fleet.path("bob"), token: api_token(&fleet, "operator") };
    let authority: Value = ada.run(&["operator", "ls", "-o", "json"]).json();
    bob.run(&["key", "new", "--name", "bob"]).ok();
    let key = bob.run(&["key", "show", "-o", "name"]).ok();
    let roles = "authority,catalogue,change,critical";
    ada.run(&["operator", "add", "bob", "--key", key.trim(), "--roles", roles, "--yes"]).ok();
    ada.run(&["operator", "threshold", "critical", "2", "--yes"]).ok();
    let pin = authority["firstDigest"].as_str().unwrap();
    bob.run(&["operator", "trust", pin]).ok();

    let starts = fleet.path("starts");
    let note = ["/bin/sh", "-c", "echo x >> \"$0\"", starts.to_str().unwrap()];
    let critical =
        ["run", "a", "b", "--critical", "--queue", "10m", "--yes", "--expect", "2", "-o", "json", "--"];
    let proposed = ada.run(&[&critical[..], &note[..]].concat()).expect_code(6);
    let proposed: Value = serde_json::from_str(&proposed.out).unwrap();
    let id = proposed["orderId"].as_str().unwrap();
    assert_eq!(proposed["state"], "proposed", "{proposed}");
    assert!(bob.run(&["approve", "ls"]).ok().contains(id));
    assert!(bob.run(&["approve", "show", id]).ok().contains("echo x"));
    // The same person twice is one person.
    assert_ne!(ada.run(&["approve", "sign", id, "--yes"]).code, Some(0));
    assert!(!starts.exists());
    bob.run(&["approve", "sign", id, "--yes"]).ok();
    let targets = fleet.await_order(id.parse().unwrap());
    assert!(targets.values().all(|target| target["state"] == "ok"), "{targets:?}");
    assert_eq!(fs::read_to_string(&starts).unwrap(), "x\nx\n");

    let catalogue = fleet.path("catalogue.toml");
    fs::write(&catalogue, "[commands.kernel]\ndescription = \"Which kernel\"\nargv = [\"uname\", \"-s\"]\n")
        .unwrap();
    ada.run(&["catalogue", "push", catalogue.to_str().unwrap(), "--yes"]).ok();
    // A robot: a token, what it trusts, and no key.
    let robot = Desk { fleet: &fleet, config: fleet.path("robot"), token: api_token(&fleet, "operator") };
    robot.run(&["operator", "trust", pin]).ok();
    let said = robot.run(&["routine", "kernel", "-l", "name=a"]).ok();
    assert_eq!(said, "Linux\n");
    assert_ne!(robot.run(&["run", "a", "--", "/bin/true"]).code, Some(0), "it has no key");
}

#[test]
fn a_schedule_runs_by_itself() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let ada = Desk::of_ada(&fleet);
    let starts = fleet.path("starts");
    let when = ["schedule", "add", "often", "--when", "@every 1m", "--for", "1h", "-l", "name=a", "--"];
    let note = ["/bin/sh", "-c", "echo x >> \"$0\"", starts.to_str().unwrap()];
    ada.run(&[&when[..], &note[..]].concat()).ok();
    let schedule = || fleet.api.get("/api/v1/schedules/often").json();
    until("it runs", patience(Duration::from_secs(60)), || schedule()["lastCounts"]["ok"] == 1);
    assert_eq!(fs::read_to_string(&starts).unwrap().lines().next(), Some("x"));
    ada.run(&["schedule", "rm", "often", "--yes"]).ok();
    let orders = fleet.api.get("/api/v1/orders").json();
    assert_eq!(orders["items"][0]["submittedBy"], "schedule:often", "{orders}");
}

#[test]
fn an_altered_audit_names_the_entry() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b"]);
    let ada = Desk::of_ada(&fleet);
    accounted(&ada, 0, &["run", "a", "b", "-o", "json", "--", "/bin/true"]);
    let verify = ["audit", "verify", "--with-nodes"];
    ada.run(&verify).ok();
    // A node's chain: the operator's name becomes another's.
    let segment = fleet.node_path("b", "steward/audit/0000000000000001.jsonl");
    let good = fs::read(&segment).unwrap();
    let text = String::from_utf8_lossy(&good).into_owned();
    let line = text.lines().find(|line| line.contains("order.started")).unwrap();
    let entry: Value = serde_json::from_str(line).unwrap();
    fs::write(&segment, text.replacen(line, &line.replace("\"ada\"", "\"eve\""), 1)).unwrap();
    assert_ne!(fs::read(&segment).unwrap(), good);
    let found = ada.run(&verify).expect_code(1);
    let said = format!("{}{}", found.out, found.err);
    assert!(said.contains(&entry["sequence"].to_string()) && said.contains('b'), "{said}");
    fs::write(&segment, good).unwrap();
    ada.run(&verify).ok();

    // The aggregator's own log: a reason becomes another one.
    ada.run(&["freeze", "--reason", "closed until Friday"]).ok();
    ada.run(&["unfreeze"]).ok();
    ada.run(&verify).ok();
    let log: Value = ada.run(&["audit", "ls", "-o", "json"]).json();
    let entry =
        log.as_array().unwrap().iter().find(|entry| entry.to_string().contains("until Friday")).unwrap();
    let sequence = entry["sequence"].to_string();
    fleet.aggregator().stop();
    let store = fleet.aggregator_state().join("state.db");
    let mut bytes = fs::read(&store).unwrap();
    let (said, altered) = (b"closed until Friday", b"closed until Sunday");
    let places: Vec<usize> =
        bytes.windows(said.len()).enumerate().filter(|(_, part)| part == said).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the store has it in plain text");
    for at in places {
        bytes[at..at + altered.len()].copy_from_slice(altered);
    }
    fs::write(&store, bytes).unwrap();
    fleet.start_aggregator();
    for node in ["a", "b"] {
        fleet.wait_liveness(node, "online");
    }
    for verify in [&verify[..], &verify[..2]] {
        let found = Desk::of_ada(&fleet).run(verify).expect_code(1);
        let said = format!("{}{}", found.out, found.err);
        assert!(said.contains(&sequence), "entry {sequence}: {said}");
    }
}
