//! What `make demo` shows: 28 agents, and nothing left of them afterwards.

use std::fs;
use std::path::Path;
use std::process::Command;

use campanile_tests::support::{CAMPANILE, program, run};
use serde_json::Value;

fn campanile(environment: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = Command::new(program(CAMPANILE));
    command.args(arguments).envs(environment.iter().cloned());
    command
}

/// `export NAME='VALUE'` lines, read as a shell would.
fn read_environment(dir: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(dir.join("env")).expect("dev up writes it");
    let pair = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

/// Ids of processes whose command line names something in `dir`.
fn processes_of(dir: &Path) -> Vec<String> {
    let needle = dir.to_str().unwrap().as_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.windows(needle.len()).any(|part| part == needle) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

/// Takes the fleet down also when the test fails.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let dir = self.0.to_str().unwrap();
        drop(campanile(&[], &["dev", "down", "--dir", dir]).output());
    }
}

#[test]
fn a_demo_of_28_nodes_is_online_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let shown = dir.to_str().unwrap();
    let guard = Down(&dir);
    let port = campanile_tests::support::free_port().to_string();
    let up = ["dev", "up", "--nodes", "28", "--detach", "--dir", shown, "--port", &port];
    let announced = run(&mut campanile(&[], &up), "").ok();
    assert!(announced.contains("/signin#link="), "{announced}");

    let environment = read_environment(&dir);
    let nodes = run(&mut campanile(&environment, &["node", "ls", "-o", "json"]), "").json();
    let nodes = nodes.as_array().unwrap();
    assert_eq!(nodes.len(), 28);
    for node in nodes {
        assert_eq!(node["liveness"], "online", "{node}");
        for field in ["nodeId", "name", "labels", "status", "agentVersion", "lastHeartbeat"] {
            assert!(!node[field].is_null(), "{field} of {node}");
        }
    }
    let web = run(&mut campanile(&environment, &["node", "ls", "-l", "role=web", "-o", "json"]), "").json();
    assert_eq!(web.as_array().map(Vec::len), Some(12), "three of each seven");
    let status: Value = run(&mut campanile(&environment, &["status", "-o", "json"]), "").json();
    assert_eq!(status["nodes"], 28);
    for node in nodes {
        let name = node["name"].as_str().unwrap();
        let pid = fs::read_to_string(dir.join("nodes").join(name).join("agent.pid")).unwrap();
        let line = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap();
        assert_eq!(line.trim(), "campanile-agent");
    }
    assert_eq!(processes_of(&dir).len(), 57, "an agent and a steward a node, and the aggregator");

    run(&mut campanile(&[], &["dev", "down", "--dir", shown]), "").ok();
    assert_eq!(processes_of(&dir), Vec::<String>::new());
    assert!(!dir.exists());
    drop(guard);
}
