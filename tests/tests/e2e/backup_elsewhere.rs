//! What a node saved, on another one: a rebuild, a restore, one file; and who reads what meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use campanile_agent::app::store_backend;
use campanile_agent::config::sealing::Identity;
use campanile_agent::link::StoreBackend;
use campanile_backup::backend::{Backend as _, BackendError, Object, ObjectKind};
use campanile_backup::id::ObjectId;
use campanile_common::id::NodeId;
use campanile_tests::support::{CAMPANILE, FleetOptions, Output, patience, program, run, until};
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::backup_run::{assert_same, below, noise};
use super::config::Configured;

const OLD: &str = "web-1";
const NEW: &str = "spare";
/// In files that are saved: nowhere else may it be found in clear.
const CANARY: &str = "CANARY-5e11ed";

/// A fleet in which a node saved two policies, `data` and `etc`.
struct Saved {
    configured: Configured,
    escrow: Identity,
}

impl Saved {
    fn start() -> Self {
        let aggregator_settings = "[backup]\nfree_floor_bytes = 0".to_owned();
        let options = FleetOptions { aggregator_settings, ..FleetOptions::default() };
        let configured = Configured::start_with(&[(OLD, "web")], options);
        let escrow = Identity::load_or_create(&configured.fleet.path("escrow.key")).unwrap();
        let saved = Self { configured, escrow };
        for (folder, count) in [("data", 300), ("etc", 40)] {
            for number in 0..count {
                let place = saved.files(folder).join(format!("dir{}", number % 7));
                fs::create_dir_all(&place).unwrap();
                fs::write(place.join(format!("file{number}")), noise(9_000, number)).unwrap();
            }
        }
        fs::write(saved.files("etc").join("secret"), CANARY).unwrap();
        fs::write(saved.files("etc").join("large"), noise(2 << 20, 7)).unwrap();
        // The command that looks at what was restored lasts until the test lets it end.
        let script = format!(
            "test -s {{}}{0}/dir1/file1 && while [ ! -e {1} ]; do sleep 0.05; done",
            saved.files("data").display(),
            saved.gate().display()
        );
        // Where the fresh node will have what makes it itself.
        let planted = saved.planted();
        fs::create_dir_all(planted.parent().unwrap()).unwrap();
        fs::write(&planted, "of another node").unwrap();
        let policy = |name: &str, more: &str| {
            let paths = [saved.files(name), planted.clone()];
            let escrow = saved.escrow.recipient();
            format!(
                "[backup.{name}]\npaths = {paths:?}\nschedule = \"30 2 * * *\"\nkeep = {{ last = 3 }}\n\
                 escrow = [{escrow:?}]\n{more}\n"
            )
        };
        let drill =
            format!("drill = {{ schedule = \"45 2 * * *\", command = [\"sh\", \"-c\", {script:?}] }}");
        let layer = format!("selector = \"role=web\"\n{}{}", policy("data", &drill), policy("etc", ""));
        saved.configured.write("groups/web.toml", &layer);
        saved.configured.write("fleet.toml", "");
        saved.configured.apply(&["-m", "back up the web servers"]).expect_code(0);
        saved.campanile(&["backup", "run", OLD]).expect_code(0);
        fs::remove_dir_all(saved.configured.fleet.node_path(NEW, "")).unwrap();
        saved
    }

    fn campanile(&self, arguments: &[&str]) -> Output {
        self.configured.command(arguments, "")
    }

    /// Not below a node's own folder, which goes with the node.
    fn files(&self, name: &str) -> PathBuf {
        self.configured.fleet.path("files").join(name)
    }

    fn planted(&self) -> PathBuf {
        self.configured.fleet.node_path(NEW, "state/planted")
    }

    fn gate(&self) -> PathBuf {
        self.configured.fleet.path("gate")
    }

    fn escrow_path(&self) -> String {
        self.configured.fleet.path("escrow.key").to_str().unwrap().to_owned()
    }

    fn id(&self, node: &str) -> NodeId {
        self.configured.fleet.node(node)["nodeId"].as_str().unwrap().parse().unwrap()
    }

    /// The way of `node` to the store, as a thief would use it.
    fn thief(&self, node: &str) -> StoreBackend {
        store_backend(&self.configured.fleet.node_path(node, "state"), Duration::from_secs(20)).unwrap()
    }

