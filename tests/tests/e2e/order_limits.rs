//! Orders at their limits: floods of output, daemons, full disks, wrong clocks, a journal that was set back.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use campanile_common::authority::Order;
use campanile_common::id::OrderId;
use campanile_tests::support::{LocalFleet, SmallVolume, patience, run, until, within};
use serde_json::{Value, json};

use super::clock::WallClock;

/// What no process of ours may reach, however much a command writes.
const RESIDENT_BYTES_MAX: u64 = 160 * 1024 * 1024;
/// Validity of orders that are not to expire here.
const LONG: Duration = Duration::from_secs(600);
const GIGABYTE: u64 = 1_000_000_000;

/// Resident memory of a process at its highest.
fn resident_peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

fn outcome(fleet: &LocalFleet, node: &str, script: &str) -> (OrderId, Value) {
    let order = fleet.order(&[node], &["/bin/sh", "-c", script]);
    (order, fleet.await_order(order).remove(node).unwrap())
}

fn wait_heartbeat(fleet: &LocalFleet, node: &str) {
    let beat = fleet.node(node)["lastHeartbeat"].clone();
    until("a heartbeat", patience(Duration::from_secs(2)), || fleet.node(node)["lastHeartbeat"] != beat);
}

#[test]
fn a_gigabyte_of_output_is_counted_cut_and_held_by_nobody() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a", "b"]);
    let (order, target) = outcome(&fleet, "a", "head -c 1000000000 /dev/zero");
    assert_eq!((&target["state"], &target["outputBytes"]), (&json!("ok"), &json!(GIGABYTE)), "{target}");
    let kept = target["outputKept"].as_u64().unwrap();
    assert!(kept > 0 && kept <= 1 << 20, "{target}");
    let output = fleet.api.get(&format!("/api/v1/orders/{order}/output/a")).text;
    assert!(output.bytes().take_while(|byte| *byte == 0).count() > 1000, "it is what was written");
    let passphrase = fleet.path("passphrase");
    let said = fleet.campanile(&[
        "run",
        "a",
        "--passphrase-file",
        passphrase.to_str().unwrap(),
        "--",
        "/bin/sh",
        "-c",
        "head -c 3000000 /dev/zero | tr '\\0' x",
    ]);
    assert!(said.clone().ok().len() < 2 << 20, "the rest is not shown");
    assert!(said.err.contains("bytes not kept]"), "{}", said.err);
    let processes = [
        ("aggregator", fleet.aggregator().pid()),
        ("agent", fleet.agent("a").pid()),
        ("steward", fleet.steward("a").pid()),
    ];
    for (name, pid) in processes {
        let peak = resident_peak(pid);
        assert!(peak < RESIDENT_BYTES_MAX, "the {name} took {peak} bytes");
    }
    wait_heartbeat(&fleet, "a");
}

#[test]
fn a_daemon_that_a_command_leaves_behind_is_gone_with_its_order() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let note = fleet.path("daemon");
    // Twice removed, in a session of its own, deaf to requests.
    let script = format!(
        "setsid sh -c 'trap \"\" TERM HUP; (echo $$ > {}.new; mv {0}.new {0}; while :; do sleep 0.1; done) & wait' \
         > /dev/null 2>&1 < /dev/null & while ! [ -e {0} ]; do sleep 0.05; done; echo left",
        note.display()
    );
    let (_, target) = outcome(&fleet, "a", &script);
    assert_eq!(target["state"], "ok", "{target}");
    let pid: u32 = fs::read_to_string(&note).unwrap().trim().parse().unwrap();
    let is_gone = || {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        !line.contains(note.to_str().unwrap())
    };
    until("the daemon is gone", patience(Duration::from_secs(3)), is_gone);
}

