//! The aggregator's backup of itself: made while it serves, put back where nothing is left, and agents that notice nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use campanile_agent::app::store_backend;
use campanile_backup::backend::{Backend as _, Object, ObjectKind};
use campanile_backup::id::ObjectId;
use campanile_tests::support::{AGGREGATOR, FleetOptions, LocalFleet, Output, patience, program, run, until};
use serde_json::{Value, json};

use super::config::Configured;

/// Whoever keeps the key, and where the backups are put.
struct Keeper {
    identity: Identity,
    folder: tempfile::TempDir,
}

impl Keeper {
    fn new() -> Self {
        let keeper = Self { identity: Identity::generate(), folder: tempfile::tempdir().unwrap() };
        let text = format!("# of a test\n{}\n", keeper.identity.to_string().expose_secret());
        fs::write(keeper.key(), text).unwrap();
        keeper
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.txt")
    }

    fn copies(&self) -> PathBuf {
        self.folder.path().join("copies")
    }

    fn settings(&self) -> String {
        format!(
            "[self_backup]\nrecipients = [\"{}\"]\ndir = \"{}\"\nschedule = \"@every 1h\"\nkeep = 3\n",
            self.identity.to_public(),
            self.copies().display()
        )
    }

    /// Sets it up as a drop-in, which a running aggregator takes at its next start, and `backup` at once.
    fn settle(&self, fleet: &LocalFleet) {
        let folder = fleet.path("aggregator.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("self-backup.toml"), self.settings()).unwrap();
    }

    fn restore(&self, fleet: &LocalFleet, file: &Path, more: &[&str]) -> Output {
        run(&mut self.restore_command(fleet, file, more), "")
    }

    fn restore_command(&self, fleet: &LocalFleet, file: &Path, more: &[&str]) -> Command {
        let mut command = aggregator(fleet, &["restore"]);
        command.arg(file).arg("--identity").arg(self.key()).args(more);
        command
    }

    /// As `age -d` gives it.
    fn opened(&self, file: &Path) -> Vec<u8> {
        age::decrypt(&self.identity, &fs::read(file).unwrap()).unwrap()
    }
}

fn aggregator(fleet: &LocalFleet, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(AGGREGATOR));
    command.args(arguments).arg("--config").arg(fleet.path("aggregator.toml"));
    command
}

fn back_up(fleet: &LocalFleet) -> PathBuf {
    run(&mut aggregator(fleet, &["backup"]), "").ok().trim().into()
}

/// What `tar tv` shows of a tar.
fn listed(tar: Vec<u8>) -> String {
    let mut child = Command::new("tar")
        .args(["-t", "-v", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &tar));
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    writer.join().unwrap().unwrap();
    text
}

/// The machine of the aggregator is gone.
fn lose(fleet: &mut LocalFleet) {
    fleet.aggregator().kill();
    fs::remove_dir_all(fleet.aggregator_state()).unwrap();
}