    #[track_caller]
    fn assert_reads_nothing(&self, node: &str, of: NodeId) {
        let thief = self.thief(node).reading(of);
        for kind in [ObjectKind::Config, ObjectKind::Key, ObjectKind::Snapshot, ObjectKind::Pack] {
            let refused = thief.list(kind).unwrap_err();
            assert!(matches!(refused, BackendError::Refused { .. }), "{refused}");
        }
        let refused = thief.get(Object::CONFIG, None).unwrap_err();
        assert!(matches!(refused, BackendError::Refused { .. }), "{refused}");
    }

    /// Passwords of the node's key files, which nobody but the escrow identity opens.
    fn passwords(&self) -> Vec<String> {
        let keys = self.configured.fleet.api.get(&format!("/api/v1/backups/{OLD}/keys")).json();
        let keys = keys["items"].as_array().unwrap().clone();
        let open = |key: &Value| {
            let content = BASE64.decode(key["content"].as_str().unwrap().as_bytes()).unwrap();
            let file: Value = serde_json::from_slice(&content).unwrap();
            let armored = file["campanile_escrow"]["password"].as_str().unwrap();
            let body: String = armored.lines().filter(|line| !line.starts_with("-----")).collect();
            let opened = self.escrow.open(&BASE64.decode(body.as_bytes()).unwrap()).unwrap();
            String::from_utf8(opened.to_vec()).unwrap()
        };
        let passwords: Vec<String> = keys.iter().map(open).collect();
        assert!(!passwords.is_empty());
        passwords
    }

