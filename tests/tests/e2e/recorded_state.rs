//! What each release left on disk, opened by the programs of today: `tests/compat/state/RELEASE.tar.gz`.
//!
//! A recording is the folder of a real fleet that was stopped: state of the aggregator, of agents and stewards, and the
//! operator's own files. `make record` adds that of the release at hand; none is ever changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use campanile_cli::fleet::ESCROW_FILE;
use campanile_common::id::OrderId;
use campanile_tests::formats::Formats;
use campanile_tests::support::{AGGREGATOR, FleetOptions, LocalFleet, Output, patience, program, run, until};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::backup_run::{assert_same, below};
use super::config::Configured;

/// Two that run, and one that was retired.
const NODES: [&str; 2] = ["web-1", "db-1"];
const RETIRED: &str = "old-1";
/// What the recording says of itself, for the test.
const FACTS: &str = "facts.json";
/// Orders that are over are kept so long.
const ORDERS_KEPT: Duration = Duration::from_secs(30 * 86_400);

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/state")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The list of what the code of a release wrote.
fn archive_formats(release: &str) -> PathBuf {
    recordings().join(format!("{release}.formats"))
}

fn options() -> FleetOptions {
    let aggregator_settings = "[backup]\nfree_floor_bytes = 0\n".to_owned();
    let config_settings = "check_interval_s = 1".to_owned();
    FleetOptions { aggregator_settings, config_settings, ..FleetOptions::default() }
}

/// Whose recovery key reads the self-backup.
fn recovery_key(fleet: &LocalFleet) -> PathBuf {
    fleet.path("recovery-key.txt")
}

fn backup(configured: &Configured, arguments: &[&str]) -> Output {
    let arguments: Vec<&str> = [&["backup"][..], arguments].concat();
    run(&mut configured.fleet.agent_command("web-1", &arguments), "")
}

/// Has `web-1` back up its folder.
fn layer(fleet: &LocalFleet) -> String {
    let escrow = fs::read_to_string(fleet.path("operator").join(ESCROW_FILE)).unwrap();
    format!(
        "selector = \"role=web\"\n[backup.etc]\npaths = [{:?}]\nschedule = \"30 2 * * *\"\n\
         keep = {{ last = 3 }}\nescrow = [{:?}]\n",
        fleet.node_path("web-1", "files"),
        escrow.lines().find(|line| line.starts_with("age1")).unwrap()
    )
}

fn aggregator(fleet: &LocalFleet, arguments: &[&str]) -> Output {
    let mut command = Command::new(program(AGGREGATOR));
    command.args(arguments).arg("--config").arg(fleet.path("aggregator.toml"));
    run(&mut command, "")
}

/// Orders a command under the authority in force, whose second version it is.
fn order(fleet: &LocalFleet, nodes: &[&str], argv: &[&str]) -> OrderId {
    let mut order = fleet.order_to_run(nodes, argv, Duration::from_secs(60));
    order.authority_version = fleet.api.get("/api/v1/authority").json()["version"].as_u64().unwrap();
    let signed = order.sign(&[&fleet.operator_key()]).unwrap();
    let answer = fleet.submit(&signed, json!({})).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text);
    order.id
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// What both the release that recorded and that of today must say alike.
fn told(fleet: &LocalFleet) -> Value {
    let get = |path: &str| fleet.api.get(path).json();
    let pick = |list: &Value, fields: &[&str]| -> Vec<Value> {
        let items = list["items"].as_array().unwrap_or_else(|| panic!("no items in {list}"));
        let mut rows: Vec<Value> =
            items.iter().map(|item| fields.iter().map(|field| item[*field].clone()).collect()).collect();
        rows.sort_by_key(Value::to_string);
        rows
    };
    let log: Value = fleet.campanile(&["config", "log", "-o", "json"]).json();
    let operators: Value = fleet.campanile(&["operator", "ls", "-o", "json"]).json();
    json!({
        "nodes": pick(&get("/api/v1/nodes?state=all"), &["nodeId", "name", "labels", "state", "enrolledAt"]),
        "people": pick(&get("/api/v1/people"), &["name", "grants"]),
        "schedules": pick(&get("/api/v1/schedules"), &["name", "when", "timeZone", "orderId", "nodes"]),
        "generations": log.as_array().unwrap().iter().map(|one| json!([one["number"], one["digest"], one["message"]]))
            .collect::<Vec<_>>(),
        "floor": get("/api/v1/backups/floor")["days"],
        "catalogue": get("/api/v1/catalogue")["version"],
        "operators": operators["operators"],
        "authority": operators["version"],
    })
}

