//! Backups as an operator sets them up and a node makes them: policy, runs, restores, and an aggregator that is away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use campanile_agent::app::store_backend;
use campanile_agent::config::sealing::Identity;
use campanile_backup::backend::{Backend as _, BackendError, Object, ObjectKind};
use campanile_tests::support::{FleetOptions, patience, run, until};
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::config::Configured;

pub(super) const NODE: &str = "web-1";
pub(super) const RUN: [&str; 3] = ["run", "--policy", "etc"];

/// How long an aggregator is away in the middle of a run, in seconds: longer than a connection may be silent.
/// `CAMPANILE_BACKUP_AWAY_S` for more; an hour is what a run has to outlive.
const AWAY_S: u64 = 15;

/// A fleet of one node with a policy `etc` of the folder `files`, put there by an operator.
pub(super) struct Backups {
    pub(super) configured: Configured,
    escrow: Identity,
}

/// How the program ended, and its lines.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    lines: Vec<Value>,
}

impl Ended {
    fn of(code: Option<i32>, out: &str) -> Self {
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.last().unwrap()["line"], "finished", "{out}");
        Self { code, lines }
    }

    /// The figures, of one that went well.
    #[track_caller]
    pub(super) fn fine(&self) -> &Value {
        let last = self.lines.last().unwrap();
        assert_eq!((self.code, &last["result"]), (Some(0), &json!("ok")), "{:?}", self.lines);
        &last["figures"]
    }

    pub(super) fn problems(&self) -> String {
        let problems = self.lines.iter().filter(|line| line["line"] == "problem");
        problems.map(|line| line["message"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }
}

impl Backups {
    fn start(policy: &str) -> Self {
        Self::start_with(policy, "")
    }

    /// With further lines of the aggregator's `[backup]`.
    pub(super) fn start_with(policy: &str, settings: &str) -> Self {
        let aggregator_settings = format!("[backup]\nfree_floor_bytes = 0\n{settings}");
        let options = FleetOptions { aggregator_settings, ..FleetOptions::default() };
        let configured = Configured::start_with(&[(NODE, "web")], options);
        let escrow = Identity::load_or_create(&configured.fleet.path("escrow.txt")).unwrap();
        let backups = Self { configured, escrow };
        for number in 0..40 {
            let folder = backups.files().join(format!("dir{}", number % 4));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("file{number}")), noise(20_000, number)).unwrap();
        }
        let layer = format!(
            "selector = \"role=web\"\n[backup.etc]\npaths = [{:?}]\nexclude = [\"*.tmp\"]\n\
             schedule = \"30 2 * * *\"\nescrow = [{:?}]\n{policy}\n",
            backups.files(),
            backups.escrow.recipient()
        );
        backups.configured.write("groups/web.toml", &layer);
        backups.configured.write("fleet.toml", "");
        backups.configured.config("lint", &[]).expect_code(0);
        backups.configured.apply(&["-m", "back up the web servers"]).expect_code(0);
        backups
    }

    fn files(&self) -> PathBuf {
        self.configured.fleet.node_path(NODE, "files")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let arguments: Vec<&str> = [&["backup"][..], arguments].concat();
        self.configured.fleet.agent_command(NODE, &arguments)
    }

    pub(super) fn backup(&self, arguments: &[&str]) -> Ended {
        let output = run(&mut self.command(arguments), "");
        Ended::of(output.code, &output.out)
    }

    /// A run that goes on beside the test.
    fn launch(&self) -> Child {
        self.command(&RUN).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// The node's folder in the aggregator's store.
    pub(super) fn store(&self) -> PathBuf {
        let id = self.configured.fleet.node(NODE)["nodeId"].as_str().unwrap().to_owned();
        self.configured.fleet.aggregator_state().join("backup").join(id)
    }

    pub(super) fn count(&self, folder: &str) -> usize {
        files(&self.store().join(folder))
    }

    /// A day has passed, as far as keep rules know.
    fn a_day_later(&self) {
        fs::remove_file(self.configured.fleet.node_path(NODE, "steward/backup/kept/etc.json")).unwrap();
    }

    /// Restores the newest snapshot and compares.
    #[track_caller]
    pub(super) fn assert_restores(&self, name: &str) {
        let to = self.configured.fleet.path(name);
        self.backup(&["restore", "latest", "--to", to.to_str().unwrap()]).fine();
        assert_same(&self.files(), &below(&to, &self.files()));
    }

    /// Stock restic on the store's own folder, with the password that the escrow identity opens.
    fn restic(&self, arguments: &[&str]) -> String {
        let keys = fs::read_dir(self.store().join("keys")).unwrap();
        let passwords = keys.filter_map(|key| {
            let key: Value = serde_json::from_slice(&fs::read(key.unwrap().path()).unwrap()).unwrap();
            let armored = key["campanile_escrow"]["password"].as_str().unwrap();
            let body: String = armored.lines().filter(|line| !line.starts_with("-----")).collect();
            self.escrow.open(&BASE64.decode(body.as_bytes()).unwrap()).ok()
        });
        let password = String::from_utf8(passwords.last().unwrap().to_vec()).unwrap();
        let mut restic = Command::new("restic");
        restic.args(["--no-cache", "--no-lock", "-r"]).arg(self.store()).args(arguments);
        run(restic.env("RESTIC_PASSWORD", password), "").ok()
    }
}