#[test]
fn a_node_whose_disk_is_full_denies_and_works_again_with_space() {
    let mut fleet = LocalFleet::start();
    fleet.write_agent_settings("a", "");
    let Some(volume) = SmallVolume::mount(&fleet.node_path("a", "steward"), 8192) else { return };
    fleet.add_nodes(&["a"]);
    let starts = fleet.path("starts");
    let script = format!("echo x >> {}", starts.display());
    assert_eq!(outcome(&fleet, "a", &script).1["state"], "ok");
    volume.fill();
    // What was set aside earlier may still take a few.
    let mut started = 1;
    let denied = within(patience(Duration::from_secs(30)), || {
        let (_, target) = outcome(&fleet, "a", &script);
        match target["state"].as_str() {
            Some("ok") => {
                started += 1;
                None
            }
            _ => Some(target),
        }
    });
    let denied = denied.expect("a full disk stops orders");
    assert_eq!(denied["state"], "denied", "{denied}");
    assert!(denied["detail"].as_str().unwrap().contains("storage"), "{denied}");
    wait_heartbeat(&fleet, "a");
    assert_eq!(fleet.liveness("a").as_deref(), Some("online"));
    volume.free();
    assert_eq!(outcome(&fleet, "a", &script).1["state"], "ok", "{}", fleet.tails());
    let lines = fs::read_to_string(&starts).unwrap().lines().count();
    assert_eq!(lines, started + 1, "what was denied was not started");
}

#[test]
fn a_node_whose_clock_is_an_hour_off_denies_and_says_what_time_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = WallClock::new(&folder.path().join("clock")) else { return };
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    fleet.steward("a").kill();
    fleet.run_steward_in("a", &clock.environment());
    for (offset, code) in [("+3600", "expired"), ("-3600", "not_yet_valid")] {
        clock.jump(offset);
        let (_, target) = outcome(&fleet, "a", "true");
        let detail = target["detail"].as_str().unwrap();
        assert_eq!(target["state"], "denied", "{target}");
        assert!(detail.contains(code) && detail.contains("clock"), "{offset}: {target}");
        wait_heartbeat(&fleet, "a");
    }
    clock.jump("+0");
    assert_eq!(outcome(&fleet, "a", "true").1["state"], "ok");
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to), "").ok();
}

#[test]
fn a_journal_that_was_set_back_starts_nothing_again() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let starts = fleet.path("starts");
    assert_eq!(outcome(&fleet, "a", "true").1["state"], "ok");
    let (state, backup) = (fleet.node_path("a", "steward"), fleet.path("steward-backup"));
    fleet.steward("a").kill();
    copy(&state, &backup);
    fleet.run_steward("a");

    // Signed before, sent after.
    let early = fleet.order_to_run(&["a"], &["touch", fleet.path("early").to_str().unwrap()], LONG);
    // It starts, and nobody hears how it ends before the journal is set back.
    let gate = fleet.path("gate");
    let script =
        format!("echo x >> {}; while ! [ -e {} ]; do sleep 0.05; done", starts.display(), gate.display());
    let order = fleet.order(&["a"], &["/bin/sh", "-c", &script]);
    until("it is started", patience(Duration::from_secs(3)), || starts.exists());
    let position = || fleet.order_targets(order).1["a"]["state"] == "running";
    until("the aggregator knows", patience(Duration::from_secs(3)), position);
    fleet.agent("a").kill();
    fleet.steward("a").kill();
    fs::remove_dir_all(&state).unwrap();
    copy(&backup, &state);
    fs::write(&gate, "").unwrap();
    fleet.run_steward("a");
    fleet.run_agent("a");
    let target = fleet.await_order(order).remove("a").unwrap();
    assert_eq!(
        (&target["state"], &target["result"]),
        (&json!("failed"), &json!("indeterminate")),
        "{target}"
    );
    assert_eq!(fs::read_to_string(&starts).unwrap(), "x\n", "it never runs twice");

    // The journal may have forgotten any order that was valid before it was set back: none of them is started.
    let outcome = |order: &Order| {
        let signed = order.sign(&[&fleet.operator_key()]).unwrap();
        assert_eq!(fleet.submit(&signed, json!({})).unwrap().status, 201);
        fleet.await_order(order.id).remove("a").unwrap()
    };
    let target = outcome(&early);
    assert_eq!(
        (&target["state"], &target["result"]),
        (&json!("failed"), &json!("indeterminate")),
        "{target}"
    );
    assert!(!fleet.path("early").exists());
    let mut later = fleet.order_to_run(&["a"], &["/bin/true"], LONG);
    later.not_before = later.expires - LONG;
    let target = outcome(&later);
    assert_eq!(target["state"], "ok", "what is valid only since then is started: {target}");
}