    /// No file of the aggregator, of a node, and no log has it.
    #[track_caller]
    fn assert_nowhere(&self, needle: &str) {
        let fleet = &self.configured.fleet;
        let mut logs: Vec<PathBuf> = vec![fleet.path("aggregator.log")];
        collect(&fleet.aggregator_state(), &mut logs);
        collect(&fleet.path("nodes"), &mut logs);
        for path in logs {
            let Ok(bytes) = fs::read(&path) else { continue };
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{} has {needle}", path.display());
        }
        let shown = fleet.api.get("/api/v1/orders?limit=1000").text;
        assert!(!shown.contains(needle), "an order shows it");
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => collect(&entry.path(), files),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

/// Content of every file by its path.
fn contents(folder: &Path) -> BTreeMap<PathBuf, ObjectId> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.into_iter().map(|path| (path.clone(), ObjectId::of(&fs::read(&path).unwrap()))).collect()
}

#[test]
fn a_fresh_node_takes_the_place_of_a_lost_one_and_reads_what_it_saved_for_as_long_as_that_lasts() {
    let mut saved = Saved::start();
    let (before, old) = (contents(&saved.configured.fleet.path("files")), saved.id(OLD));
    assert_eq!(before.len(), 342);
    let snapshots = saved.thief(OLD).list(ObjectKind::Snapshot).unwrap();
    // The machine is gone with all that it had.
    let fleet = &mut saved.configured.fleet;
    fleet.agent(OLD).kill();
    fleet.steward(OLD).kill();
    fs::remove_dir_all(fleet.node_path(OLD, "")).unwrap();
    fs::remove_dir_all(fleet.path("files")).unwrap();
    fleet.wait_liveness(OLD, "offline");
    saved.configured.add(NEW, "none");
    saved.configured.add("other", "none");
    saved.configured.fleet.wait_liveness(NEW, "online");
    saved.configured.fleet.wait_liveness("other", "online");

    let escrow = saved.escrow_path();
    let line = ["node", "rebuild", OLD, "--as", NEW, "--identity", &escrow];
    let plan = saved.campanile(&[&line[..], &["--dry-run"]].concat()).ok();
    assert!(plan.contains("role=web") && plan.contains("data, etc"), "{plan}");
    assert!(!saved.configured.fleet.path("files").exists(), "a plan changes nothing");
    saved.assert_reads_nothing(NEW, old);

    let rebuilt = rebuild_while_a_thief_tries(&saved, &line, old).json();
    let policies = rebuilt["policies"].as_array().unwrap();
    let results: Vec<_> =
        policies.iter().map(|one| (&one["policy"], &one["result"], &one["tried"])).collect();
    assert_eq!(
        results,
        [(&json!("data"), &json!("ok"), &json!("ok")), (&json!("etc"), &json!("ok"), &Value::Null),]
    );
    assert!(rebuilt["totalMs"].as_u64().unwrap() > 0 && rebuilt["soonEnoughMs"] == 900_000, "{rebuilt}");
    assert_eq!(contents(&saved.configured.fleet.path("files")), before);
    assert!(!saved.planted().exists(), "what makes a machine its node is left as it is");
    assert_eq!(saved.configured.fleet.node(NEW)["labels"]["role"], "web");

    saved.assert_reads_nothing(NEW, old);
    let kept = saved.configured.fleet.api.get(&format!("/api/v1/backups/{OLD}")).json();
    assert_eq!(kept["snapshots"], snapshots.len(), "{kept}");
    for password in saved.passwords() {
        saved.assert_nowhere(&password);
    }
}

/// Rebuilds; while the command looks at what was restored, others try what they can.
fn rebuild_while_a_thief_tries(saved: &Saved, line: &[&str], old: NodeId) -> Output {
    let mut command = Command::new(program(CAMPANILE));
    let fleet = &saved.configured.fleet;
    command
        .args(line)
        .args(["--yes", "-o", "json"])
        .env("CAMPANILE_URL", format!("https://127.0.0.1:{}", fleet.port()))
        .env("CAMPANILE_CA", fleet.path("operator/ca.pem"))
        .env("CAMPANILE_TOKEN", fleet.api_token())
        .env("CAMPANILE_CONFIG_DIR", fleet.path("operator"))
        .env("CAMPANILE_PASSPHRASE_FILE", fleet.path("passphrase"));
    std::thread::scope(|scope| {
        let rebuilding = scope.spawn(|| run(&mut command, ""));
        let is_restored = || saved.files("data").join("dir1/file1").exists() || rebuilding.is_finished();
        until("the policy is restored", patience(Duration::from_secs(60)), is_restored);
        if !rebuilding.is_finished() {
            let reader = saved.thief(NEW).reading(old);
            let packs = reader.list(ObjectKind::Pack).unwrap();
            assert!(
                !packs.is_empty() && reader.get(Object::CONFIG, None).is_ok(),
                "it reads what it restores"
            );
            let pack = Object::new(ObjectKind::Pack, packs[0].id);
            for refused in [reader.put(pack, b"x"), reader.remove(pack)] {
                let refused = refused.unwrap_err();
                assert!(matches!(refused, BackendError::Refused { .. }), "{refused}");
            }
            drop(reader);
            // A proposal names no node: it is about the own part, whatever it names.
            drop(saved.thief(NEW).remove(pack));
            assert!(saved.thief(NEW).reading(old).get(pack, None).is_ok());
            saved.assert_reads_nothing(NEW, saved.id("other"));
            saved.assert_reads_nothing("other", old);
        }
        fs::write(saved.gate(), "").unwrap();
        rebuilding.join().unwrap()
    })
}

#[test]
fn files_are_restored_on_another_node_and_one_is_printed_here_that_nobody_on_the_way_reads() {
    let mut saved = Saved::start();
    saved.configured.add(NEW, "none");
    saved.configured.fleet.wait_liveness(NEW, "online");
    let (to, escrow) = (saved.configured.fleet.path("restored"), saved.escrow_path());
    let etc = saved.files("etc");
    let line = ["restore", OLD, etc.to_str().unwrap(), "--policy", "etc", "--to-node", NEW, "--to"];
    let line = [&line[..], &[to.to_str().unwrap()]].concat();
    saved.campanile(&line).expect_code(2);
    let foreign = saved.configured.fleet.path("another.key");
    Identity::load_or_create(&foreign).unwrap();
    let wrong = saved.campanile(&[&line[..], &["--identity", foreign.to_str().unwrap()]].concat());
    assert!(wrong.err.contains("opens with this identity"), "{}", wrong.err);
    wrong.expect_code(1);
    let with_key = [&line[..], &["--identity", &escrow]].concat();
    // The sealing key is told once the steward has reported.
    until("the node told its sealing key", patience(Duration::from_secs(30)), || {
        let nodes = saved.configured.fleet.api.get("/api/v1/config/nodes").json();
        let nodes = nodes["items"].as_array().unwrap().clone();
        nodes.iter().any(|node| node["name"] == NEW && node["sealingKey"].is_string())
    });
    saved.campanile(&with_key).expect_code(0);
    assert_same(&etc, &below(&to, &etc));
    for password in saved.passwords() {
        saved.assert_nowhere(&password);
    }

    let (secret, large) = (etc.join("secret"), etc.join("large"));
    let cat =
        |path: &Path| saved.campanile(&["backup", "cat", OLD, path.to_str().unwrap(), "--policy", "etc"]);
    assert_eq!(cat(&secret).ok(), CANARY);
    saved.assert_nowhere(CANARY);
    let refused = cat(&large).expect_code(3);
    assert!(refused.err.contains("2.0 MiB") && refused.err.contains("--to DIR"), "{}", refused.err);
    assert_eq!(refused.out, "");
    cat(&etc.join("dir1")).expect_code(3);
}