/// Makes a fleet with something of everything.
fn found() -> (Configured, Value) {
    let mut configured =
        Configured::start_with(&[("web-1", "web"), ("db-1", "db"), (RETIRED, "db")], options());
    let files = configured.fleet.node_path("web-1", "files");
    for number in 0..12 {
        fs::create_dir_all(files.join(format!("dir{}", number % 3))).unwrap();
        fs::write(
            files.join(format!("dir{}/file{number}", number % 3)),
            format!("of file {number}\n").repeat(40),
        )
        .unwrap();
    }
    let ada = |line: &[&str]| configured.command(line, "").expect_code(0);
    ada(&["people", "add", "bob", "--role", "operator", "-l", "role=web"]);
    let catalogue = configured.fleet.path("catalogue.toml");
    fs::write(&catalogue, "[commands.kernel]\ndescription = \"Which kernel\"\nargv = [\"uname\", \"-s\"]\n")
        .unwrap();
    ada(&["catalogue", "push", catalogue.to_str().unwrap(), "--yes"]);
    ada(&["operator", "threshold", "critical", "1", "--yes"]);
    ada(&["backup", "floor", "set", "45", "--yes"]);
    ada(&[
        "schedule",
        "add",
        "nightly",
        "--when",
        "30 3 * * *",
        "--for",
        "365d",
        "-l",
        "role=db",
        "--",
        "/bin/true",
    ]);
    configured.apply(&["-m", "first"]).expect_code(0);
    configured.write("groups/web.toml", &layer(&configured.fleet));
    configured.apply(&["-m", "second"]).expect_code(0);
    for _ in 0..2 {
        assert_eq!(backup(&configured, &["run", "--policy", "etc"]).code, Some(0));
    }
    let fine = order(&configured.fleet, &NODES, &["/bin/sh", "-c", "echo recorded"]);
    let failed = order(&configured.fleet, &["db-1"], &["/bin/false"]);
    for one in [fine, failed] {
        configured.fleet.await_order(one);
    }
    configured.fleet.campanile(&["node", "retire", RETIRED, "--yes"]).ok();
    let identity = age::x25519::Identity::generate();
    let key = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    fs::write(recovery_key(&configured.fleet), format!("{key}\n")).unwrap();
    let (recipient, copies) = (identity.to_public(), configured.fleet.path("copies"));
    let drop_in = format!("[self_backup]\nrecipients = [\"{recipient}\"]\ndir = {copies:?}\n");
    fs::create_dir_all(configured.fleet.path("aggregator.d")).unwrap();
    fs::write(configured.fleet.path("aggregator.d/self-backup.toml"), drop_in).unwrap();
    let own = configured.fleet.path("self-backup.age");
    aggregator(&configured.fleet, &["backup", "--to", own.to_str().unwrap()]).ok();
    // Where a recording is opened, no more are made.
    fs::remove_dir_all(configured.fleet.path("aggregator.d")).unwrap();
    let facts = json!({
        "release": env!("CARGO_PKG_VERSION"),
        "recordedAt": now(),
        "told": told(&configured.fleet),
        "orders": { "fine": fine.to_string(), "failed": failed.to_string() },
        "files": files,
    });
    until("agents keep a checkpoint", patience(Duration::from_secs(90)), || {
        NODES.iter().all(|node| configured.fleet.node_path(node, "state/checkpoints.jsonl").exists())
    });
    // Without an aggregator the agents spool: that too is state.
    configured.fleet.aggregator().stop();
    let spool = configured.fleet.node_path("web-1", "state/spool");
    until("something is spooled", patience(Duration::from_secs(30)), || {
        fs::read_dir(&spool).is_ok_and(|entries| entries.count() > 0)
    });
    for node in NODES.into_iter().chain([RETIRED]) {
        configured.fleet.agent(node).stop();
        configured.fleet.steward(node).stop();
    }
    (configured, facts)
}

