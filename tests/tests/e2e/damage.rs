//! State that is damaged is refused by name, never read as empty, and left as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use campanile_tests::support::{AGGREGATOR, FleetOptions, LocalFleet, program, run};

/// Serves from this damaged state; the refusal must name `named`, and the state stay as it is.
fn refuses(fleet: &LocalFleet, what: &str, named: &str) {
    let state = fleet.aggregator_state();
    let before = contents(&state);
    for verb in [vec!["serve"], vec!["api-token", "--name", "x", "--role", "viewer"]] {
        // The commands that work on the spot read less than the daemon.
        let is_daemon = verb[0] == "serve";
        let mut command = Command::new(program(AGGREGATOR));
        command.args(&verb).arg("--config").arg(fleet.path("aggregator.toml"));
        if !is_daemon && !named.ends_with("state.db") && !named.ends_with("fleet.json") {
            continue;
        }
        let output = run(&mut command, "").expect_code(1);
        assert!(output.err.contains(named), "{what}: `{named}` in: {}{}", output.out, output.err);
        assert_eq!(contents(&state), before, "{what}: {} changed something", verb[0]);
    }
}

/// Files that matter, with what is in them; locks and the shared memory of SQLite are of one moment.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if !(name.ends_with(".lock") || name.ends_with("-shm") || name.ends_with("-wal")) {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Puts something else in a file's place, and back again when it is dropped.
struct Damaged {
    path: PathBuf,
    good: Vec<u8>,
}

impl Damaged {
    fn new(path: PathBuf, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        assert_ne!(good, bad);
        fs::write(&path, bad).unwrap();
        Self { path, good }
    }

    fn missing(path: PathBuf) -> Self {
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        Self { path, good }
    }
}

impl Drop for Damaged {
    fn drop(&mut self) {
        fs::write(&self.path, &self.good).unwrap();
    }
}

#[test]
fn damaged_state_of_the_aggregator_is_refused_and_left_alone() {
    let mut fleet = LocalFleet::founded(FleetOptions::default());
    fleet.start_aggregator();
    // Enough that the store has inner pages to be damaged.
    for _ in 0..40 {
        fleet.enrollment_token(&serde_json::json!({}), 1);
    }
    fleet.aggregator().stop();
    let state = |name: &str| fleet.aggregator_state().join(name);

    {
        let _damage = Damaged::new(state("fleet.json"), |bytes| bytes.truncate(bytes.len() / 2));
        refuses(&fleet, "cut fleet.json", "fleet.json");
    }
    {
        let _damage = Damaged::missing(state("fleet.json"));
        refuses(&fleet, "no fleet.json", "fleet.json");
    }
    {
        let _damage = Damaged::new(state("authority/0000000001"), |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        refuses(&fleet, "flipped bit in the authority", "authority");
    }
    {
        let _damage = Damaged::missing(state("authority/0000000001"));
        refuses(&fleet, "no authority", "authority");
    }
    {
        let _damage = Damaged::missing(state("ca.key.pem"));
        refuses(&fleet, "no CA key", "ca.key.pem");
    }
    {
        let _damage = Damaged::new(state("ca.key.pem"), |bytes| bytes.truncate(40));
        refuses(&fleet, "cut CA key", "ca.key.pem");
    }
    {
        let _damage = Damaged::new(state("audit.key"), |bytes| bytes.truncate(5));
        refuses(&fleet, "cut audit key", "audit.key");
    }
    {
        let _damage = Damaged::new(state("state.db"), |bytes| bytes.truncate(bytes.len() - 5000));
        refuses(&fleet, "cut store", "state.db");
    }
    {
        let _damage = Damaged::new(state("state.db"), |bytes| bytes[..100].fill(0));
        refuses(&fleet, "store without a header", "state.db");
    }
    {
        let _damage = Damaged::new(state("state.db"), |bytes| {
            for byte in &mut bytes[4096..12_288] {
                *byte ^= 0x55;
            }
        });
        refuses(&fleet, "store with flipped pages", "state.db");
    }
    {
        let _damage = Damaged::new(state("state.db"), Vec::clear);
        refuses(&fleet, "emptied store", "state.db");
    }
    fleet.start_aggregator();
    assert_eq!(fleet.api.get("/api/v1/audit/verify").json()["intact"], true);
}

#[test]
fn a_damaged_identity_is_refused_and_left_alone() {
    let mut fleet = LocalFleet::start();
    let token = fleet.enrollment_token(&serde_json::json!({}), 2);
    fleet.write_agent_settings("a", "");
    fleet.enroll("a", &token).ok();
    let identity = fleet.node_path("a", "state/identity.json");
    for cut in [0, 100] {
        let damage = Damaged::new(identity.clone(), |bytes| bytes.truncate(cut));
        let damaged = fs::read(&identity).unwrap();
        let refused = run(&mut fleet.agent_command("a", &["run"]), "").expect_code(1);
        assert!(refused.err.contains("identity.json") && refused.err.contains("damaged"), "{}", refused.err);
        // Enrolling over it could hide what happened: a person says --replace.
        let again = fleet.enroll("a", &token).expect_code(1);
        assert!(again.err.contains("identity.json"), "{}", again.err);
        assert_eq!(fs::read(&identity).unwrap(), damaged);
        drop(damage);
    }
    {
        let _gone = Damaged::missing(identity);
        let refused = run(&mut fleet.agent_command("a", &["run"]), "").expect_code(1);
        assert!(refused.err.contains("not enrolled"), "{}", refused.err);
    }
    fleet.run_agent("a");
    fleet.wait_liveness("a", "online");
}
