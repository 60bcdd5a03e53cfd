//! A machine in a folder, with fake programs, and an executor of steps.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use campanile_common::config::{Resource, ResourceId};
use serde_json::{Value, json};

use crate::config::host::Host;
use crate::config::resource::{Pending, plan};
use crate::config::step::{Change, Content, Desired, Problem, Step};
use crate::settings::ConfigSettings;

pub(super) struct Machine {
    folder: tempfile::TempDir,
    pub(super) host: Host,
}

/// A resource as a bundle writes it; a file's `content` and a firewall's `rules` are rendered as they are.
pub(super) fn desired(id: &str, table: Value) -> Desired {
    let Value::Object(table) = table else { panic!("a table") };
    let content = table.get("content").or(table.get("rules")).and_then(Value::as_str);
    let content = content.map(|text| Content { bytes: text.as_bytes().to_vec(), is_secret: false });
    let id: ResourceId = id.parse().unwrap();
    Desired { resource: Resource::read(id, table).unwrap(), content }
}

impl Machine {
    /// `programs` are scripts; each call is recorded before the script runs.
    pub(super) fn new(programs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["root/etc", "root/proc/self", "programs", "policies"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let at = folder.path().display().to_string();
        let mut named = std::collections::BTreeMap::new();
        for (name, script) in programs {
            let path = folder.path().join("programs").join(name);
            let head = format!("#!/bin/sh\nR={at}/root\nS={at}\necho \"{name} $*\" >> {at}/calls\n");
            fs::write(&path, format!("{head}{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            named.insert((*name).to_owned(), path);
        }
        let settings = ConfigSettings {
            root: folder.path().join("root"),
            check_interval: Duration::from_secs(600),
            programs: named,
        };
        let policies = folder.path().join("policies").canonicalize().unwrap();
        let host = Host::open(&settings, &policies).unwrap();
        let machine = Self { folder, host };
        // The own user and group have names in it, whoever runs the tests.
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        machine.write("/etc/passwd", &format!("own:x:{uid}:{gid}::/srv/own:/bin/sh\n"));
        machine.write("/etc/group", &format!("own:x:{gid}:\n"));
        machine
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    /// The file of a backup policy.
    pub(super) fn policy(&self, name: &str) -> PathBuf {
        self.folder.path().join("policies").join(name).with_extension("json")
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    /// What programs were called with since the last time.
    pub(super) fn calls(&self) -> Vec<String> {
        let path = self.folder.path().join("calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, "").unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn plan(&self, id: &str, table: Value) -> Result<Option<Change>, Problem> {
        plan(&self.host, &mut Pending::default(), &desired(id, table), false)
    }

    pub(super) fn notified(&self, id: &str, table: Value) -> Option<Change> {
        plan(&self.host, &mut Pending::default(), &desired(id, table), true).unwrap()
    }

    /// Plans, makes the change, and checks that a second plan is empty.
    pub(super) fn apply(&self, id: &str, table: Value) -> Change {
        let change = self.plan(id, table.clone()).unwrap().expect("there is something to do");
        self.execute(&change);
        assert_eq!(self.plan(id, table).unwrap(), None, "the second plan of {id} is empty");
        change
    }

    pub(super) fn problem(&self, id: &str, table: Value) -> String {
        let problem = self.plan(id, table).unwrap_err();
        assert_eq!(problem.resource, Some(id.parse().unwrap()));
        problem.message
    }

    pub(super) fn execute(&self, change: &Change) {
        let root = |path: &str| self.host.root_of(path);
        for step in &change.steps {
            match step {
                Step::Put { path, bytes, ownership, .. } => {
                    root(path).put(path, bytes, self.host.resolve(ownership).unwrap()).unwrap();
                }
                Step::Directory { path, ownership } => {
                    root(path).make_directory(path, self.host.resolve(ownership).unwrap()).unwrap();
                }
                Step::Own { path, ownership } => {
                    root(path).own(path, self.host.resolve(ownership).unwrap()).unwrap();
                }
                Step::Link { path, target } => root(path).put_link(path, target).unwrap(),
                Step::Remove { path } => root(path).remove(path).unwrap(),
                Step::Keep { .. } => {}
                Step::Run { invocation, .. } => {
                    let ran = self.host.run(invocation).unwrap();
                    assert!(ran.is_success(), "{:?}: {}", invocation.argv, ran.last_words());
                }
            }
        }
    }
}

/// The programs of a plan, each on a line.
pub(super) fn runs(change: &Change) -> Vec<String> {
    let run = |step: &Step| match step {
        Step::Run { invocation, .. } => Some(invocation.argv.join(" ")),
        _ => None,
    };
    change.steps.iter().filter_map(run).collect()
}

#[test]
fn what_needs_the_whole_machine_is_a_problem_beneath_a_folder() {
    let machine = Machine::new(&[]);
    for (id, table) in [
        ("package:curl", json!({})),
        ("service:a.service", json!({"enabled": true})),
        ("user:app", json!({})),
        ("group:app", json!({})),
        ("sysctl:vm.swappiness", json!({"value": "1"})),
        ("module:loop", json!({})),
        ("mount:/mnt", json!({"device": "tmpfs", "fstype": "tmpfs"})),
        ("firewall:inet/filter", json!({"rules": ""})),
        ("timer:backup", json!({"on_calendar": "daily", "command": ["true"]})),
    ] {
        let message = machine.problem(id, table);
        assert!(message.starts_with("not available beneath root "), "{id}: {message}");
    }
}