fn actions(fleet: &LocalFleet) -> Vec<String> {
    let page = fleet.api.get("/api/v1/audit?limit=1000").json();
    let items = page["items"].as_array().unwrap().iter();
    items.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_fleet_comes_back_from_one_file_without_enrolling_anew() {
    let nodes = ["web-1", "db-1"];
    let mut configured = Configured::start(&[("web-1", "web"), ("db-1", "db")]);
    configured.apply(&["-m", "first"]).expect_code(0);
    let refused = run(&mut aggregator(&configured.fleet, &["backup"]), "").expect_code(1);
    assert!(refused.err.contains("`recipients = "), "says what to set: {}", refused.err);

    let keeper = Keeper::new();
    keeper.settle(&configured.fleet);
    let ids: Vec<Value> = nodes.map(|node| configured.fleet.node(node)["nodeId"].clone()).to_vec();
    let file = back_up(&configured.fleet);
    let list = listed(keeper.opened(&file));
    assert!(list.lines().next().unwrap().ends_with("manifest.json"), "{list}");
    for name in ["fleet.json", "ca.key.pem", "state.db", "authority/0000000001", "config/parts/", "settings/"]
    {
        assert!(list.contains(name), "{name} in {list}");
    }
    let whole = keeper.restore(&configured.fleet, &file, &["--check"]).expect_code(0);
    assert!(whole.out.contains("is whole: fleet test"), "{}", whole.out);
    let refused = keeper.restore(&configured.fleet, &file, &[]).expect_code(1);
    assert!(refused.err.contains("is not empty"), "{}", refused.err);

    // What the backup does not know of.
    let between = configured.fleet.order(&nodes, &["/bin/true"]);
    configured.fleet.await_order(between);
    lose(&mut configured.fleet);
    let restored = keeper.restore(&configured.fleet, &file, &[]).expect_code(0);
    assert!(restored.out.contains("old aggregator does not run"), "{}", restored.out);
    configured.fleet.start_aggregator();

    for (node, id) in nodes.iter().zip(&ids) {
        configured.fleet.wait_liveness(node, "online");
        assert_eq!(configured.fleet.node(node)["nodeId"], *id);
    }
    let fleet = &configured.fleet;
    assert_eq!(fleet.api.get("/api/v1/audit/verify").json()["intact"], true);
    let actions = actions(fleet);
    for action in ["self-backup.make", "aggregator.restore"] {
        assert!(actions.iter().any(|found| found == action), "{action} in {actions:?}");
    }
    assert!(fleet.api.get("/metrics").text.contains("campanile_config_generation 1\n"));
    configured.config("plan", &[]).expect_code(0);
    let order = fleet.order(&nodes, &["/bin/sh", "-c", "echo here"]);
    let targets = fleet.await_order(order);
    assert!(nodes.iter().all(|node| targets[*node]["state"] == "ok"), "{targets:?}");
    configured.write("fleet.toml", "[file.\"/etc/motd\"]\ncontent = \"second\\n\"\n");
    configured.apply(&["-m", "second"]).expect_code(0);
    assert!(nodes.iter().all(|node| configured.motd(node) == "second\n"));
}

#[test]
fn nodes_that_renewed_their_keys_since_the_backup_come_back() {
    let keeper = Keeper::new();
    let aggregator_settings = format!("{}[certificates]\nlifetime_s = 40\n", keeper.settings());
    let mut fleet = LocalFleet::with(FleetOptions { aggregator_settings, ..FleetOptions::default() });
    fleet.add_nodes(&["a"]);
    // The first of the schedule was made at the start, before the node was enrolled.
    let scheduled = "campanile_self_backup_last_success_timestamp_seconds 1";
    until("a backup on the schedule", patience(Duration::from_secs(10)), || {
        fleet.api.get("/metrics").text.contains(scheduled)
    });
    let first = fs::read_dir(keeper.copies()).unwrap().next().unwrap().unwrap().path();
    keeper.restore(&fleet, &first, &["--check"]).expect_code(0);

    let file = back_up(&fleet);
    let expires = fleet.node("a")["certificateExpiresAt"].clone();
    until("a renewal", patience(Duration::from_secs(25)), || {
        fleet.node("a")["certificateExpiresAt"] != expires
    });
    lose(&mut fleet);
    keeper.restore(&fleet, &file, &[]).expect_code(0);
    fleet.start_aggregator();
    fleet.wait_liveness("a", "online");
    let actions = actions(&fleet);
    assert!(actions.iter().any(|action| action == "certificate.adopt"), "{actions:?}");
    let order = fleet.order(&["a"], &["/bin/true"]);
    assert_eq!(fleet.await_order(order)["a"]["state"], "ok");
}

#[test]
fn an_authority_and_generations_made_since_the_backup_are_caught_up_with() {
    let mut configured = Configured::start(&[("web-1", "web")]);
    configured.apply(&["-m", "first"]).expect_code(0);
    let keeper = Keeper::new();
    keeper.settle(&configured.fleet);
    let file = back_up(&configured.fleet);
    configured.command(&["operator", "renew", "--for", "730d", "--yes"], "").expect_code(0);
    let is_in_force =
        |fleet: &LocalFleet| fleet.api.get("/metrics").text.contains("campanile_authority_version 2\n");
    until("version 2", patience(Duration::from_secs(5)), || is_in_force(&configured.fleet));
    let write = |configured: &Configured, text: &str| {
        let bundle = format!("[file.\"/etc/motd\"]\ncontent = \"{text}\\n\"\n");
        configured.write("fleet.toml", &bundle);
    };
    write(&configured, "second");
    configured.apply(&["-m", "second"]).expect_code(0);
    lose(&mut configured.fleet);
    keeper.restore(&configured.fleet, &file, &[]).expect_code(0);
    let name = "authority/0000000002";
    let state = configured.fleet.aggregator_state();
    assert!(!state.join(name).exists(), "the backup is older");
    fs::copy(configured.fleet.path("operator").join(name), state.join(name)).unwrap();
    configured.fleet.start_aggregator();
    assert!(is_in_force(&configured.fleet));
    configured.fleet.wait_liveness("web-1", "online");
    // The head is generation 1 again: another second one is refused by the node, which has its own.
    write(&configured, "another second");
    let refused = configured.apply(&["-m", "another second"]);
    assert_ne!(refused.code, Some(0), "{}\n{}", refused.out, refused.err);
    assert_eq!(configured.motd("web-1"), "second\n");
    write(&configured, "third");
    configured.apply(&["-m", "third"]).expect_code(0);
    assert_eq!(configured.motd("web-1"), "third\n");
}

#[test]
fn a_killed_restore_leaves_no_state_folder_or_a_whole_one() {
    let mut fleet = LocalFleet::start();
    let keeper = Keeper::new();
    keeper.settle(&fleet);
    let file = back_up(&fleet);
    lose(&mut fleet);
    let state = fleet.aggregator_state();
    for round in 0..12_u64 {
        let mut child = keeper
            .restore_command(&fleet, &file, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Waits for a moment that differs from round to round, or for the end.
        let (mut looks, last) = (0, round * 4);
        until("a moment to kill it", Duration::from_secs(30), || {
            looks += 1;
            looks > last || child.try_wait().unwrap().is_some()
        });
        drop(child.kill());
        child.wait().unwrap();
        if state.exists() {
            assert!(state.join("fleet.json").exists() && state.join("state.db").exists());
            fs::remove_dir_all(&state).unwrap();
        }
    }
    keeper.restore(&fleet, &file, &[]).expect_code(0);
    assert!(!state.with_file_name("state.restoring").exists());
    fleet.start_aggregator();
    assert_eq!(fleet.api.get("/api/v1/audit/verify").json()["intact"], true);
}

#[test]
fn receipts_without_their_objects_are_told_and_taken_again() {
    let aggregator_settings = "[backup]\nfree_floor_bytes = 0\nquota_bytes = 67108864".to_owned();
    let mut fleet = LocalFleet::with(FleetOptions { aggregator_settings, ..FleetOptions::default() });
    let keeper = Keeper::new();
    keeper.settle(&fleet);
    let token = fleet.enrollment_token(&json!({}), 1);
    fleet.write_agent_settings("a", "");
    fleet.enroll("a", &token).ok();
    let connect =
        |fleet: &LocalFleet| store_backend(&fleet.node_path("a", "state"), Duration::from_secs(60)).unwrap();
    let (pack, snapshot) = (b"a pack".as_slice(), b"a snapshot".as_slice());
    let stored = Object::new(ObjectKind::Pack, ObjectId::of(pack));
    let backend = connect(&fleet);
    backend.put(stored, pack).unwrap();
    backend.append(ObjectId::of(snapshot), snapshot, &BTreeSet::from([stored.id]), None).unwrap();
    drop(backend);
    let file = back_up(&fleet);
    lose(&mut fleet);
    keeper.restore(&fleet, &file, &[]).expect_code(0);
    fleet.start_aggregator();
    let actions = actions(&fleet);
    for action in ["backup.damage", "backup.hold"] {
        assert!(actions.iter().any(|found| found == action), "an alarm is raised: {actions:?}");
    }
    let backend = connect(&fleet);
    assert!(backend.get(stored, None).is_err(), "nothing is made up");
    backend.put(stored, pack).unwrap();
    assert_eq!(backend.get(stored, None).unwrap(), pack);
}