pub(super) fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |entry: fs::DirEntry| if entry.path().is_dir() { files(&entry.path()) } else { 1 };
    entries.map(|entry| count(entry.unwrap())).sum()
}

pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

#[track_caller]
pub(super) fn assert_same(left: &Path, right: &Path) {
    run(Command::new("diff").arg("-r").args([left, right]), "").ok();
}

#[test]
fn an_applied_policy_is_saved_listed_checked_and_restored_by_the_node_and_by_stock_restic() {
    let backups = Backups::start("keep = { last = 1 }");
    let first = backups.backup(&RUN);
    assert_eq!((&first.fine()["files"], &first.fine()["filesNew"]), (&json!(40), &json!(40)));
    let second = backups.backup(&RUN);
    let figures = second.fine();
    assert_eq!((&figures["filesUnchanged"], backups.count("snapshots")), (&json!(40), 2));
    // Folders above the saved one, such as that of temporary files, change at any time.
    assert!(figures["addedBytes"].as_u64().unwrap() < 20_000, "{figures}");
    // All is written anew: the next snapshot needs less than is there.
    for number in 0..40 {
        let path = backups.files().join(format!("dir{}/file{number}", number % 4));
        fs::write(path, noise(20_000, 1000 + number)).unwrap();
    }
    fs::write(backups.files().join("left-out.tmp"), "").unwrap();
    let third = backups.backup(&RUN);
    third.fine();
    let snapshot = third.lines.last().unwrap()["snapshot"].as_str().unwrap();
    let closure = fs::read(backups.store().join("closures").join(snapshot)).unwrap();
    let (needed, there) = (closure.len() / 32, backups.count("data"));
    assert!(needed >= 2 && needed + 2 <= there, "it needs {needed} of {there} packs");
    fs::remove_file(backups.files().join("left-out.tmp")).unwrap();

    let listed = backups.backup(&["list"]);
    assert_eq!(listed.fine()["files"], 3);
    let check = backups.backup(&["check"]);
    assert_eq!(check.fine()["storedBytes"], check.fine()["ofBytes"]);
    backups.assert_restores("restored");
    assert!(backups.restic(&["check", "--read-data"]).contains("no errors were found"));
    let to = backups.configured.fleet.path("by-restic");
    backups.restic(&["restore", "latest", "--target", to.to_str().unwrap()]);
    assert_same(&backups.files(), &below(&to, &backups.files()));
}

#[test]
fn keep_rules_propose_and_what_the_store_keeps_or_holds_is_told() {
    let backups = Backups::start("keep = { last = 1 }");
    backups.backup(&RUN).fine();
    backups.backup(&RUN).fine();
    backups.a_day_later();
    let third = backups.backup(&RUN);
    assert_eq!((&third.fine()["forgotten"], &third.fine()["stays"]), (&json!(0), &json!(2)));
    assert_eq!((third.problems().as_str(), backups.count("snapshots")), ("", 3));
    // A thief asks for the newest: from then on all waits until somebody has looked.
    let state = backups.configured.fleet.node_path(NODE, "state");
    let thief = store_backend(&state, Duration::from_secs(60)).unwrap();
    let newest = third.lines.last().unwrap()["snapshot"].as_str().unwrap().parse().unwrap();
    let refused = thief.remove(Object::new(ObjectKind::Snapshot, newest)).unwrap_err();
    assert!(matches!(refused, BackendError::Refused { .. }), "{refused}");
    drop(thief);
    backups.a_day_later();
    let held = backups.backup(&RUN);
    assert_eq!(held.fine()["forgotten"], 0);
    assert!(held.problems().contains("until a person has looked"), "{}", held.problems());
    assert_eq!(backups.count("snapshots"), 4);
}

#[test]
fn a_run_outlives_an_aggregator_that_is_killed_in_the_middle_of_it_and_away_for_a_while() {
    let mut backups = Backups::start("keep = { last = 1 }\nread_limit = \"16 MiB/s\"");
    for number in 0..16 {
        fs::write(backups.files().join(format!("large{number}")), noise(4 << 20, 500 + number)).unwrap();
    }
    let child = backups.launch();
    // It has the lowest priority: on a busy machine it takes its time.
    until("something is stored", patience(Duration::from_secs(60)), || backups.count("data") > 0);
    let fleet = &mut backups.configured.fleet;
    fleet.aggregator().kill();
    let away = std::env::var("CAMPANILE_BACKUP_AWAY_S").map_or(AWAY_S, |text| text.parse().unwrap());
    std::thread::sleep(Duration::from_secs(away));
    fleet.start_aggregator();
    let output = child.wait_with_output().unwrap();
    let ended = Ended::of(output.status.code(), &String::from_utf8(output.stdout).unwrap());
    assert_eq!(ended.fine()["files"], 56);
    backups.backup(&["check"]).fine();
    backups.assert_restores("restored");
}

#[test]
fn a_node_that_was_retired_is_told_so() {
    let backups = Backups::start("keep = { last = 1 }");
    backups.backup(&RUN).fine();
    backups.configured.fleet.api.call("POST", &format!("/api/v1/nodes/{NODE}/retire"), &json!({}));
    let refused = backups.backup(&RUN);
    assert_eq!(refused.code, Some(1));
    assert_eq!(refused.lines.last().unwrap()["result"], "failed");
    let problems = refused.problems();
    assert!(problems.contains("refuses this node") && problems.contains("enroll"), "{problems}");
}
