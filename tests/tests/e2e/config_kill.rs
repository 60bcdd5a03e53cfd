//! Processes killed in the middle of an apply, all of them real: an order goes on where its aggregator died, and a node
//! whose agent or steward died is all old or all new.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use campanile_tests::random::{Random, seed};
use campanile_tests::support::{CAMPANILE, LocalFleet, Output, patience, program, run, until};
use serde_json::Value;

const NODES: [&str; 6] = ["n1", "n2", "n3", "n4", "n5", "n6"];
/// Files of the bundle whose applies are killed.
const FILES: u64 = 6;
/// Lines of a journal of an apply: its head, an item and a step for each file and the command, and its end.
const JOURNAL_LINES: u64 = 1 + 2 * (FILES + 1) + 1;
const KILLS: u64 = 30;

/// `config apply` as the operator, beside the test.
fn apply(fleet: &LocalFleet, more: &[&str]) -> JoinHandle<Output> {
    let mut command = Command::new(program(CAMPANILE));
    command
        .args(["config", "apply", fleet.path("bundle").to_str().unwrap(), "--yes", "-o", "json"])
        .args(more)
        .env("CAMPANILE_URL", format!("https://127.0.0.1:{}", fleet.port()))
        .env("CAMPANILE_CA", fleet.path("operator/ca.pem"))
        .env("CAMPANILE_TOKEN", fleet.api_token())
        .env("CAMPANILE_CONFIG_DIR", fleet.path("operator"))
        .env("CAMPANILE_PASSPHRASE_FILE", fleet.path("passphrase"));
    thread::spawn(move || run(&mut command, ""))
}

/// A command of a bundle that leaves a line in a file of its own at each run.
fn counting(file: &Path) -> String {
    let script = format!("echo ran >> {}", file.display());
    format!("[command.count]\nrun = [\"/bin/sh\", \"-c\", {script:?}]\nunless = [\"/bin/false\"]\n")
}

#[test]
fn an_aggregator_that_is_killed_between_waves_goes_on_with_them_and_no_node_gets_it_twice() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&NODES);
    fs::create_dir_all(fleet.path("bundle/nodes")).unwrap();
    fs::write(fleet.path("bundle/fleet.toml"), "[file.\"/etc/motd\"]\ncontent = \"new\\n\"\n").unwrap();
    let runs = |fleet: &LocalFleet, node: &str| {
        let text = fs::read_to_string(fleet.path(&format!("{node}.runs")));
        text.map_or(0, |text| text.lines().count())
    };
    for node in NODES {
        let count = counting(&fleet.path(&format!("{node}.runs")));
        fs::write(fleet.path(&format!("bundle/nodes/{node}.toml")), count).unwrap();
    }
    let applying = apply(&fleet, &["--canary", "1", "--batch", "2", "--wave-pause", "1s"]);
    // After the canary, and after the second wave of two.
    for reached in [1, 5] {
        until("a wave is reached", patience(Duration::from_secs(30)), || {
            NODES.iter().filter(|node| runs(&fleet, node) > 0).count() >= reached || applying.is_finished()
        });
        assert!(!applying.is_finished(), "it ended before it was killed: {:?}", applying.join());
        fleet.aggregator().kill();
        fleet.start_aggregator();
    }
    let applied = applying.join().unwrap().expect_code(0);
    let told: Value = serde_json::from_str(&applied.out).unwrap();
    let fates: Vec<(&str, &str)> = told["nodes"].as_array().unwrap().iter().map(fate).collect();
    assert_eq!(fates, NODES.map(|node| (node, "applied")), "{}", applied.out);
    for node in NODES {
        let motd = fs::read_to_string(fleet.node_path(node, "root/etc/motd")).unwrap();
        assert_eq!((motd.as_str(), runs(&fleet, node)), ("new\n", 1), "{node}");
    }
    let order = told["orderId"].as_str().unwrap().parse().unwrap();
    let (order, _) = fleet.order_targets(order);
    assert_eq!((&order["state"], &order["counts"]["ok"]), (&"done".into(), &6.into()), "{order}");
}

