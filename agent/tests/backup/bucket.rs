//! A bucket of a real server that speaks S3 and checks signatures.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::Node;

/// Below what objects lie.
pub(crate) const PREFIX: &str = "nodes/web 01";

/// The server; it ends with its standard input.
pub(crate) struct Bucket {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    told: Value,
}

impl Bucket {
    pub(crate) fn start() -> Self {
        let tools = std::env::var("CAMPANILE_TOOLS").unwrap_or_else(|_| {
            let home = || format!("{}/.cache", std::env::var("HOME").unwrap());
            format!("{}/campanile/tools", std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| home()))
        });
        let python = PathBuf::from(tools).join("moto/bin/python3");
        assert!(python.exists(), "{} is missing: scripts/setup.sh test", python.display());
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/backup/s3_server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let told = serde_json::from_str(&line).expect("the server says where it is");
        Self { orders: child.stdin.take(), child, answers, told }
    }

    pub(crate) fn target(&self) -> String {
        format!("s3:http://127.0.0.1:{}/vault/{PREFIX}", self.told["port"])
    }

    /// The same bucket behind a server that fails now and then.
    pub(crate) fn flaky_target(&self) -> String {
        format!("s3:http://127.0.0.1:{}/vault/{PREFIX}", self.told["flaky_port"])
    }

    /// Writes credentials of a user onto a node; their path.
    pub(crate) fn credentials(&self, node: &Node, user: &str) -> PathBuf {
        write_credentials(node, self.word(user, "id"), self.word(user, "secret"), 0o600)
    }

    pub(crate) fn word(&self, user: &str, key: &str) -> &str {
        self.told[user][key].as_str().unwrap()
    }

    /// The node's policy `files` saves here, as the owner.
    pub(crate) fn policy(&self, node: &Node, mut keys: Value) {
        let credentials = self.credentials(node, "owner");
        keys["credentials"] = json!(credentials);
        if keys["target"].is_null() {
            keys["target"] = json!(self.target());
        }
        node.policy("files", keys);
    }

    /// What is in the bucket becomes the node's folder `repository`, in which its support looks.
    pub(crate) fn dump(&mut self, node: &Node) {
        self.order(&json!({ "dump": node.path("repository"), "prefix": PREFIX }));
    }

    /// Puts so many packs there that nobody needs.
    pub(crate) fn fill(&mut self, number: usize) {
        self.order(&json!({ "fill": number, "prefix": PREFIX }));
    }

    fn order(&mut self, order: &Value) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    /// Stock restic on the bucket, with the escrowed password; `dump` gives it.
    pub(crate) fn restic(&self, node: &Node, arguments: &[&str]) -> String {
        let output = Command::new("restic")
            .args(["--no-cache", "-r", &self.target()])
            .args(arguments)
            .env("RESTIC_PASSWORD", node.password())
            .env("AWS_ACCESS_KEY_ID", self.word("owner", "id"))
            .env("AWS_SECRET_ACCESS_KEY", self.word("owner", "secret"))
            .output()
            .expect("restic is installed: scripts/setup.sh");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "restic {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        drop(self.orders.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn write_credentials(node: &Node, id: &str, secret: &str, mode: u32) -> PathBuf {
    let path = node.path("s3.toml");
    drop(std::fs::remove_file(&path));
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&path).unwrap();
    write!(file, "access_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n").unwrap();
    path
}

/// Files below a folder, without those that are none of a repository.
pub(crate) fn count(folder: &Path) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        found += if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 1 };
    }
    found
}