#[test]
#[ignore = "records the state of this release: `make record`"]
fn record() {
    let (configured, facts) = found();
    let fleet = &configured.fleet;
    fs::write(fleet.path(FACTS), serde_json::to_vec_pretty(&facts).unwrap()).unwrap();
    let archive = recordings().join(format!("{}.tar.gz", env!("CARGO_PKG_VERSION")));
    fs::create_dir_all(recordings()).unwrap();
    assert!(!archive.exists(), "{} is there; a recording is never changed", archive.display());
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--exclude=*.sock", "--exclude=*.log", "--exclude=*.lock.new", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(fleet.path(""))
        .arg(".");
    run(&mut tar, "").ok();
    fs::write(archive_formats(env!("CARGO_PKG_VERSION")), Formats::of_code(&root()).to_text()).unwrap();
    println!("{}: {} bytes", archive.display(), fs::metadata(&archive).unwrap().len());
}

/// A recording, unpacked where nothing of today is.
fn unpacked(archive: &Path) -> (TempDir, Value) {
    let folder = tempfile::Builder::new().prefix("campanile-e2e-").tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--no-same-owner", "--file"]).arg(archive);
    run(tar.arg("--directory").arg(folder.path()), "").ok();
    let facts = serde_json::from_slice(&fs::read(folder.path().join(FACTS)).unwrap()).unwrap();
    (folder, facts)
}

/// The recordings, oldest first.
fn archives() -> Vec<PathBuf> {
    let entries = fs::read_dir(recordings()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.to_string_lossy().ends_with(".tar.gz")).collect();
    found.sort();
    assert!(!found.is_empty(), "no recording in {}", recordings().display());
    found
}

/// The state of each release in turn.
fn each(check: impl Fn(Configured, &Value)) {
    for archive in archives() {
        println!("{}", archive.display());
        let (folder, facts) = unpacked(&archive);
        let fleet = LocalFleet::adopted(folder, &NODES, options());
        check(Configured::of(fleet, &NODES), &facts);
    }
}

