//! A node that is a folder: settings, policies, files, a repository beside them, and stock restic.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use campanile_common::api::{BackupFigures, BackupLine, BackupResult};
use serde_json::{Value, json};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How the program ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) lines: Vec<BackupLine>,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.is_empty(), "{complaint}");
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { code: output.status.code().unwrap_or(-1), lines }
    }

    /// What the last line says.
    pub(crate) fn finished(&self) -> (BackupResult, Option<String>, BackupFigures) {
        match self.lines.last() {
            Some(BackupLine::Finished { result, snapshot, figures, .. }) => {
                (*result, snapshot.clone(), figures.clone())
            }
            other => panic!("the last line does not tell the end: {other:?}"),
        }
    }

    /// The figures, of one that went well.
    #[track_caller]
    pub(crate) fn fine(&self) -> BackupFigures {
        let (result, _, figures) = self.finished();
        assert_eq!((self.code, result), (0, BackupResult::Ok), "{:?}", self.lines);
        figures
    }

    /// All problems in one text.
    pub(crate) fn problems(&self) -> String {
        let problems = self.lines.iter().filter_map(|line| match line {
            BackupLine::Problem { message } => Some(message.as_str()),
            _ => None,
        });
        problems.collect::<Vec<_>>().join("\n")
    }

    /// Of each hook when it ran and how it ended.
    pub(crate) fn hooks(&self) -> Vec<(String, String)> {
        let hooks = self.lines.iter().filter_map(|line| match line {
            BackupLine::Hook { when, result, .. } => Some((when.clone(), result.clone())),
            _ => None,
        });
        hooks.collect()
    }
}

/// A node, and whoever holds its escrow identity.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    pub(crate) escrow: age::x25519::Identity,
}

impl Node {
    /// With a policy `files` of its folder `files`, in which a few files are.
    pub(crate) fn new() -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap(), escrow: age::x25519::Identity::generate() };
        let text = format!(
            "state_dir = {:?}\n[steward]\nstate_dir = {:?}\nunits = \"never\"\n",
            node.path("agent"),
            node.path("steward")
        );
        std::fs::write(node.path("agent.toml"), text).unwrap();
        std::fs::create_dir_all(node.path("files/sub")).unwrap();
        std::fs::write(node.path("files/a"), "first\n").unwrap();
        std::fs::write(node.path("files/sub/b"), vec![7; 300_000]).unwrap();
        node.policy("files", json!({}));
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stores a policy: that of the folder `files`, with these keys on top; null takes one away.
    pub(crate) fn policy(&self, name: &str, keys: Value) {
        let mut policy = json!({
            "paths": [self.path("files")], "target": format!("dir:{}", self.path("repository").display()),
            "escrow": [self.escrow.to_public().to_string()], "keep": { "last": 7 }, "schedule": "@daily",
        });
        for (key, value) in keys.as_object().unwrap() {
            policy[key] = value.clone();
        }
        policy.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let folder = self.path("steward/backup/policies");
        std::fs::create_dir_all(&folder).unwrap();
        let file = json!({ "format": 1, "name": name, "policy": policy });
        std::fs::write(folder.join(format!("{name}.json")), file.to_string()).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_campanile-agent"));
        command.arg("backup").args(arguments).arg("--config").arg(self.path("agent.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn backup(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    pub(crate) fn run(&self) -> Ended {
        self.backup(&["run", "--policy", "files"])
    }

    /// Starts a run, which goes on.
    pub(crate) fn start(&self) -> Child {
        self.command(&["run", "--policy", "files"]).spawn().unwrap()
    }

    /// The password that only whoever holds the escrow identity can read, with age alone.
    pub(crate) fn password(&self) -> String {
        for entry in std::fs::read_dir(self.path("repository/keys")).unwrap() {
            let key: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
            let armored = key["campanile_escrow"]["password"].as_str().unwrap();
            let body: String = armored.lines().filter(|line| !line.starts_with("-----")).collect();
            let sealed = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
            if let Ok(password) = age::decrypt(&self.escrow, &sealed) {
                return String::from_utf8(password).unwrap();
            }
        }
        panic!("no key file opens for the escrow identity");
    }

    /// Stock restic on the repository, with the escrowed password.
    pub(crate) fn restic(&self, arguments: &[&str]) -> String {
        let output = Command::new("restic")
            .args(["--no-cache", "-r"])
            .arg(self.path("repository"))
            .args(arguments)
            .env("RESTIC_PASSWORD", self.password())
            .output()
            .expect("restic is installed: scripts/setup.sh");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "restic {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Packs that are in the repository.
    pub(crate) fn packs(&self) -> usize {
        let Ok(folders) = std::fs::read_dir(self.path("repository/data")) else { return 0 };
        let packs = folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        packs
            .flatten()
            .filter(|pack| !pack.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
            .count()
    }

    pub(crate) fn snapshots(&self) -> usize {
        std::fs::read_dir(self.path("repository/snapshots")).map_or(0, Iterator::count)
    }
}

/// Files below both folders are the same.
#[track_caller]
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let output = Command::new("diff").arg("-r").args([left, right]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The folder `path` as it is below a restored `root`.
pub(crate) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

/// Waits until `is_so`; fails after a while.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// So many bytes that nothing can compress.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    while bytes.len() < length {
        bytes.extend(campanile_agent::os::random::bytes::<4096>());
    }
    bytes.truncate(length);
    bytes
}
