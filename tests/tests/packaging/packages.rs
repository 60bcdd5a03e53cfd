//! The packages: what is in them, what their judges say, and that a commit has one set of bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs a program of the repository and returns what it printed.
fn run(command: &mut Command) -> String {
    let ended = command.current_dir(root()).output().expect("it is installed");
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{command:?}: {}\n{out}\n{err}", ended.status);
    out.into_owned()
}

/// Every package in these kinds, of the programs that these tests were built with.
fn make(kinds: &[&str], folder: &Path) {
    let programs = Path::new(env!("CARGO_BIN_EXE_manual")).parent().unwrap();
    let mut command = Command::new("scripts/package.sh");
    run(command.args(kinds).env("PROGRAMS", programs).env("PROFILE", "dev").env("OUT", folder));
}

fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect()
}

fn the_one(folder: &Path, prefix: &str, suffix: &str) -> PathBuf {
    let names = bytes(folder).into_keys().filter(|name| name.starts_with(prefix) && name.ends_with(suffix));
    let names: Vec<_> = names.collect();
    assert_eq!(names.len(), 1, "{prefix}*{suffix}: {names:?}");
    folder.join(&names[0])
}

#[test]
fn packages_are_complete_faultless_and_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    make(&["deb", "rpm"], &first);
    make(&["deb"], &second);
    make(&["rpm"], &second);
    let (one, other) = (bytes(&first), bytes(&second));
    assert_eq!(one.len(), 10, "six packages, three lists and their sums: {:?}", one.keys());
    for (name, content) in &one {
        assert!(other.get(name) == Some(content), "{name} has other bytes the second time");
    }
    run(Command::new("packaging/lint.sh").arg(&first));
    contents_of_deb(&first);
    contents_of_rpm(&first);
    lists_of_crates(&one);
}

fn contents_of_deb(folder: &Path) {
    let agent = the_one(folder, "campanile-agent_", ".deb");
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(&agent));
    for path in [
        "./usr/bin/campanile-agent",
        "./lib/systemd/system/campanile-agent.service",
        "./lib/systemd/system/campanile-steward.socket",
        "./usr/lib/sysusers.d/campanile-agent.conf",
        "./usr/share/man/man8/campanile-agent.8.gz",
        "./usr/share/doc/campanile-agent/copyright",
        "./usr/share/doc/campanile-agent/changelog.gz",
    ] {
        assert!(listed.contains(path), "{path} is not in:\n{listed}");
    }
    assert!(
        !listed.contains("/etc/campanile/policy.toml"),
        "the node policy is nobody's to upgrade:\n{listed}"
    );
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    let conffiles = run(Command::new("dpkg-deb").args(["--info"]).arg(&agent).arg("conffiles"));
    assert_eq!(conffiles, "/etc/campanile/agent.toml\n");

    let aggregator =
        run(Command::new("dpkg-deb").arg("--contents").arg(the_one(folder, "campanile-aggregator_", ".deb")));
    for name in ["campanile-agent_", "campanile-agent-", "campanile_", "SHA256SUMS"] {
        let path = format!("./usr/share/campanile/packages/{name}");
        assert!(aggregator.contains(&path), "{path} is not in:\n{aggregator}");
    }
    let cli = run(Command::new("dpkg-deb").arg("--contents").arg(the_one(folder, "campanile_", ".deb")));
    for path in
        ["bash-completion/completions/campanile", "zsh/vendor-completions/_campanile", "campanile.fish"]
    {
        assert!(cli.contains(path), "{path} is not in:\n{cli}");
    }
}

fn contents_of_rpm(folder: &Path) {
    let agent = the_one(folder, "campanile-agent-", ".rpm");
    let ask = |what: &[&str]| run(Command::new("rpm").arg("-qp").args(what).arg(&agent));
    let listed = ask(&["--list"]);
    for path in ["/usr/bin/campanile-agent", "/usr/lib/systemd/system/campanile-steward.service"] {
        assert!(listed.lines().any(|line| line == path), "{path} is not in:\n{listed}");
    }
    assert_eq!(ask(&["--configfiles"]), "/etc/campanile/agent.toml\n");
    let host = run(Command::new("uname").arg("-n"));
    assert!(!ask(&["--info"]).contains(host.trim()), "the machine that built it is nobody's business");
}

fn lists_of_crates(made: &BTreeMap<String, Vec<u8>>) {
    let lists: Vec<_> = made.iter().filter(|(name, _)| name.ends_with(".cdx.json")).collect();
    assert_eq!(lists.len(), 3);
    for (name, content) in lists {
        let list: serde_json::Value = serde_json::from_slice(content).unwrap();
        assert_eq!(list["bomFormat"], "CycloneDX");
        let components = list["components"].as_array().unwrap();
        let rustls =
            components.iter().find(|component| component["name"] == "rustls").expect("all speak TLS");
        assert_eq!(rustls["hashes"][0]["content"].as_str().unwrap().len(), 64, "{name}");
        assert!(
            components.iter().all(|component| component["licenses"][0]["expression"].is_string()),
            "{name}"
        );
    }
}