#[test]
fn a_format_that_rose_since_a_release_raised_the_number_of_its_folder() {
    let now = Formats::of_code(&root());
    assert!(now.files.len() > 10, "{now:?}");
    for archive in archives() {
        let release = archive.file_name().unwrap().to_string_lossy().replace(".tar.gz", "");
        let recorded = fs::read_to_string(archive_formats(&release)).unwrap();
        let wrong = now.misses_since(&Formats::parse(&recorded).unwrap());
        assert!(wrong.is_empty(), "since {release}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn the_state_of_each_release_is_served_by_this_one() {
    each(|mut configured, facts| {
        configured.fleet.start_aggregator();
        assert_eq!(told(&configured.fleet), facts["told"]);
        assert!(configured.fleet.campanile(&["audit", "verify"]).ok().contains("intact"));
        for node in NODES {
            configured.fleet.run_agent(node);
        }
        for node in NODES {
            configured.fleet.wait_liveness(node, "online");
        }
        let earlier = facts["orders"]["fine"].as_str().unwrap().parse().unwrap();
        if now() < facts["recordedAt"].as_u64().unwrap() + ORDERS_KEPT.as_secs() - 3600 {
            let (_, targets) = configured.fleet.order_targets(earlier);
            assert!(targets.len() == NODES.len() && targets.values().all(|target| target["state"] == "ok"));
        }
        // The stewards know the authority, the generation, and each order that they were given.
        let again = order(&configured.fleet, &NODES, &["/bin/sh", "-c", "echo today"]);
        let targets = configured.fleet.await_order(again);
        assert!(targets.values().all(|target| target["state"] == "ok"), "{targets:?}");
        until("every node tells its generation", patience(Duration::from_secs(30)), || {
            configured.command(&["config", "status"], "").code == Some(0)
        });
        configured.write("fleet.toml", "[file.\"/etc/motd\"]\ncontent = \"today\\n\"\n");
        configured.apply(&["-m", "by this release"]).expect_code(0);
        assert_eq!(configured.motd("web-1"), "today\n");
        let audit = configured.fleet.campanile(&["audit", "verify"]).ok();
        assert!(audit.contains("intact"), "{audit}");
        until("what was spooled arrives", patience(Duration::from_secs(60)), || {
            let spool = configured.fleet.node_path("web-1", "state/spool");
            fs::read_dir(spool).is_ok_and(|mut entries| {
                entries.all(|entry| {
                    entry.is_ok_and(|entry| entry.metadata().is_ok_and(|found| found.len() < 4096))
                })
            })
        });
    });
}

#[test]
fn backups_of_each_release_are_read_and_added_to_by_this_one() {
    each(|mut configured, facts| {
        configured.fleet.start_aggregator();
        configured.fleet.run_agent("web-1");
        configured.fleet.wait_liveness("web-1", "online");
        backup(&configured, &["check"]).ok();
        let to = configured.fleet.path("restored");
        backup(&configured, &["restore", "latest", "--to", to.to_str().unwrap()]).ok();
        let files = configured.fleet.node_path("web-1", "files");
        assert_same(&files, &below(&to, Path::new(facts["files"].as_str().unwrap())));
        configured.write("groups/web.toml", &layer(&configured.fleet));
        configured.config("apply", &["--yes", "-l", "role=web", "-m", "its folder moved"]).expect_code(0);
        backup(&configured, &["run", "--policy", "etc"]).ok();
        backup(&configured, &["check"]).ok();
    });
}

#[test]
fn the_self_backup_of_each_release_is_restored_by_this_one() {
    each(|mut configured, _| {
        let fleet = &mut configured.fleet;
        fs::rename(fleet.path("state"), fleet.path("state-lost")).unwrap();
        let (file, key) = (fleet.path("self-backup.age"), recovery_key(fleet));
        let (file, key) = (file.to_str().unwrap(), key.to_str().unwrap());
        aggregator(fleet, &["restore", file, "--identity", key, "--check"]).ok();
        assert!(!fleet.path("state").exists(), "a check writes nothing");
        aggregator(fleet, &["restore", file, "--identity", key]).ok();
        fleet.start_aggregator();
        // What the backup has of tokens is older than the one that the test made for itself.
        let token = aggregator(fleet, &["api-token", "--name", "after", "--role", "admin"]).ok();
        let list = fleet.campanile_as(token.trim(), &["node", "ls", "-o", "json"]).json();
        let names: Vec<&str> =
            list.as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
        assert!(NODES.iter().all(|node| names.contains(node)), "{names:?}");
        for node in NODES {
            fleet.run_agent(node);
        }
        until("its agents come back by themselves", patience(Duration::from_secs(60)), || {
            let list = fleet.campanile_as(token.trim(), &["node", "ls", "-o", "json"]).json();
            list.as_array().is_some_and(|nodes| nodes.iter().all(|node| node["liveness"] == "online"))
        });
    });
}

/// Every file below a folder with its bytes, but for locks.
fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if path.extension().is_none_or(|extension| extension != "lock") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn programs_refuse_what_a_newer_release_left_and_write_nothing() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    fleet.agent("a").stop();
    fleet.steward("a").stop();
    fleet.aggregator().stop();
    for (folder, verb) in [("state", "run"), ("steward", "steward")] {
        let folder = fleet.node_path("a", folder);
        let mark = folder.join("release.json");
        assert!(fs::read_to_string(&mark).unwrap().contains(env!("CARGO_PKG_VERSION")));
        fs::write(&mark, r#"{"level":99,"release":"9.9.9"}"#).unwrap();
        let before = files_below(&folder);
        let refused = run(&mut fleet.agent_command("a", &[verb]), "").expect_code(1);
        assert!(refused.err.contains("install 9.9.9 again"), "{}", refused.err);
        assert_eq!(files_below(&folder), before);
    }
    let store = fleet.path("state/state.db");
    let mut bytes = fs::read(&store).unwrap();
    // Where SQLite keeps the number of the schema.
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&store, bytes).unwrap();
    let before = files_below(&fleet.path("state"));
    for arguments in [&["serve"][..], &["api-token", "--name", "x", "--role", "viewer"]] {
        let refused = aggregator(&fleet, arguments).expect_code(1);
        assert!(refused.err.contains("(schema 99)"), "{}", refused.err);
        assert_eq!(files_below(&fleet.path("state")), before);
    }
}
