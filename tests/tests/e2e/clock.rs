//! Clocks that jump by an hour, in one process at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_tests::support::{FleetOptions, LocalFleet, patience, until};

/// Where Debian's libfaketime puts the library for programs with threads.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// A wall clock that a process reads and the test sets; the monotonic one is left alone, as when a real clock jumps.
pub(super) struct WallClock {
    file: PathBuf,
    library: &'static str,
}

impl WallClock {
    pub(super) fn new(file: &Path) -> Option<Self> {
        let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
        if library.is_none() {
            eprintln!("SKIPPED: no clock to turn: libfaketime is missing (Debian: faketime)");
        }
        let clock = Self { file: file.to_owned(), library: library? };
        clock.jump("+0");
        Some(clock)
    }

    pub(super) fn jump(&self, offset: &str) {
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, format!("{offset}\n")).unwrap();
        fs::rename(fresh, &self.file).unwrap();
    }

    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        [
            ("LD_PRELOAD", self.library),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

/// Waits for so many new signs of life.
fn wait_heartbeats(fleet: &LocalFleet, node: &str, count: usize) {
    for _ in 0..count {
        let beat = fleet.node(node)["lastHeartbeat"].clone();
        until("a heartbeat", patience(Duration::from_secs(2)), || fleet.node(node)["lastHeartbeat"] != beat);
    }
}

fn has_clock_warning(fleet: &LocalFleet, node: &str) -> bool {
    let node = fleet.node(node);
    node["causes"].as_array().unwrap().iter().any(|cause| cause["name"] == "clock")
}

#[test]
fn a_node_whose_clock_jumps_an_hour_stays_online_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = WallClock::new(&folder.path().join("clock")) else { return };
    let mut fleet = LocalFleet::start();
    // What the clock shows is in a file that a confined agent may not read.
    fleet.write_agent_settings("a", "confine = false");
    let token = fleet.enrollment_token(&serde_json::json!({}), 1);
    fleet.enroll("a", &token).ok();
    fleet.run_agent_in("a", &clock.environment());
    fleet.wait_liveness("a", "online");
    let session = |fleet: &LocalFleet| fleet.api.get("/api/v1/connections").json()["items"][0].clone();
    let before = session(&fleet);
    for offset in ["+3600", "-3600"] {
        clock.jump(offset);
        until("a clock warning", Duration::from_secs(90), || has_clock_warning(&fleet, "a"));
        wait_heartbeats(&fleet, "a", 3);
        assert_eq!(session(&fleet)["connectedAt"], before["connectedAt"], "{offset}: the session stays");
        clock.jump("+0");
        until("the warning goes", Duration::from_secs(90), || !has_clock_warning(&fleet, "a"));
    }
    assert!(!fleet.aggregator().log().contains("now=Offline"), "{}", fleet.tails());
    // A new session under a wrong clock: certificates of both ends are valid all the same.
    for offset in ["+3600", "-3600"] {
        clock.jump(offset);
        fleet.agent("a").stop();
        fleet.wait_liveness("a", "offline");
        fleet.run_agent_in("a", &clock.environment());
        fleet.wait_liveness("a", "online");
    }
}

#[test]
fn an_aggregator_whose_clock_jumps_an_hour_declares_nobody_offline() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = WallClock::new(&folder.path().join("clock")) else { return };
    let mut fleet = LocalFleet::with(FleetOptions {
        aggregator_environment: clock.environment(),
        ..FleetOptions::default()
    });
    fleet.add_nodes(&["a", "b"]);
    let sessions = |fleet: &LocalFleet| {
        let connections = fleet.api.get("/api/v1/connections").json();
        let items = connections["items"].as_array().unwrap().iter();
        items.map(|session| session["connectedAt"].clone()).collect::<Vec<_>>()
    };
    let before = sessions(&fleet);
    for offset in ["+3600", "-3600", "+0"] {
        clock.jump(offset);
        for node in ["a", "b"] {
            wait_heartbeats(&fleet, node, 4);
            assert_eq!(fleet.liveness(node).as_deref(), Some("online"), "{offset}");
        }
        fleet.campanile(&["node", "label", "a", "jump=done"]).ok();
    }
    assert_eq!(sessions(&fleet), before, "all sessions stay");
    assert!(!fleet.aggregator().log().contains("now=Offline"), "{}", fleet.tails());
    assert_eq!(fleet.api.get("/api/v1/audit/verify").json()["intact"], true);
}