fn fate(node: &Value) -> (&str, &str) {
    (node["name"].as_str().unwrap(), node["fate"].as_str().unwrap())
}

/// The node whose processes are killed.
const NODE: &str = "n1";

/// Everything below a folder: links by where they lead, files by their bytes, folders by nothing.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, Vec::new());
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// A bundle of files that all have this text, and of a command in their midst.
fn write_bundle(fleet: &LocalFleet, text: &str) {
    let mut bundle = counting(&fleet.path("runs")) + "after = [\"file:/etc/kept/2\"]\n";
    for number in 0..FILES {
        bundle.push_str(&format!("[file.\"/etc/kept/{number}\"]\ncontent = \"{text} {number}\\n\"\n"));
    }
    bundle.push_str("[directory.\"/etc/kept\"]\n");
    fs::create_dir_all(fleet.path("bundle")).unwrap();
    fs::write(fleet.path("bundle/fleet.toml"), bundle).unwrap();
}

fn is_new(fleet: &LocalFleet, text: &str) -> bool {
    (0..FILES).all(|number| {
        let path = fleet.node_path(NODE, &format!("root/etc/kept/{number}"));
        fs::read_to_string(path).is_ok_and(|found| found == format!("{text} {number}\n"))
    })
}

/// Kills the steward, the agent or both, and starts them again.
fn kill(fleet: &mut LocalFleet, which: u64) {
    if which != 1 {
        fleet.steward(NODE).kill();
    }
    if which != 0 {
        fleet.agent(NODE).kill();
    }
    if which != 1 {
        fleet.run_steward(NODE);
    }
    if which != 0 {
        fleet.run_agent(NODE);
    }
}

#[test]
fn a_node_whose_agent_or_steward_is_killed_at_any_step_of_an_apply_is_all_old_or_all_new() {
    let seed = seed();
    eprintln!("CAMPANILE_SEED={seed}");
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&[NODE]);
    write_bundle(&fleet, "first");
    apply(&fleet, &[]).join().unwrap().expect_code(0);
    let config = fleet.node_path(NODE, "steward/config");
    let (journal, root) = (config.join("undo/journal"), fleet.node_path(NODE, "root"));
    let (mut midway, mut fresh) = (0, 0);
    for round in 0..KILLS {
        let mut random = Random::of_case(seed, round);
        let (before, text) = (tree(&root), format!("round {round}"));
        write_bundle(&fleet, &text);
        let is_confirmed = random.below(3) == 0;
        let more = ["--confirm", "--confirm-within", "30s"];
        let applying = apply(&fleet, if is_confirmed { &more } else { &[] });
        let lines = random.below(JOURNAL_LINES + 1);
        until("the apply has come so far", patience(Duration::from_secs(30)), || {
            let now = fs::read_to_string(&journal).map(|text| text.lines().count());
            now.is_ok_and(|now| u64::try_from(now).unwrap() >= lines) || applying.is_finished()
        });
        thread::sleep(Duration::from_micros(random.below(20_000)));
        midway += u64::from(journal.exists());
        kill(&mut fleet, random.below(3));
        let applied = applying.join().unwrap();
        until("the node has come to an end", patience(Duration::from_secs(30)), || {
            let state = fs::read_to_string(config.join("state.json")).unwrap_or_default();
            let is_under_way = ["\"Applying\"", "\"Confirming\""].iter().any(|phase| state.contains(phase));
            !journal.exists() && !is_under_way
        });
        let (after, is_new) = (tree(&root), is_new(&fleet, &text));
        let said = format!("CAMPANILE_SEED={seed}, round {round}: {}\n{}", applied.out, applied.err);
        assert!(is_new || after == before, "neither old nor new: {said}");
        match applied.code {
            Some(0) => assert!(is_new, "{said}"),
            Some(3 | 7) => assert!(after == before, "{said}"),
            _ => panic!("{said}"),
        }
        fresh += u64::from(is_new);
    }
    eprintln!("{KILLS} kills, {midway} in the middle of an apply; {fresh} applies came to their end");
    assert!(midway >= KILLS / 4, "the kills must hit the middle of applies, {midway} did");
}
