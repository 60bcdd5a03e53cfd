//! Settings that change while the daemons run: taken over at once, refused by name, and told to people.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use campanile_tests::support::{LocalFleet, patience, run, until};
use rustix::process::Signal;

/// A change is in force within two seconds; more on a machine that does much else.
fn soon() -> Duration {
    patience(Duration::from_secs(2))
}

fn edit(path: &Path, change: impl Fn(&str) -> String) {
    fs::write(path, change(&fs::read_to_string(path).unwrap())).unwrap();
}

/// As editors save: another file takes the place of the old.
fn save_like_an_editor(path: &Path, text: &str) {
    let beside = path.with_extension("toml~");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

fn metric(fleet: &LocalFleet, name: &str) -> Option<String> {
    let text = fleet.api.get("/metrics").text;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[test]
fn the_agent_takes_over_what_changes_and_keeps_the_last_good_settings() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let path = fleet.node_path("a", "agent.toml");
    let good = fs::read_to_string(&path).unwrap();

    assert!(!fleet.agent("a").log().contains("TRACE"));
    save_like_an_editor(&path, &format!("log_level = \"trace\"\n{good}"));
    fleet.agent("a").wait_log("log level changed", soon());
    fleet.agent("a").wait_log("TRACE", soon());

    // A drop-in counts as much, also in a folder that was not there before.
    let drop_ins = fleet.node_path("a", "agent.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("10-spool.toml"), "[spool]\nage_max_s = 120\n").unwrap();
    fleet.agent("a").wait_log("spool_age=120s", soon());
    fs::write(drop_ins.join("10-spool.toml"), "[spool]\nage_max_s = 180\n").unwrap();
    fleet.agent("a").wait_log("spool_age=180s", soon());

    // What is read at the start alone is named.
    edit(&path, |text| text.replace("units = \"never\"", "units = \"auto\""));
    fleet.agent("a").wait_log("keys=\"steward\"", soon());

    // A broken file changes nothing, and people are told which line.
    until("the samples say that the settings are good", soon(), || {
        metric(&fleet, "campanile_agent_settings_valid{").as_deref() == Some("1")
    });
    save_like_an_editor(&path, &format!("log_level = \"error\"\nintervall_ms = 5\n{good}"));
    fleet.agent("a").wait_log("the last good ones stay in force", soon());
    until("the samples say that the settings are refused", soon(), || {
        metric(&fleet, "campanile_agent_settings_valid{").as_deref() == Some("0")
    });
    until("the health of the node says where", soon(), || {
        let shown = fleet.campanile(&["health"]).out;
        shown.contains("settings") && shown.contains("line 2")
    });
    let doctor = run(&mut fleet.agent_command("a", &["doctor"]), "").expect_code(1);
    assert!(doctor.out.contains("FAIL") && doctor.out.contains("line 2"), "{}", doctor.out);
    assert!(fleet.agent("a").is_running());

    // Mended, everything is as before.
    save_like_an_editor(&path, &good);
    fleet.agent("a").wait_log("settings can be used again", soon());
    until("the health of the node is silent again", soon(), || {
        !fleet.campanile(&["health"]).out.contains("settings")
    });
    assert_eq!(metric(&fleet, "campanile_agent_settings_valid{").as_deref(), Some("1"));
}

#[test]
fn the_interval_of_the_settings_counts_until_an_aggregator_says_otherwise() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    edit(&fleet.node_path("a", "agent.toml"), |text| format!("interval_ms = 60000\n{text}"));
    fleet.agent("a").wait_log("interval=60s", soon());
    let mut seen = BTreeSet::new();
    until("the node is sampled as the aggregator wants", soon(), || {
        seen.extend(metric(&fleet, "campanile_agent_collector_duration_seconds{"));
        seen.len() > 1
    });
    assert_eq!(fleet.liveness("a").as_deref(), Some("online"));
}

#[test]
fn the_aggregator_takes_over_what_changes_and_keeps_the_last_good_settings() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    let path = fleet.path("aggregator.toml");
    let good = fs::read_to_string(&path).unwrap();
    assert_eq!(metric(&fleet, "campanile_aggregator_settings_valid ").as_deref(), Some("1"));

    // Limits of health count for nodes that are judged already.
    assert!(!fleet.campanile(&["health"]).out.contains("memory"));
    let strict = "[thresholds.memory]\nwarning = 0.001\nmargin = 0.0\nwarning_for_s = 0\n";
    save_like_an_editor(&path, &format!("{good}\n{strict}"));
    fleet.aggregator().wait_log("limits of health and liveness changed", soon());
    until("the node is judged by the new limit", soon(), || {
        fleet.campanile(&["health"]).out.contains("memory")
    });

    fs::write(&path, format!("log_levl = \"debug\"\n{good}")).unwrap();
    fleet.aggregator().wait_log("the last good ones stay in force", soon());
    fleet.aggregator().wait_log("line 1", soon());
    assert_eq!(metric(&fleet, "campanile_aggregator_settings_valid ").as_deref(), Some("0"));
    assert!(fleet.campanile(&["health"]).out.contains("memory"), "the last good limits stay");

    save_like_an_editor(&path, &good.replace("log_format = \"text\"", "log_format = \"json\""));
    fleet.aggregator().wait_log("settings can be used again", soon());
    fleet.aggregator().wait_log("keys=\"log_format\"", soon());
    assert_eq!(metric(&fleet, "campanile_aggregator_settings_valid ").as_deref(), Some("1"));
    // What was above a limit has to be below it for half a minute.
    until("the default limits are back", patience(Duration::from_secs(30)), || {
        !fleet.campanile(&["health"]).out.contains("memory")
    });
}

#[test]
fn a_log_level_set_by_hand_stays_until_the_settings_name_another_or_a_hangup() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&["a"]);
    run(&mut fleet.agent_command("a", &["log-level", "trace"]), "").ok();
    fleet.agent("a").wait_log("log level changed level=trace", soon());
    edit(&fleet.node_path("a", "agent.toml"), |text| format!("interval_ms = 2000\n{text}"));
    fleet.agent("a").wait_log("interval=2s", soon());
    let trace_lines = |fleet: &mut LocalFleet| fleet.agent("a").log().matches("TRACE").count();
    let before = trace_lines(&mut fleet);
    until("still at trace", soon(), || trace_lines(&mut fleet) > before);
    fleet.agent("a").signal(Signal::HUP);
    fleet.agent("a").wait_log("log level changed level=info", soon());
}
