//! Settings that cannot be used are refused by name, by both daemons.

use std::fs;
use std::process::Command;

use campanile_tests::support::{AGENT, AGGREGATOR, Output, program, run};

/// Starts a daemon with this settings file and gives how it ended.
fn start(daemon: &str, text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    let state = folder.path().join("state").display().to_string();
    fs::write(&path, text.replace("STATE", &state)).unwrap();
    let verb = if daemon == AGENT { "run" } else { "serve" };
    let output = run(Command::new(program(daemon)).args([verb, "--config"]).arg(&path), "");
    assert!(output.err.contains("settings.toml") || output.err.contains("setting `"), "{}", output.err);
    assert!(!folder.path().join("state").exists(), "nothing is made before the settings are good");
    output
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_keys_that_exist() {
    let agent = start(AGENT, "state_dir = \"STATE\"\n[spool]\nbyte_max = 1\n").expect_code(1).err;
    for part in ["line 3", "byte_max", "bytes_max", "age_max_s"] {
        assert!(agent.contains(part), "{part} in {agent}");
    }
    let aggregator = start(AGGREGATOR, "state_dir = \"STATE\"\nlistn = \"0.0.0.0:1\"\n").expect_code(1).err;
    for part in ["line 2", "listn", "`listen`", "`addresses`"] {
        assert!(aggregator.contains(part), "{part} in {aggregator}");
    }
}

#[test]
fn malformed_settings_are_named_with_their_line() {
    for daemon in [AGENT, AGGREGATOR] {
        for (text, line) in [
            ("state_dir = \"STATE\"\nlog_level = = \"info\"\n", "line 2"),
            ("state_dir = \"STATE\n", "line 1"),
            ("state_dir = 7\n", "line 1"),
            ("state_dir = \"STATE\"\nstate_dir = \"STATE\"\n", "line 2"),
        ] {
            let err = start(daemon, text).expect_code(1).err;
            assert!(err.contains(line), "{line} in {err}");
        }
    }
}

#[test]
fn values_out_of_range_say_what_is_allowed() {
    let agent = start(AGENT, "state_dir = \"STATE\"\ninterval_ms = 1\n").expect_code(1).err;
    assert!(agent.contains("interval_ms") && agent.contains("100"), "{agent}");
    let aggregator = "state_dir = \"STATE\"\n[certificates]\nlifetime_s = 1\n";
    let aggregator = start(AGGREGATOR, aggregator).expect_code(1).err;
    assert!(aggregator.contains("certificates.lifetime_s") && aggregator.contains("10"), "{aggregator}");
}
