//! A node that its configuration cuts off takes the change back by itself: a real firewall in a network of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use campanile_tests::support::{FleetOptions, LocalFleet, patience, until};

/// Names the part of the test that runs within the network of its own.
const INNER: &str = "config_lockout::within_a_network_of_its_own";
/// Longer than the aggregator waits for a node that is out of reach for any other reason.
const WINDOW: &str = "20s";
/// Drops every packet, that of the loopback too.
const DROP_ALL: &str = r#"
[firewall."inet/lockout"]
rules = """
chain input { type filter hook input priority 0; policy drop; }
chain output { type filter hook output priority 0; policy drop; }
"""
"#;

#[test]
fn a_firewall_that_drops_everything_is_taken_back_by_the_node() {
    let is_root = rustix::process::geteuid().is_root();
    let has =
        |program: &str| ["/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(program).exists());
    if !is_root || !has("nft") || !has("ip") {
        eprintln!("SKIPPED: needs root, nft and ip");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let script = "/sbin/ip link set lo up && exec \"$0\" --exact \"$1\" --ignored --nocapture";
    let output =
        Command::new("unshare").args(["--net", "sh", "-c", script]).arg(own).arg(INNER).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "runs within a network of its own, see the test before"]
fn within_a_network_of_its_own() {
    let nft = "/usr/sbin/nft";
    let config_settings = format!("[config.programs]\nnft = \"{nft}\"");
    let mut fleet = LocalFleet::with(FleetOptions { config_settings, ..FleetOptions::default() });
    fleet.add_nodes(&["n1"]);
    let tables = || {
        let listed = Command::new(nft).args(["list", "tables"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    let before = tables();
    let bundle = fleet.path("bundle");
    fs::create_dir(&bundle).unwrap();
    fs::write(bundle.join("fleet.toml"), DROP_ALL).unwrap();
    let directory = bundle.to_str().unwrap();
    let begun = Instant::now();
    let passphrase = fleet.path("passphrase");
    let applied = fleet.campanile(&[
        "config",
        "apply",
        directory,
        "-m",
        "lock out",
        "--confirm-within",
        WINDOW,
        "--yes",
        "--passphrase-file",
        passphrase.to_str().unwrap(),
    ]);
    let took = begun.elapsed();
    eprintln!("took {took:?}\n{}\n{}", applied.out, applied.err);
    // The command line was cut off as well, and waits until the node has said how it ended.
    let applied = applied.expect_code(7);
    assert!(applied.out.contains("n1: reverted") && applied.out.contains("did not reach"), "{}", applied.out);
    assert!(applied.err.contains("1 reverted"), "{}", applied.err);
    assert!(took >= Duration::from_secs(20), "it was cut off for the window: {took:?}");
    assert_eq!(tables(), before);
    until("the node is online", patience(Duration::from_secs(20)), || {
        fleet.liveness("n1").as_deref() == Some("online")
    });
    let status = || fleet.campanile(&["config", "status", "n1", "-o", "json"]).out;
    let health = || fleet.campanile(&["health"]).out;
    until("its health says so", patience(Duration::from_secs(20)), || {
        health().contains("generation 1 was undone")
    });
    until("its report says so", patience(Duration::from_secs(20)), || status().contains("reverted"));
}
